"""Celery on Redis: a finished task is gone from its queue and from the unacknowledged ones."""

import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import redis
from celery import Celery
from celery.platforms import SecurityWarning

sys.path.append(str(Path(__file__).parents[1]))
from peer import Peer, job_started, main

QUEUE: Final = "bench"
UNACKNOWLEDGED: Final = "unacked"  # the hash in which kombu keeps what it has delivered

# The worker process runs the tasks itself: for no-ops, handing them to a thread or to a child
# cost 10 to 40 % more CPU and drained no faster.
POOL: Final = "solo"

app = Celery()
app.conf.update(
    task_default_queue=QUEUE,
    task_acks_late=True,  # a task outlives its worker, as with every other peer
    task_ignore_result=True,  # nothing is written but the acknowledgement
    worker_prefetch_multiplier=1,  # 4, 16 and 100 were no faster: each is popped by itself anyway
    broker_transport_options={"priority_steps": [0]},  # one list to pop from instead of four
    worker_disable_rate_limits=True,
    worker_enable_remote_control=False,
)
QUIET: Final = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}


@app.task(name="noop")
def noop() -> None:
    job_started()


class OnCelery(Peer):
    store = "BENCH_REDIS_URL"
    bulk = False
    sent = 0

    def __init__(self, url: str) -> None:
        super().__init__(url)
        app.conf.broker_url = url

    async def install(self) -> None:
        """There is no schema: only see to it that the store is empty."""
        async with self.connected():
            self.redis.flushdb()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        with redis.Redis.from_url(self.url) as self.redis:
            yield

    async def enqueue_one(self) -> None:
        noop.delay()
        self.sent += 1

    async def enqueue_many(self, count: int) -> None:
        for _ in range(count):
            await self.enqueue_one()

    async def unfinished(self) -> int:
        with self.redis.pipeline(transaction=True) as asked:
            return sum(asked.llen(QUEUE).hlen(UNACKNOWLEDGED).execute())

    async def finished(self) -> int:
        return self.sent - await self.unfinished()

    async def work(self) -> None:
        warnings.simplefilter("ignore", SecurityWarning)  # a benchmark may run as root
        app.Worker(pool=POOL, loglevel="ERROR", quiet=True, **QUIET).start()


if __name__ == "__main__":
    main(OnCelery)
