"""What is said of models: measures on held-out samples, and figures that may be unavailable."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from backend.workloads.tasks.models.model import MOST_LABEL, MOST_NAME

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Label = Annotated[str, Field(min_length=1, max_length=MOST_LABEL)]
ModelName = Annotated[
    str, Field(min_length=1, max_length=MOST_NAME, title="Model", description="Its name.")
]
Subject = Annotated[
    int | None, Field(ge=1, title="User", description="Whose model. Absent: your own.")
]
Version = Annotated[int | None, Field(ge=1, title="Version", description="Absent: the latest one.")]


class Shape(BaseModel):
    """Nothing but what is declared."""

    model_config = ConfigDict(extra="forbid")


class Unavailable(Shape):
    """Instead of a figure that was not measured."""

    status: Literal["unavailable"] = "unavailable"
    reason: str = Field(max_length=500)


class Figure(Shape):
    """One that was measured."""

    status: Literal["measured"] = "measured"
    value: FiniteFloat
    unit: str = Field(max_length=32)


class Interval(Shape):
    """Wilson's score interval of a share."""

    low: Share
    high: Share
    confidence: Share
    method: Literal["Wilson score"] = "Wilson score"


class Baseline(Shape):
    """What always answering the most frequent label of the training samples would reach."""

    label: Label
    accuracy: Share


class OfLabel(Shape):
    """How a label fares. Null: nothing was said to be it, or nothing is, so there is no share."""

    label: Label
    support: Count = Field(description="Held-out samples that are it.")
    precision: Share | None
    recall: Share | None
    f1: Share | None


class Confusion(Shape):
    """``rows[i][j]``: how many samples of label i were said to be label j."""

    labels: list[Label]
    rows: list[list[Count]]


class Measured(Shape):
    """A classifier on samples that it was not trained on."""

    status: Literal["measured"] = "measured"
    samples: int = Field(ge=1)
    accuracy: Share
    accuracy_interval: Interval
    majority_baseline: Baseline
    beats_baseline: bool
    classes: list[OfLabel]
    confusion_matrix: Confusion


Quality = Annotated[Measured | Unavailable, Field(discriminator="status")]
Value = Annotated[Figure | Unavailable, Field(discriminator="status")]
