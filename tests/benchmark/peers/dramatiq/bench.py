"""Dramatiq on Redis: a finished message is gone from the hash of its queue's messages."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Lock
from typing import Final

# Messages fetched in one round trip: a sixth less CPU than with the default of twice the threads;
# 1000, or 4 threads, were no better. Dramatiq reads it when it is imported.
os.environ["dramatiq_queue_prefetch"] = "200"  # noqa: SIM112 - the name is dramatiq's

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

sys.path.append(str(Path(__file__).parents[1]))
from peer import Peer, job_started, main

QUEUE: Final = "bench"
DELAYED: Final = f"{QUEUE}.DQ"  # what failed and is to be retried
DEAD: Final = f"{QUEUE}.XQ"
THREADS: Final = 8  # the default

counting = Lock()  # threads would lose counts


def noop() -> None:
    with counting:
        job_started()


class OnDramatiq(Peer):
    store = "BENCH_REDIS_URL"
    bulk = False
    sent = 0

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.broker = RedisBroker(url=url)
        self.noop = dramatiq.actor(noop, queue_name=QUEUE, broker=self.broker)

    async def install(self) -> None:
        """There is no schema: only see to it that the store is empty."""
        async with self.connected():
            self.redis.flushdb()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        with redis.Redis.from_url(self.url) as self.redis:
            yield

    async def enqueue_one(self) -> None:
        self.noop.send()
        self.sent += 1

    async def enqueue_many(self, count: int) -> None:
        for _ in range(count):
            await self.enqueue_one()

    async def unfinished(self) -> int:
        return sum(self.redis.hlen(f"dramatiq:{name}.msgs") for name in (QUEUE, DELAYED, DEAD))

    async def finished(self) -> int:
        return self.sent - await self.unfinished()

    async def work(self) -> None:
        dramatiq.Worker(self.broker, queues={QUEUE}, worker_threads=THREADS).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    main(OnDramatiq)
