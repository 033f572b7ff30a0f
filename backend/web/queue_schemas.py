"""What the queue endpoints read and answer."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StringConstraints,
    model_validator,
)

from backend.identity.schemas import GivenMoment, Input, Moment, Output, RowId
from backend.queue import bulk, dead, fleet, overview
from backend.queue.dead import Place, Selection

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
CURSOR: Final = re.compile(r"(\d{1,16})\.(\d{1,18})")
SAMPLE: Final = 20
MOST_IDS: Final = 1000

Name = Annotated[str, StringConstraints(min_length=1, max_length=63)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Failure = Literal["permanent", "exhausted", "timeout", "poison"]


def _cursor(text: str) -> str:
    if not CURSOR.fullmatch(text):
        raise ValueError("give the last answer's `next`")
    return text


Cursor = Annotated[str, AfterValidator(_cursor)]


def cursor_of(place: Place) -> str:
    """A place among dead rows as microseconds and id."""
    moment, row_id = place
    return f"{(moment - EPOCH) // timedelta(microseconds=1)}.{row_id}"


def place_of(cursor: str) -> Place:
    microseconds, row_id = map(int, cursor.split("."))
    return EPOCH + timedelta(microseconds=microseconds), row_id


class QueuePath(BaseModel):
    queue: Name


class RowPath(QueuePath):
    id: RowId


class DeadPage(BaseModel):
    """Without a fingerprint groups alone, with one also their rows."""

    fingerprint: Fingerprint | None = None
    before: Cursor | None = Field(None, description="`next` of the page before.")
    limit: int = Field(50, ge=1, le=200)


class AttemptPage(BaseModel):
    before: RowId | None = Field(None, description="`next` of the page before.")
    limit: int = Field(50, ge=1, le=200)


class PauseIn(Input):
    partition: Name | None = Field(None, description="The whole queue where left out.")
    reason: Reason | None = None


class ResumeIn(Input):
    partition: Name | None = Field(None, description="The pause of the whole queue where left out.")


class CancelIn(Input):
    reason: Reason | None = None


class Filter(Input):
    """What dead rows must be; all that is given must hold."""

    failure: Failure | None = None
    partition: Name | None = None
    priority: int | None = Field(None, ge=1, le=10)
    error_contains: str | None = Field(None, min_length=1, max_length=200)
    failed_after: GivenMoment | None = Field(None, strict=False)
    failed_before: GivenMoment | None = Field(None, strict=False, description="Exclusive.")


class RequeueIn(Input):
    """Which dead rows; all that is given must hold. An empty ``filter`` means every one."""

    ids: list[RowId] | None = Field(None, min_length=1, max_length=MOST_IDS)
    fingerprint: Fingerprint | None = None
    filter: Filter | None = None
    preview: bool = Field(False, description="Only say what would be requeued.")
    alone: bool = Field(
        False, description="Each runs alone, its isolated steps in a process of its own."
    )
    limit: int = Field(10_000, ge=1, le=50_000, description="Rows to requeue at most.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.ids is None and self.fingerprint is None and self.filter is None:
            raise ValueError("give ids, a fingerprint or a filter")
        return self

    def selection(self) -> Selection:
        chosen = self.filter or Filter()
        return Selection(
            ids=tuple(self.ids) if self.ids is not None else None,
            fingerprint=self.fingerprint,
            failures=(chosen.failure,) if chosen.failure else None,
            partition=chosen.partition,
            priority=chosen.priority,
            error_contains=chosen.error_contains,
            failed_after=chosen.failed_after,
            failed_before=chosen.failed_before,
        )


class DepthOut(Output):
    """Rows by state: ``ready`` may run now, ``later`` back off, ``held`` run."""

    ready: int
    later: int
    held: int
    oldest_wait_seconds: float


class PauseOut(Output):
    """``partition`` is null where the whole queue is paused."""

    partition: str | None
    paused_by: str
    reason: str | None
    paused_at: Moment

    @classmethod
    def of(cls, pause: fleet.QueuePause) -> "PauseOut":
        return cls(
            partition=pause.partition or None, paused_by=pause.paused_by, reason=pause.reason,
            paused_at=pause.paused_at,
        )  # fmt: skip


class PausesOut(BaseModel):
    """What is paused of a queue now; nothing where the list is empty."""

    queue: str
    paused: list[PauseOut]

    @classmethod
    def of(cls, queue: str, pauses: list[fleet.QueuePause]) -> "PausesOut":
        return cls(queue=queue, paused=[PauseOut.of(p) for p in pauses if p.queue == queue])


class QueueOut(PausesOut):
    """One queue now; ``workers`` counts those alive that serve it."""

    depth: DepthOut
    workers: int

    @classmethod
    def summed(
        cls, now: overview.Depth, pauses: list[fleet.QueuePause], workers: list[fleet.Sighting]
    ) -> "QueueOut":
        serving = [w for w in workers if w.alive and now.queue in w.worker.queues]
        return cls(
            **dict(PausesOut.of(now.queue, pauses)),
            depth=DepthOut.model_validate(now),
            workers=len(serving),
        )


class QueuesOut(BaseModel):
    queues: list[QueueOut]


class WorkerOut(BaseModel):
    name: str
    hostname: str
    pid: int
    version: str
    queues: list[str]
    held: int
    draining: bool
    started_at: Moment
    heartbeat_at: Moment
    heartbeat_age_seconds: float
    alive: bool

    @classmethod
    def of(cls, seen: fleet.Sighting) -> "WorkerOut":
        counted = {"heartbeat_age_seconds", "alive"}
        told = {name: getattr(seen.worker, name) for name in cls.model_fields.keys() - counted}
        age = round(seen.heartbeat_age.total_seconds(), 3)
        return cls(**told, heartbeat_age_seconds=age, alive=seen.alive)


class WorkersOut(BaseModel):
    workers: list[WorkerOut]


class PartitionOut(DepthOut):
    name: str

    @classmethod
    def of(cls, name: str, depth: overview.Depth) -> "PartitionOut":
        return cls(name=name, **dict(DepthOut.model_validate(depth)))


class QueueDetail(BaseModel):
    """One queue with all there is to say of it.

    ``recent_outcomes`` are attempts that ended in the last hour; ``statuses`` its words.
    """

    queue: str
    statuses: list[str]
    depth: DepthOut
    partitions: list[PartitionOut]
    recent_outcomes: dict[str, int]
    paused: list[PauseOut]
    workers: list[WorkerOut]


class DeadGroup(Output):
    """Rows that failed alike; ``example`` is one of their errors."""

    fingerprint: str
    count: int
    example: str | None
    failures: list[str]
    oldest: Moment
    newest: Moment


class DeadRow(BaseModel):
    id: int
    fingerprint: str
    failure: str
    error: str | None
    step: str | None
    priority: int
    partition: str | None
    failed_at: Moment

    @classmethod
    def of(cls, row: dead.DeadRow) -> "DeadRow":
        known = row._asdict()
        return cls(failed_at=known.pop("completed_at"), **known)


class DeadCount(BaseModel):
    """``count`` rows in ``groups``, the largest first.

    Not ``complete``: of very many dead rows only those that failed last were looked at.
    """

    count: int
    complete: bool
    groups: list[DeadGroup]

    @classmethod
    def told(cls, found: dead.Groups) -> dict[str, Any]:
        groups = [DeadGroup.model_validate(group) for group in found.groups]
        return {"count": found.count, "complete": found.complete, "groups": groups}


class DeadOut(DeadCount):
    rows: list[DeadRow]
    next: str | None = Field(description="Give it as `before`; null on the last page.")


class RequeueOut(DeadCount):
    """A preview tells ``count``, ``groups`` and a ``sample``; otherwise ``requeued`` became ready.

    ``left`` are those of the given ids that are no dead rows of this queue. Where ``more`` may
    match, ask again with ``failed_before`` = ``began``.
    """

    queue: str
    preview: bool
    requeued: int
    more: bool
    began: Moment | None
    left: list[int]
    sample: list[DeadRow]

    @classmethod
    def previewed(cls, queue: str, groups: dead.Groups, sample: list[dead.DeadRow]) -> "RequeueOut":
        return cls(
            **DeadCount.told(groups), queue=queue, preview=True, requeued=0, more=False, began=None,
            left=[], sample=[DeadRow.of(row) for row in sample],
        )  # fmt: skip

    @classmethod
    def done(cls, queue: str, done: bulk.Requeued, asked: Iterable[int]) -> "RequeueOut":
        count = len(done.ids)
        return cls(
            count=count, complete=not done.more, groups=[], queue=queue, preview=False,
            requeued=count, more=done.more, began=done.began,
            left=sorted(set(asked) - set(done.ids)), sample=[],
        )  # fmt: skip


class ExplanationOut(Output):
    """Why a row is where it is: a stable ``reason``, a sentence, and what it rests on."""

    queue: str
    id: int
    status: str
    reason: str
    sentence: str
    facts: dict[str, Any]
    next_at: Moment | None


class AttemptOut(Output):
    id: int
    attempt: int
    step: str | None
    worker: str | None
    outcome: str
    failure: str | None
    error: str | None
    started_at: Moment | None
    ended_at: Moment


class AttemptsOut(BaseModel):
    """Attempts that ended, newest first."""

    attempts: list[AttemptOut]
    next: int | None = Field(description="Give it as `before`; null on the last page.")


class CancelOut(BaseModel):
    queue: str
    id: int
    status: str
