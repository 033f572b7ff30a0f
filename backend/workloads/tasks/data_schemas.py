"""What the endpoints of data read and answer, and what the lines of an import are.

A model that is named ``…Line`` is one line of an import, and what is posted beside ``user_id``.
"""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from backend.identity.schemas import GivenMoment, Input, Moment, Output, RowId
from backend.workloads.tasks.data_model import (
    MOST_REFERENCES,
    MOST_TEXT,
    BlockStatus,
    Complexity,
    DebtKind,
    DebtStatus,
    GoalStatus,
    Resolution,
    Severity,
    Verdict,
)

FIRST: Final = datetime(1900, 1, 1, tzinfo=UTC)
LAST: Final = datetime(2200, 1, 1, tzinfo=UTC)

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT: Final = re.compile(rf"{_DATE.pattern}[Tt ]\d{{2}}:\d{{2}}.*", re.DOTALL)


def _written_as(shape: re.Pattern[str], wanted: str) -> BeforeValidator:
    """Else a number would be taken for seconds since 1970."""

    def check(value: Any) -> Any:
        if not isinstance(value, str) or not shape.fullmatch(value):
            raise ValueError(f"write {wanted}")
        return value

    return BeforeValidator(check)


def _between(moment: datetime) -> datetime:
    if not FIRST <= moment < LAST:
        raise ValueError("moments lie between 1900 and 2200")
    return moment


def _day_between(day: date) -> date:
    if not FIRST.date() <= day < LAST.date():
        raise ValueError("days lie between 1900 and 2200")
    return day


StoredMoment = Annotated[
    GivenMoment,
    Field(strict=False),
    AfterValidator(_between),
    _written_as(_MOMENT, "a moment with its offset, such as 2026-01-31T12:00:00Z"),
]
StoredDay = Annotated[
    date,
    Field(strict=False),
    AfterValidator(_day_between),
    _written_as(_DATE, "a day, such as 2026-01-31"),
]
Short = Annotated[str, Field(min_length=1, max_length=200)]
Long = Annotated[str, Field(min_length=1, max_length=MOST_TEXT)]
Note = Annotated[str, Field(min_length=1, max_length=2000)]
References = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=1000)]], Field(max_length=MOST_REFERENCES)
]


class ById(BaseModel):
    id: RowId


class Whose(BaseModel):
    user_id: RowId | None = Field(
        None, description="Whose data; another user's need an admin. Left out: the caller's."
    )


class PageIn(BaseModel):
    before: RowId | None = Field(None, description="`next` of the page before.")
    limit: int = Field(50, ge=1, le=100)


class PageOut(Output):
    """The one that came last is first."""

    next: int | None = Field(description="Give it as `before`; null on the last page.")


class DataPage(PageIn):
    """Which rows; all that is given must hold."""

    user_id: RowId | None = Field(
        None, description="Whose; another user's need an admin. Left out: the caller's, or for"
        " an admin everybody's."
    )  # fmt: skip
    since: GivenMoment | None = None
    until: GivenMoment | None = Field(None, description="Exclusive.")


class Stored(Output):
    """Beside an input's model: the same fields as they are stored, which nobody need refuse."""

    model_config = ConfigDict(strict=False, extra="ignore")


class SnapshotLine(Input):
    """One metric at one moment."""

    metric: str = Field(min_length=1, max_length=64, examples=["focus"])
    value: float = Field(allow_inf_nan=False)
    taken_at: StoredMoment


class SnapshotIn(SnapshotLine, Whose):
    """A snapshot, and whose it is."""


class SnapshotOut(SnapshotLine, Stored):
    id: int
    user_id: int
    taken_at: Moment
    created_at: Moment


class SnapshotPage(DataPage):
    """`since` and `until` are about `taken_at`."""

    metric: Annotated[str, Field(max_length=64)] | None = None


class SnapshotsOut(PageOut):
    snapshots: list[SnapshotOut]


class InteractionLine(Input):
    """What was said at one moment."""

    occurred_at: StoredMoment
    text: Long
    source: Short | None = Field(None, description="Where it was said.")
    external_id: Short | None = Field(None, description="Its owner's own name of it, unique.")
    citations: References = Field([], description="What was cited: addresses, titles.")


class InteractionIn(InteractionLine, Whose):
    """An interaction, and whose it is."""


