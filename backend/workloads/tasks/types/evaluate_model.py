"""A user's text classifier measured on held-out samples."""

from pydantic import Field

from backend.workloads.tasks.lifecycle import MODEL_TRAINING
from backend.workloads.tasks.models import evaluating, storing
from backend.workloads.tasks.models.shapes import (
    Count,
    Label,
    Measured,
    ModelName,
    Sha256,
    Shape,
    Subject,
    Version,
)
from backend.workloads.tasks.numerics import rehearse_learning
from backend.workloads.tasks.registry import Parameters, TaskType


class EvaluateModel(Parameters):
    """Which model, on how many samples."""

    user_id: Subject = None
    model_name: ModelName
    version: Version = None
    test_samples: int = Field(
        50, ge=evaluating.FEWEST_SAMPLES, le=10_000, title="Test samples",
        description="At most so many held-out samples are answered.",
    )  # fmt: skip


class Samples(Shape):
    """How many there were, and what became of them."""

    held_out: Count = Field(description="Stored to measure on.")
    asked_for: Count
    measured_on: Count
    left_out_as_trained_on: Count = Field(
        description="Samples that were on the other side when this version was trained."
    )


class EvaluatedModel(Shape):
    """How good a version is."""

    model_name: ModelName
    version: int = Field(ge=1)
    sha256: Sha256
    samples: Samples
    trained: dict[Label, Count] = Field(description="Training samples of each label.")
    quality: Measured


TASK = TaskType(
    name="evaluate_model",
    title="Evaluate a text model",
    description="Accuracy with its confidence interval beside the majority baseline, precision, "
    "recall and F1 of each label, and the confusion matrix, on held-out samples only.",
    queue=MODEL_TRAINING,
    parameters=EvaluateModel,
    result=EvaluatedModel,
    run=evaluating.run,
    gather=evaluating.gather,
    prepare=storing.bring,
    rehearse=rehearse_learning,
)
