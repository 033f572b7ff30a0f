"""Two workers that fire schedules by a fast clock: ``python schedule_workers.py URL START SEED``.

Each is a process that is killed at a random moment, over and over, and replaced at once. They agree
on the clock: it runs 1,200 times as fast as ours, and is put back twice. Prints as JSON how many
were killed and what the clock said last.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NoReturn

from backend.autocommit import Autocommit
from backend.db import make_engine, make_sessions
from backend.workloads.tasks.registry import task_types
from backend.workloads.tasks.schedules import firing
from tests.callers import make_settings

SECONDS = 6.0
KILLED = 21
"""So many at least: a busy machine takes longer over it."""
SPEED = 1200
PUT_BACK = ((2.0, timedelta(minutes=17)), (4.0, timedelta(minutes=3)))
"""At which second, and by how much."""


def clock(start: datetime, begun: float) -> Callable[[], datetime]:
    def now() -> datetime:
        passed = time.monotonic() - begun
        steps = [step for second, step in PUT_BACK if passed >= second]
        return start + timedelta(seconds=passed * SPEED) - sum(steps, timedelta())

    return now


def work(url: str, now: Callable[[], datetime]) -> NoReturn:
    engine = make_engine(url, pool_size=2)
    sessions, statements, settings = make_sessions(engine), Autocommit(engine), make_settings()
    while True:
        firing.fire_due(sessions, statements, settings, now=now())


def started(url: str, now: Callable[[], datetime]) -> int:
    """The id of a new worker."""
    pid = os.fork()
    if pid == 0:
        work(url, now)
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def main(url: str, start: str, seed: str) -> None:
    chance = random.Random(seed)
    task_types()  # what every worker needs, once
    begun = time.monotonic()
    now = clock(datetime.fromisoformat(start), begun)
    workers = [started(url, now), started(url, now)]
    killed = 0
    while time.monotonic() - begun < SECONDS or killed < KILLED:
        time.sleep(chance.uniform(0.01, 0.15))  # workers run meanwhile
        slot = chance.randrange(2)
        kill(workers[slot])
        killed += 1
        workers[slot] = started(url, now)
    for pid in workers:
        kill(pid)
    sys.stdout.write(json.dumps({"killed": killed, "clock": now().isoformat()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
