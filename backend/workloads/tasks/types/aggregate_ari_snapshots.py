"""Figures of each ARI metric over the last hours."""

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field, FiniteFloat
from sqlalchemy.orm import Session

from backend.workloads.tasks.ari.reading import read_series
from backend.workloads.tasks.ari.shapes import Latest, Shape, Window
from backend.workloads.tasks.lifecycle import ARI_ANALYSIS
from backend.workloads.tasks.numerics import rehearse_statistics
from backend.workloads.tasks.registry import Asked, Parameters, TaskType

MAX_HOURS = 87_660  # ten years


class AggregateSnapshots(Parameters):
    """Whose snapshots, and how far back."""

    user_id: int | None = Field(
        None, ge=1, title="User", description="Absent: your own; for an admin everybody's."
    )
    time_window_hours: int = Field(
        24, ge=1, le=MAX_HOURS, title="Window", description="Hours back from now."
    )


class Percentiles(Shape):
    """By linear interpolation between the two nearest ranks: Hyndman and Fan's type 7."""

    p50: FiniteFloat
    p90: FiniteFloat
    p95: FiniteFloat
    p99: FiniteFloat


class Figures(Shape):
    """Of one metric."""

    metric: str
    users: int = Field(title="Users", description="Whose snapshots these are figures of.")
    count: int = Field(ge=1, title="Snapshots")
    average: FiniteFloat
    minimum: FiniteFloat
    maximum: FiniteFloat
    percentiles: Percentiles
    latest: Latest
    slope_per_day: FiniteFloat | None = Field(
        title="Slope per day",
        description="Least squares, in the metric's unit per 24 hours; of several users about each "
        "one's own means. Null where nobody has snapshots at two moments.",
    )


class UserFigures(Figures):
    """Of one metric of one user."""

    user_id: int


class Aggregates(Shape):
    """What was computed, and of how much."""

    status: Literal["ok", "insufficient_data"]
    user_id: int | None = Field(title="User", description="Null: everybody's snapshots.")
    window: Window
    snapshots: int = Field(ge=0)
    users: int = Field(ge=0, title="Users", description="Who have snapshots in the window.")
    percentile_method: Literal["linear interpolation (Hyndman and Fan, type 7)"] = (
        "linear interpolation (Hyndman and Fan, type 7)"
    )
    slope_method: Literal["least squares"] = "least squares"
    metrics: list[Figures] = Field(title="Metrics", description="By name; of all users together.")
    by_user: list[UserFigures] = Field(
        title="By user", description="By user and metric, where everybody's were asked for."
    )
    not_listed: int = Field(
        ge=0, title="Not listed", description="More pairs of user and metric; by_user has 1,000."
    )


def gather(session: Session, asked: Asked) -> dict[str, Any]:
    window = timedelta(hours=asked.parameters["time_window_hours"])
    return read_series(session, asked.user_id, window)


def run(asked: dict[str, Any]) -> dict[str, Any]:
    from backend.workloads.tasks.ari.aggregation import aggregate

    return aggregate(asked)


TASK = TaskType(
    name="aggregate_ari_snapshots",
    title="Aggregate ARI snapshots",
    description="For each metric: how many snapshots, their average, minimum, maximum, "
    "percentiles, the latest one, and the slope.",
    queue=ARI_ANALYSIS,
    parameters=AggregateSnapshots,
    result=Aggregates,
    run=run,
    gather=gather,
    subject="one or all",
    rehearse=rehearse_statistics,
)
