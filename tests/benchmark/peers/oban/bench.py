"""Oban for Python: finished jobs stay in its table, for its pruner."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import uvloop
from oban import Job, Oban, worker
from oban.schema import install

sys.path.append(str(Path(__file__).parents[1]))
from peer import Peer, job_started, main

LIMIT: Final = 500  # jobs at once; 100 and 2000 were the same within the noise
CHUNK: Final = 1000  # jobs enqueued in one transaction; one statement each all the same
COUNT: Final = "SELECT count(*) FROM oban_jobs WHERE state "


@worker(queue="default")
class Noop:
    async def process(self, _job: Job) -> None:
        job_started()


class ObanPeer(Peer):
    runner = staticmethod(uvloop.run)

    async def install(self) -> None:
        async with self.connected():
            await install(self.pool)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        self.pool = await Oban.create_pool(dsn=self.url)
        self.oban = Oban(pool=self.pool)
        async with self.pool:
            yield

    async def enqueue_one(self) -> None:
        await self.oban.enqueue(Noop.new())

    async def enqueue_many(self, count: int) -> None:
        for start in range(0, count, CHUNK):
            await self.oban.enqueue_many(Noop.new() for _ in range(min(CHUNK, count - start)))

    async def unfinished(self) -> int:
        return await self._count("IN ('available', 'scheduled', 'executing', 'retryable')")

    async def finished(self) -> int:
        return await self._count("= 'completed'")

    async def _count(self, state: str) -> int:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(COUNT + state)
            (jobs,) = await cursor.fetchone()
            return jobs

    async def work(self) -> None:
        async with (
            await Oban.create_pool(dsn=self.url) as pool,
            Oban(pool=pool, queues={"default": LIMIT}),
        ):
            await asyncio.Event().wait()


if __name__ == "__main__":
    main(ObanPeer)
