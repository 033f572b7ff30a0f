"""What is asked about schedules, and what is answered."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from backend.identity.schemas import GivenMoment, Input, Moment, Output, RowId
from backend.workloads.tasks.asking import DEFAULT_PRIORITY
from backend.workloads.tasks.schedules.catching_up import CatchUp
from backend.workloads.tasks.schedules.cron import MAX_LENGTH, UTC_NAME
from backend.workloads.tasks.schedules.model import NAME
from backend.workloads.tasks.schemas import Status, TypeName

MOST: Final = 200
"""Lines on one page."""

Name = Annotated[str, StringConstraints(pattern=NAME, max_length=64)]
Expression = Annotated[str, StringConstraints(min_length=9, max_length=MAX_LENGTH)]
Zone = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Priority = Annotated[int, Field(ge=1, le=10, description="10 is the most urgent.")]


class ById(BaseModel):
    id: RowId


class Page(BaseModel):
    limit: int = Field(50, ge=1, le=MOST)


class SchedulesIn(Page):
    before: RowId | None = Field(None, description="`next` of the page before.")
    name: Name | None = Field(None, description="Those of this name alone.")


class FiresIn(Page):
    before: GivenMoment | None = Field(None, description="`next` of the page before.")


class ScheduleIn(Input):
    """A schedule: what is to be submitted, as POST /api/tasks has it, and when."""

    name: Name = Field(description="Yours alone: a letter, then letters, digits, `.`, `_`, `-`.")
    task_type: TypeName
    user_id: RowId | None = Field(
        None, description="Whose data the tasks work on; other users' need an admin."
    )
    parameters: dict[str, Any] = Field({}, description="See GET /api/tasks/types.")
    priority: Priority = DEFAULT_PRIORITY
    cron: Expression = Field(
        description="Minute, hour, day of month, month, day of week.", examples=["30 2 * * MON-FRI"]
    )
    timezone: Zone = Field(
        UTC_NAME, description="Whose clock that is: an IANA name.", examples=["Europe/Berlin"]
    )
    catch_up: CatchUp = Field(
        "one", description="Of times that passed while no worker ran: fire one, all or none."
    )
    unique_pending: bool = Field(
        True, description="Where the last one still waits, that one does for this time."
    )
    paused: bool = False


class ScheduleChange(Input):
    """What is to be different; what is left out stays."""

    parameters: dict[str, Any] | None = None
    priority: Priority | None = None
    cron: Expression | None = None
    timezone: Zone | None = None
    catch_up: CatchUp | None = None
    unique_pending: bool | None = None


class ScheduleOut(Output):
    """A schedule; one of the product's own has no ``created_by``.

    ``parameters`` are null where they are kept sealed, or are another user's. ``next_fire_at`` is
    null while it is paused.
    """

    id: int
    name: str
    created_by: int | None
    task_type: str
    user_id: int | None
    parameters: dict[str, Any] | None
    priority: int
    cron: str
    timezone: str
    catch_up: CatchUp
    unique_pending: bool
    paused: bool
    next_fire_at: Moment | None
    last_fired_at: Moment | None
    created_at: Moment
    updated_at: Moment


class SchedulesOut(BaseModel):
    schedules: list[ScheduleOut]
    next: int | None

    @classmethod
    def of(cls, found: Sequence[ScheduleOut], limit: int) -> Self:
        shown = list(found[:limit])
        return cls(schedules=shown, next=shown[-1].id if len(found) > limit else None)


class FireOut(Output):
    """What came of one time.

    A task was ``submitted``, or was ``waiting`` already; the time was ``skipped``, because workers
    were away; or the task was ``refused``, for ``reason``. ``fired_at`` is when that happened.
    """

    fire_at: Moment
    fired_at: Moment
    outcome: Literal["submitted", "waiting", "skipped", "refused"]
    reason: str | None
    task_id: UUID | None
    task_status: Status | None


class FiresOut(BaseModel):
    fires: list[FireOut]
    next: Moment | None

    @classmethod
    def of(cls, found: Sequence[FireOut], limit: int) -> Self:
        shown = list(found[:limit])
        return cls(fires=shown, next=shown[-1].fire_at if len(found) > limit else None)


class ScheduleDetail(ScheduleOut):
    """``upcoming``: the next times; ``outcomes``: what came of those of the last 90 days."""

    upcoming: list[Moment]
    outcomes: dict[str, int]
