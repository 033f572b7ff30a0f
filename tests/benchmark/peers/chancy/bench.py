"""Chancy with its asyncio executor: finished jobs stay in its table, for its pruner."""

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import uvloop
from chancy import Chancy, Queue, Worker, job
from chancy.plugins.leadership import Leadership
from chancy.plugins.pruner import Pruner
from chancy.plugins.recovery import Recovery

sys.path.append(str(Path(__file__).parents[1]))
from peer import Peer, job_started, main

# Jobs at once: 500 and 1000 cost more CPU; more would leave nothing to a second process.
CONCURRENCY: Final = 5000
CHUNK: Final = 1000  # jobs enqueued in one transaction; one statement each all the same
COUNT: Final = "SELECT count(*) FROM chancy_jobs WHERE state "
# Every worker serves the queue "default", in a pool of processes unless it is declared otherwise.
QUEUE: Final = Queue(
    "default", concurrency=CONCURRENCY, executor=Chancy.Executor.Async, eager_polling=True
)
QUIET: Final = logging.getLogger("chancy.bench")  # it logs two lines a job by default
QUIET.setLevel(logging.WARNING)


@job(queue=QUEUE.name)
async def noop() -> None:
    job_started()


class ChancyPeer(Peer):
    runner = staticmethod(uvloop.run)

    async def install(self) -> None:
        async with self.connected():
            await self.chancy.migrate()
            await self.chancy.declare(QUEUE)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        # Of its default plugins those that keep it safe. Metrics and workflows, which look at every
        # job, cost more CPU than all the rest.
        plugins = [Leadership(), Pruner(), Recovery()]
        async with Chancy(
            self.url, plugins=plugins, no_default_plugins=True, log=QUIET
        ) as self.chancy:
            yield

    async def enqueue_one(self) -> None:
        await self.chancy.push(noop)

    async def enqueue_many(self, count: int) -> None:
        for start in range(0, count, CHUNK):
            async for _ in self.chancy.push_many([noop] * min(CHUNK, count - start)):
                pass

    async def unfinished(self) -> int:
        return await self._count("IN ('pending', 'running', 'retrying')")

    async def finished(self) -> int:
        return await self._count("= 'succeeded'")

    async def _count(self, state: str) -> int:
        async with self.chancy.pool.connection() as connection:
            cursor = await connection.execute(COUNT + state)
            (jobs,) = await cursor.fetchone()
            return jobs

    async def work(self) -> None:
        async with self.connected(), Worker(self.chancy) as worker:
            await worker.wait_for_shutdown()


if __name__ == "__main__":
    main(ChancyPeer)
