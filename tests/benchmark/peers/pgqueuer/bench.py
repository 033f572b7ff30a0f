"""PgQueuer on asyncpg and uvloop: finished jobs move from its queue table to its log table."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
import uvloop
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries

sys.path.append(str(Path(__file__).parents[1]))
from peer import Peer, job_started, main

# Jobs claimed, and settled, at once: 500 is slower, 2000 and 5000 are the same within the noise.
BATCH: Final = 1000
CHUNK: Final = 5000  # jobs enqueued by one statement
UNFINISHED: Final = "SELECT count(*) FROM pgqueuer"
FINISHED: Final = "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"


async def noop(_job: Job) -> None:
    job_started()


class PgQueuer(Peer):
    runner = staticmethod(uvloop.run)

    async def install(self) -> None:
        async with self.connected():
            await self.queries.install()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        self.connection = await asyncpg.connect(self.url)
        self.queries = Queries.from_asyncpg_connection(self.connection)
        yield
        await self.connection.close()

    async def enqueue_one(self) -> None:
        await self.queries.enqueue("noop", None)

    async def enqueue_many(self, count: int) -> None:
        for start in range(0, count, CHUNK):
            size = min(CHUNK, count - start)
            await self.queries.enqueue(["noop"] * size, [None] * size, [0] * size)

    async def unfinished(self) -> int:
        return await self.connection.fetchval(UNFINISHED)

    async def finished(self) -> int:
        return await self.connection.fetchval(FINISHED)

    async def work(self) -> None:
        async with self.connected():
            manager = QueueManager(self.queries)
            manager.entrypoint("noop")(noop)
            await manager.run(batch_size=BATCH)


if __name__ == "__main__":
    main(PgQueuer)
