"""What the endpoints of training samples and models read and answer."""

from typing import Annotated, Any, Self

from pydantic import Field, computed_field, field_serializer, model_validator

from backend.identity.schemas import Input, Moment, Output
from backend.workloads.tasks.data_schemas import DataPage, PageOut, Whose
from backend.workloads.tasks.models.model import MOST_LABEL, MOST_NAME, MOST_TEXT, Split
from backend.workloads.tasks.models.samples import digest, side

Name = Annotated[str, Field(min_length=1, max_length=MOST_NAME)]
Label = Annotated[str, Field(min_length=1, max_length=MOST_LABEL)]


class SampleLine(Input):
    """A text and what it is; the same text is stored once for a model, whatever its label."""

    model_name: Name
    text: str = Field(min_length=1, max_length=MOST_TEXT)
    label: Label
    split: Annotated[Split, Field(strict=False)] | None = Field(
        None, description="Left out: a fifth of all texts is held out, each decided by its digest."
    )

    @model_validator(mode="after")
    def _on_a_side(self) -> Self:
        if self.split is None:
            self.split = side(self.digest)
        return self

    @computed_field  # type: ignore[prop-decorator] # as pydantic documents it
    @property
    def digest(self) -> bytes:
        return digest(self.text)

    @field_serializer("digest", when_used="json")
    def _as_bytea(self, value: bytes) -> str:
        return f"\\x{value.hex()}"


class SampleIn(SampleLine, Whose):
    """A sample, and whose it is."""


class SampleOut(Output):
    id: int
    user_id: int
    model_name: str
    text: str
    label: str
    split: Split
    created_at: Moment


class SamplePage(DataPage):
    """`since` and `until` are about `created_at`."""

    model_name: Name | None = None
    label: Label | None = None
    split: Split | None = None


class SamplesOut(PageOut):
    samples: list[SampleOut]


class ModelOut(Output):
    """One version of a model; `sha256` and `size_bytes` are those of its artefact."""

    id: int
    user_id: int
    name: str
    version: int
    sha256: str
    size_bytes: int
    parameters: dict[str, Any] = Field(description="What it was trained on, and how.")
    metrics: dict[str, Any] = Field(description="How good it was on held-out samples.")
    trained_at: Moment
    task_row: int | None = Field(description="`row_id` of the task that trained it.")


class ModelPage(DataPage):
    """`since` and `until` are about `trained_at`."""

    name: Name | None = None


class ModelsOut(PageOut):
    models: list[ModelOut]
