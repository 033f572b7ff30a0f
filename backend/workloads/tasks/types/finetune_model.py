"""A text classifier trained on a user's stored samples."""

from typing import Any

from pydantic import Field

from backend.workloads.tasks.lifecycle import MODEL_TRAINING
from backend.workloads.tasks.models import storing, training
from backend.workloads.tasks.models.shapes import (
    Count,
    Label,
    ModelName,
    Quality,
    Sha256,
    Shape,
    Subject,
)
from backend.workloads.tasks.numerics import rehearse_learning
from backend.workloads.tasks.registry import Parameters, TaskType


class FinetuneModel(Parameters):
    """What is trained, on how much, and how fast."""

    user_id: Subject = None
    model_name: ModelName
    training_samples: int = Field(
        100, ge=training.FEWEST_SAMPLES, le=20_000, title="Training samples",
        description="At most so many are trained on. Fewer samples in all is a failure; those that "
        "are held out are never trained on.",
    )  # fmt: skip
    learning_rate: float = Field(
        0.5, ge=1e-6, le=10, allow_inf_nan=False, title="Learning rate",
        description="The constant step of stochastic gradient descent.",
    )  # fmt: skip


class Samples(Shape):
    """How many there were, and what became of them."""

    stored: Count = Field(description="For this model, on both sides.")
    asked_for: Count
    trained_on: Count
    held_out: Count = Field(description="Stored to measure on.")


class FinetunedModel(Shape):
    """A new version of the model, and how good it is."""

    model_name: ModelName
    version: int | None = Field(None, ge=1, description="Given when it is stored.")
    sha256: Sha256
    size_bytes: int = Field(ge=1)
    samples: Samples
    trained: dict[Label, Count] = Field(description="Training samples of each label.")
    learning_rate: float
    epochs: int = Field(ge=1, description="How often each sample was seen.")
    seed: int = Field(description="Of the order in which they were seen.")
    words: Count = Field(description="Terms of one or two words.")
    letters: Count = Field(description="Terms of two to four letters.")
    held_out: Quality = Field(description="On at most 1,000 held-out samples.")
    training_seconds: float = Field(ge=0)
    measuring_seconds: float = Field(ge=0)

    def trained_with(self) -> dict[str, Any]:
        """What made the model what it is."""
        made = {"samples", "trained", "learning_rate", "epochs", "seed", "words", "letters"}
        return self.model_dump(mode="json", include=made)

    def measures(self) -> dict[str, Any]:
        return self.model_dump(mode="json", include={"held_out", "training_seconds"})


TASK = TaskType(
    name="finetune_model",
    title="Train a text model",
    description="Trains a small text classifier on stored samples, measures it on held-out ones, "
    "and stores it with its hash as a new version.",
    queue=MODEL_TRAINING,
    parameters=FinetuneModel,
    result=FinetunedModel,
    run=training.run,
    gather=training.gather,
    prepare=storing.require_key,
    bulk=storing.keep,
    rehearse=rehearse_learning,
)
