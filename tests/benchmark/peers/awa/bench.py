"""Awa: a Rust core that calls the Python handlers; finished jobs stay, in batches of receipts."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import awa

sys.path.append(str(Path(__file__).parents[1]))
from peer import Peer, job_started, main

AT_ONCE: Final = 500  # jobs; 200 was slower, 2000 and more claimers were the same in the noise
CHUNK: Final = 5000  # jobs enqueued by one COPY
# Its tables, for its own counters take seconds to read. A job stays in ready_entries when it has
# been claimed and finished; what finished is in one of two places, and here never pruned.
ENQUEUED: Final = "SELECT count(*) FROM awa.ready_entries"
FINISHED: Final = """
SELECT (SELECT coalesce(sum(completed_count), 0)::bigint FROM awa.receipt_completion_batches)
  + (SELECT count(*) FROM awa.done_entries WHERE state = 'completed')
"""


@dataclass
class Noop:
    pass


async def noop(_job: awa.Job) -> None:
    job_started()


class Awa(Peer):
    async def install(self) -> None:
        async with self.connected():
            await self.client.migrate()
            # The engine that a new installation gets once its first worker has started.
            await self.client.install_queue_storage()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        async with awa.AsyncClient(self.url) as self.client:
            yield

    async def enqueue_one(self) -> None:
        await self.client.insert(Noop())

    async def enqueue_many(self, count: int) -> None:
        for start in range(0, count, CHUNK):
            await self.client.enqueue_many_copy([Noop()] * min(CHUNK, count - start))

    async def unfinished(self) -> int:
        return await self._number(f"SELECT ({ENQUEUED}) - ({FINISHED}) AS jobs")

    async def finished(self) -> int:
        return await self._number(f"SELECT ({FINISHED}) AS jobs")

    async def _number(self, statement: str) -> int:
        async with await self.client.transaction() as transaction:
            row = await transaction.fetch_one(statement)
            return row["jobs"]

    async def work(self) -> None:
        async with self.connected():
            self.client.task(Noop, queue="default")(noop)
            await self.client.start([("default", AT_ONCE)])
            await asyncio.Event().wait()


if __name__ == "__main__":
    main(Awa)
