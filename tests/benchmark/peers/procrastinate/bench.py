"""Procrastinate on psycopg: finished jobs stay in its table."""

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import procrastinate
import uvloop
from procrastinate import App, PsycopgConnector
from psycopg_pool import AsyncConnectionPool

sys.path.append(str(Path(__file__).parents[1]))
from peer import Peer, job_started, main

# It claims job by job, from one loop: 30 at once was no faster, and 4 leave an I/O-bound job short.
CONCURRENCY: Final = 10
CHUNK: Final = 5000  # jobs enqueued by one statement
COUNT: Final = "SELECT count(*) AS jobs FROM procrastinate_jobs WHERE status "

logging.getLogger("procrastinate").setLevel(logging.ERROR)  # it warns of an app made in __main__
tasks = procrastinate.Blueprint()


def unchecked_pool(check: Any, **settings: Any) -> AsyncConnectionPool:
    """Its pool without a round trip at every use that asks whether the connection still lives.

    The worker spends a quarter less CPU, and so does the server.
    """
    return AsyncConnectionPool(**settings)


@tasks.task(name="noop")
async def noop() -> None:
    job_started()


class Procrastinate(Peer):
    runner = staticmethod(uvloop.run)

    async def install(self) -> None:
        async with self.connected():
            await self.app.schema_manager.apply_schema_async()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        connector = PsycopgConnector(
            conninfo=self.url, max_size=CONCURRENCY + 2, pool_factory=unchecked_pool
        )
        self.app = App(connector=connector)
        self.app.add_tasks_from(tasks, namespace="bench")
        async with self.app.open_async():
            yield

    @property
    def noop(self) -> procrastinate.tasks.Task:
        return self.app.tasks["bench:noop"]

    async def enqueue_one(self) -> None:
        await self.noop.defer_async()

    async def enqueue_many(self, count: int) -> None:
        for start in range(0, count, CHUNK):
            jobs = [{}] * min(CHUNK, count - start)
            await self.noop.batch_defer_async(*jobs)

    async def unfinished(self) -> int:
        return await self._count("IN ('todo', 'doing')")

    async def finished(self) -> int:
        return await self._count("= 'succeeded'")

    async def _count(self, status: str) -> int:
        row = await self.app.connector.execute_query_one_async(COUNT + status)
        return row["jobs"]

    async def work(self) -> None:
        async with self.connected():
            await self.app.run_worker_async(concurrency=CONCURRENCY)


if __name__ == "__main__":
    main(Procrastinate)
