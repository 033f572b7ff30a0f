"""What the results of the EDM tasks have in common."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from backend.workloads.tasks.data_model import Severity

Count = Annotated[int, Field(ge=0)]
Status = Literal["completed", "insufficient_data"]


class Finding(StrEnum):
    """What the knowledge base says of a sentence, what matters most first."""

    REFUTED = "refuted"
    """It repeats a refuted claim, or says the contrary of a supported one."""
    MISLEADING = "misleading"
    UNPROVEN = "unproven"
    UNCLEAR = "unclear"
    """It is about a reviewed claim, and its verdict does not carry over."""
    CONSISTENT = "consistent"
    """It repeats a supported claim, or says the contrary of a refuted one."""
    NOT_IN_KNOWLEDGE_BASE = "not_in_knowledge_base"
    """Nobody has reviewed it: this says nothing of whether it is true."""


class Shape(BaseModel):
    """A part of a result."""

    model_config = ConfigDict(extra="forbid")


class Window(Shape):
    """What is counted lies in it; both ends belong to it."""

    since: AwareDatetime = Field(title="Since")
    until: AwareDatetime = Field(title="Until", description="When the data were read.")


class BySeverity(Shape):
    """How many there are of each severity."""

    low: Count = 0
    medium: Count = 0
    high: Count = 0
    critical: Count = 0

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> "BySeverity":
        return cls(**{word.value: counts.get(word, 0) for word in Severity})


class Examined(Shape):
    """From how much a result was computed."""

    interactions: Count = Field(title="Interactions", description="Whose text was looked at.")
    interactions_left_out: Count = Field(
        0,
        title="Left out",
        description="The oldest ones, beyond what one task reads: name a smaller part of them.",
    )
    sentences: Count = Field(0, title="Sentences")
    claims: Count = Field(
        0, title="Claims", description="Sentences that assert something others may believe."
    )
