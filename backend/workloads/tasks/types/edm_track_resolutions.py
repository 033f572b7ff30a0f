"""How one user's debts are resolved: how many, how fast, by what, and how old the rest is."""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.orm import Session

from backend.workloads.tasks.data_model import DebtKind, Resolution, Severity
from backend.workloads.tasks.edm.resolutions import read_resolutions, track
from backend.workloads.tasks.edm.shapes import Count, Shape, Status, Window
from backend.workloads.tasks.lifecycle import EDM_ANALYSIS
from backend.workloads.tasks.registry import Asked, Parameters, TaskType

Days = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class TrackResolutions(Parameters):
    """Whose debts, and how far back."""

    user_id: int | None = Field(None, ge=1, title="User", description="Absent: yourself.")
    lookback_days: int = Field(
        30, ge=1, le=3653, title="Look back", description="Days back from now."
    )


class Tally(Shape):
    """What became of some."""

    resolved: Count
    open: Count


class ByAge(Shape):
    """Open debts by how many days ago they were raised."""

    under_7: Count
    from_7_to_30: Count
    from_30_to_90: Count
    from_90: Count


class Backlog(Shape):
    """How long the open debts have been owed; null where there is none."""

    mean_days: Days | None
    median_days: Days | None
    oldest_days: Days | None
    by_age: ByAge


class Resolutions(Shape):
    """Of the debts that were owed at some time in the window."""

    status: Status = Field(description="insufficient_data: none was owed in the window.")
    user_id: int
    window: Window
    owed: Count = Field(title="Owed", description="Resolved in the window, or open now.")
    raised: Count = Field(title="Raised", description="Of these, found in the window.")
    resolved: Count = Field(title="Resolved", description="In the window.")
    open: Count = Field(title="Open", description="Now.")
    resolution_rate: Annotated[float, Field(ge=0, le=1)] | None = Field(
        title="Rate", description="Resolved of owed."
    )
    mean_days: Days | None = Field(
        title="Mean days", description="From raised to resolved; null where none was resolved."
    )
    median_days: Days | None = Field(title="Median days")
    by_method: dict[Resolution, Count]
    commonest_methods: list[Resolution] = Field(
        title="Commonest", description="Several where they are equally common."
    )
    by_kind: dict[DebtKind, Tally]
    by_severity: dict[Severity, Tally]
    backlog: Backlog


def gather(session: Session, asked: Asked) -> dict[str, Any]:
    back = timedelta(days=asked.parameters["lookback_days"])
    return read_resolutions(session, asked.user_id, back)


def run(asked: dict[str, Any]) -> dict[str, Any]:
    return track(asked)


TASK = TaskType(
    name="edm_track_resolutions",
    title="Track how debts are resolved",
    description="How many of one user's debts were resolved, how fast and how, and how old those"
    " are that are still owed.",
    queue=EDM_ANALYSIS,
    parameters=TrackResolutions,
    result=Resolutions,
    run=run,
    gather=gather,
    subject="one",
)
