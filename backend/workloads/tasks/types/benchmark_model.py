"""A user's text classifier timed."""

from typing import Final, Self

from pydantic import Field, model_validator

from backend.workloads.tasks.lifecycle import MODEL_TRAINING
from backend.workloads.tasks.models import benchmarking, storing
from backend.workloads.tasks.models.shapes import (
    ModelName,
    Sha256,
    Shape,
    Subject,
    Value,
    Version,
)
from backend.workloads.tasks.numerics import rehearse_learning
from backend.workloads.tasks.registry import Parameters, TaskType

MOST_CHARACTERS: Final = 1_000_000
"""Of one batch: twenty scenarios then end long before a task must."""


class Scenario(Parameters):
    """So many texts at once, each so long; at most 1,000,000 characters in all."""

    batch_size: int = Field(ge=1, le=1000, title="Batch size", description="Texts.")
    text_length: int = Field(ge=1, le=10_000, title="Text length", description="Characters.")

    @model_validator(mode="after")
    def _small(self) -> Self:
        if self.batch_size * self.text_length > MOST_CHARACTERS:
            raise ValueError(f"a batch has at most {MOST_CHARACTERS} characters in all")
        return self


USUAL = tuple(
    Scenario(batch_size=size, text_length=length) for size in (1, 32) for length in (200, 2000)
)


class BenchmarkModel(Parameters):
    """Which model, and under which loads."""

    user_id: Subject = None
    model_name: ModelName
    version: Version = None
    scenarios: tuple[Scenario, ...] = Field(
        USUAL, min_length=1, max_length=20, title="Scenarios",
        description="Each runs for two seconds, or 200 batches.",
    )  # fmt: skip


class Timed(Shape):
    """One scenario."""

    batch_size: int
    text_length: int
    batches: int = Field(ge=1, description="Timed, after two that were not.")
    latency_p50: Value
    latency_p95: Value
    throughput: Value


class BenchmarkedModel(Shape):
    """How long a version takes on the machine of the worker that ran this."""

    model_name: ModelName
    version: int = Field(ge=1)
    sha256: Sha256
    load_time: Value = Field(description="Read, verified and ready to answer; the median.")
    loads: int = Field(ge=1)
    memory: Value = Field(description="What loading it added to the process.")
    scenarios: list[Timed]


TASK = TaskType(
    name="benchmark_model",
    title="Benchmark a text model",
    description="Latency and throughput by batch size and text length, the time to load the model, "
    "and its memory; measured where it runs.",
    queue=MODEL_TRAINING,
    parameters=BenchmarkModel,
    result=BenchmarkedModel,
    run=benchmarking.run,
    gather=benchmarking.gather,
    prepare=storing.bring,
    rehearse=rehearse_learning,
)
