"""What the parameters and the results of both FFE tasks have in common."""

from pydantic import BaseModel, ConfigDict, Field

from backend.workloads.tasks.registry import Parameters


class OfGoal(Parameters):
    """Which goal, and whose."""

    user_id: int | None = Field(None, ge=1, title="User", description="Absent: yourself.")
    goal_id: int = Field(ge=1, title="Goal", description="A goal of that user's.")


class Shape(BaseModel):
    """A part of a result."""

    model_config = ConfigDict(extra="forbid")
