"""Whether tasks get done: workers, waits, pauses and what came of attempts lately."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final

from sqlalchemy.orm import Session

from backend.queue import fleet, overview
from backend.workloads.tasks.lifecycle import TASKS_QUEUE
from backend.workloads.tasks.schemas import HealthOut, LaneOut

LONG_WAIT: Final = timedelta(minutes=5)
"""A task that could run for so long and does not is worth a look."""
MANY_FAILED: Final = 0.1
"""Of the attempts that ended in the last hour, where there were at least :data:`ENOUGH`."""
ENOUGH: Final = 10
FAILED: Final = ("failed", "retry", "died", "stalled")


def health(session: Session) -> HealthOut:
    """``unhealthy`` without a worker; ``degraded`` where something else speaks against it."""
    paused = {pause.partition for pause in fleet.pauses(session, TASKS_QUEUE.name)}
    ended = {
        outcome: count for (_, outcome), count in overview.outcomes(session, [TASKS_QUEUE]).items()
    }
    lanes = {
        name: LaneOut(
            waiting=depth.ready, later=depth.later, running=depth.held,
            oldest_wait_seconds=round(depth.oldest_wait_seconds, 3),
            paused=bool({"", name} & paused),
        )
        for name, depth in overview.depths(session, TASKS_QUEUE).items()
    }  # fmt: skip
    workers = len(fleet.alive(session, TASKS_QUEUE.name))
    reasons = [*_of_workers(workers), *_of_lanes(lanes), *_of_attempts(ended)]
    return HealthOut(
        health="healthy" if not reasons else "degraded" if workers else "unhealthy",
        reasons=reasons, workers=workers, queues=lanes, attempts_last_hour=ended,
    )  # fmt: skip


def _of_workers(workers: int) -> Iterator[str]:
    if not workers:
        yield "no worker that does tasks is alive"


def _of_lanes(lanes: Mapping[str, LaneOut]) -> Iterator[str]:
    for name, lane in lanes.items():
        if lane.paused:
            yield f"{name} is paused"
        elif lane.oldest_wait_seconds > LONG_WAIT.total_seconds():
            yield f"a task of {name} has waited for {lane.oldest_wait_seconds:.0f} s"


def _of_attempts(ended: Mapping[str, int]) -> Iterator[str]:
    failed, tried = sum(ended.get(word, 0) for word in FAILED), sum(ended.values())
    if tried >= ENOUGH and failed > MANY_FAILED * tried:
        yield f"{failed} of {tried} attempts of the last hour failed"
