"""The trend of each ARI metric of one user, and alerts."""

from datetime import timedelta
from typing import Any, Literal

from pydantic import AwareDatetime, Field, FiniteFloat
from sqlalchemy.orm import Session

from backend.workloads.tasks.ari.reading import read_series
from backend.workloads.tasks.ari.shapes import Shape, Window
from backend.workloads.tasks.lifecycle import ARI_ANALYSIS
from backend.workloads.tasks.numerics import rehearse_statistics
from backend.workloads.tasks.registry import Asked, Parameters, TaskType

MAX_DAYS = 3_653  # ten years


class AnalyzeTrends(Parameters):
    """Whose snapshots, how far back, and from which change on there is an alert."""

    user_id: int | None = Field(None, ge=1, title="User", description="Absent: yourself.")
    lookback_days: int = Field(
        30, ge=1, le=MAX_DAYS, title="Look back", description="Days back from now."
    )
    threshold_percent: float = Field(
        10.0,
        gt=0,
        le=1_000,
        allow_inf_nan=False,
        title="Threshold",
        description="A change of so many percent gives an alert; one of 20 is critical.",
    )


class Trend(Shape):
    """The Theil-Sen line through a metric's snapshots, and the Mann-Kendall test of them."""

    slope_per_day: FiniteFloat | None = Field(
        title="Slope per day",
        description="In the metric's unit per 24 hours. Null where it is too large a number.",
    )
    slope_low: FiniteFloat | None = Field(description="Of its 95 % confidence interval.")
    slope_high: FiniteFloat | None = Field(description="Of its 95 % confidence interval.")
    points: int = Field(title="Points", description="How many snapshots the line is fitted to.")
    s: int = Field(title="S", description="Pairs of snapshots that rise less those that fall.")
    tau: FiniteFloat | None = Field(
        title="Tau", description="Kendall's tau-b. Null where all values are alike."
    )
    z: FiniteFloat
    p_value: FiniteFloat = Field(
        ge=0,
        le=1,
        title="p-value",
        description="Of no trend; two-sided, corrected for ties and continuity.",
    )
    significant: bool = Field(description="The p-value is below 0.05.")
    direction: Literal["increasing", "decreasing", "flat", "uncertain"] = Field(
        title="Direction",
        description="Of the line where the test is significant; uncertain where it is not.",
    )
    start: FiniteFloat | None = Field(description="The line at the first snapshot.")
    end: FiniteFloat | None = Field(description="The line at the last snapshot.")
    change_percent: FiniteFloat | None = Field(
        title="Change", description="From start to end, in percent of the magnitude of start."
    )
    autocorrelation: FiniteFloat | None = Field(
        title="Autocorrelation", description="Lag one, of the residuals."
    )
    caveats: list[str] = Field(title="Caveats", description="What to hold against these figures.")


class MetricTrend(Shape):
    """Of one metric."""

    metric: str
    status: Literal["ok", "insufficient_data"] = Field(
        description="With fewer than two snapshots there is no trend."
    )
    count: int = Field(ge=1, title="Snapshots")
    first_at: AwareDatetime
    last_at: AwareDatetime
    trend: Trend | None


class Alert(Shape):
    """A metric that changed by the threshold or more."""

    metric: str
    level: Literal["warning", "critical"]
    change_percent: FiniteFloat
    significant: bool = Field(description="Whether the test, too, says that there is a trend.")
    message: str


class Trends(Shape):
    """What was computed, and of how much."""

    status: Literal["ok", "insufficient_data"]
    user_id: int
    window: Window
    snapshots: int = Field(ge=0)
    threshold_percent: FiniteFloat
    critical_percent: Literal[20] = 20
    confidence: Literal["95 %"] = "95 %"
    slope_method: Literal["Theil-Sen"] = "Theil-Sen"
    test_method: Literal["Mann-Kendall"] = "Mann-Kendall"
    metrics: list[MetricTrend] = Field(title="Metrics", description="By name.")
    alerts: list[Alert] = Field(title="Alerts", description="The largest change first.")


def gather(session: Session, asked: Asked) -> dict[str, Any]:
    window = timedelta(days=asked.parameters["lookback_days"])
    return read_series(session, asked.user_id, window)


def run(asked: dict[str, Any]) -> dict[str, Any]:
    from backend.workloads.tasks.ari.trends import analyze

    return analyze(asked)


TASK = TaskType(
    name="analyze_ari_trends",
    title="Analyze ARI trends",
    description="For each metric of one user: the robust trend, how much it changed, and alerts.",
    queue=ARI_ANALYSIS,
    parameters=AnalyzeTrends,
    result=Trends,
    run=run,
    gather=gather,
    subject="one",
    rehearse=rehearse_statistics,
)