class InteractionOut(InteractionLine, Stored):
    id: int
    user_id: int
    occurred_at: Moment
    created_at: Moment


class InteractionPage(DataPage):
    """`since` and `until` are about `occurred_at`."""


class InteractionsOut(PageOut):
    interactions: list[InteractionOut]


class GoalLine(Input):
    """What somebody wants to reach."""

    title: Short
    description: str = Field("", max_length=MOST_TEXT)
    complexity_level: Annotated[Complexity, Field(strict=False)] = Complexity.MEDIUM
    status: Annotated[GoalStatus, Field(strict=False)] = GoalStatus.OPEN
    target_date: StoredDay | None = None
    external_id: Short | None = Field(None, description="Its owner's own name of it, unique.")


class GoalIn(GoalLine, Whose):
    """A goal, and whose it is."""


class GoalChange(Input):
    """What is left out stays; of what may be nothing, null takes it away."""

    title: Short | None = None
    description: Annotated[str, Field(max_length=MOST_TEXT)] | None = None
    complexity_level: Annotated[Complexity, Field(strict=False)] | None = None
    status: Annotated[GoalStatus, Field(strict=False)] | None = None
    target_date: StoredDay | None = None

    def changes(self) -> dict[str, Any]:
        given = self.model_dump(exclude_unset=True)
        return {
            name: value
            for name, value in given.items()
            if value is not None or name == "target_date"
        }


class GoalOut(Output):
    id: int
    user_id: int
    title: str
    description: str
    complexity_level: Complexity
    status: GoalStatus
    target_date: date | None
    external_id: str | None
    planned_at: Moment | None
    created_at: Moment


class BlockIn(Input):
    """One sitting's work. It gets the next number."""

    title: Short
    description: str = Field("", max_length=MOST_TEXT)
    minutes: int = Field(ge=15, le=90)
    depends_on: list[Annotated[int, Field(ge=1, le=100)]] = Field(
        [], max_length=100, description="Numbers of the goal's blocks that come before it."
    )


class BlockOut(BlockIn, Stored):
    goal_id: int
    block_no: int
    status: BlockStatus
    done_at: Moment | None
    created_at: Moment


class BlockPath(ById):
    block_no: int = Field(ge=1, le=100)


class BlockChange(Input):
    status: Annotated[BlockStatus, Field(strict=False)]


class GoalDetail(GoalOut):
    blocks: list[BlockOut] = Field(description="In the order of their numbers.")


class GoalPage(DataPage):
    """`since` and `until` are about `created_at`."""

    status: GoalStatus | None = None


class GoalsOut(PageOut):
    goals: list[GoalOut]


class DebtOut(Output):
    """A claim that is still to be supported, or was dealt with."""

    id: int
    user_id: int
    interaction_id: int
    kind: DebtKind
    severity: Severity
    sentence: str
    reason: str
    status: DebtStatus
    resolution_method: Resolution | None
    resolution_note: str | None
    resolved_at: Moment | None
    created_at: Moment


class DebtPage(DataPage):
    """`since` and `until` are about `created_at`."""

    status: DebtStatus | None = None
    kind: DebtKind | None = None
    severity: Severity | None = None
    interaction_id: RowId | None = None


DEBT_FILTERS: Final = {"status", "kind", "severity", "interaction_id"}


class DebtsOut(PageOut):
    debts: list[DebtOut]


class ResolutionIn(Input):
    method: Annotated[Resolution, Field(strict=False)]
    note: Note | None = None


class ClaimLine(Input):
    """A claim that was reviewed."""

    claim: Note
    verdict: Annotated[Verdict, Field(strict=False)]
    explanation: Long
    sources: References = Field(min_length=1, description="What the verdict rests on.")
    topic: Short | None = None


class ClaimOut(ClaimLine, Stored):
    id: int
    reviewed_by: int
    reviewed_at: Moment
    created_at: Moment


class ClaimPage(PageIn):
    """Which claims; all that is given must hold."""

    topic: Short | None = None
    verdict: Verdict | None = None
    since: GivenMoment | None = Field(None, description="Of `reviewed_at`, as `until` is.")
    until: GivenMoment | None = Field(None, description="Exclusive.")


class ClaimsOut(PageOut):
    claims: list[ClaimOut]


class DeletedOut(Output):
    """How many rows of each kind are gone."""

    user_id: int
    deleted: dict[str, int]
