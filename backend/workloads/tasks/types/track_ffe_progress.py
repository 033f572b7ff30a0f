"""How far a goal is."""

from datetime import date, datetime
from typing import Any, Literal

from pydantic import AwareDatetime, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.workloads.tasks.ffe.shapes import OfGoal, Shape
from backend.workloads.tasks.lifecycle import FFE_PLANNING
from backend.workloads.tasks.registry import Asked, TaskType


class TrackProgress(OfGoal):
    """Which goal."""


class Counts(Shape):
    """Of blocks."""

    total: int = Field(ge=0)
    done: int = Field(ge=0)
    doing: int = Field(ge=0)
    todo: int = Field(ge=0)


class Minutes(Shape):
    """As planned, not as measured."""

    total: int = Field(ge=0)
    done: int = Field(ge=0, description="Of the blocks that are done.")
    left: int = Field(ge=0)


class Pace(Shape):
    """Planned minutes of done blocks, a day."""

    since: AwareDatetime = Field(title="Since", description="When the oldest block was made.")
    days: float = Field(ge=1, title="Days", description="Since then, at least one.")
    active_days: int = Field(ge=1, title="Active days", description="On which a block was done.")
    minutes_per_day: float = Field(ge=0)
    minutes_per_active_day: float = Field(ge=0)


class Target(Shape):
    """Where the goal has a target date. Days are those of UTC."""

    date: date
    on_target: bool | None = Field(title="On target", description="Null: no finish is expected.")
    minutes_per_day_needed: float | None = Field(
        title="Minutes a day needed", description="To be done by then; null: done, or it is past."
    )


class Blocked(Shape):
    """A block that cannot be begun yet."""

    block_no: int
    waits_for: list[int]


class Progress(Shape):
    """Computed from all blocks of the goal."""

    status: Literal["ok", "insufficient_data"]
    goal_id: int
    as_of: AwareDatetime = Field(title="As of", description="When the blocks were read.")
    blocks: Counts
    minutes: Minutes
    percent: float | None = Field(ge=0, le=100, title="Percent", description="Of the minutes.")
    pace: Pace | None
    expected_finish: AwareDatetime | None
    expected_finish_basis: str = Field(
        title="Basis", description="What the expected finish follows from, or why there is none."
    )
    target: Target | None
    ready: list[int] = Field(title="Ready", description="Numbers of blocks that can be begun.")
    blocked: list[Blocked]


def gather(session: Session, asked: Asked) -> dict[str, Any]:
    from backend.workloads.tasks.ffe.goals import blocks_of, goal_of

    goal = goal_of(session, asked.parameters["goal_id"], asked.user_id)
    return {
        "goal": {"target_date": goal.target_date and goal.target_date.isoformat()},
        "blocks": [
            {
                "block_no": block.block_no,
                "minutes": block.minutes,
                "depends_on": block.depends_on,
                "status": block.status,
                "created_at": block.created_at.isoformat(),
                "done_at": block.done_at and block.done_at.isoformat(),
            }
            for block in blocks_of(session, goal.id)
        ],
        "now": session.scalars(select(func.now())).one().isoformat(),
    }


def run(asked: dict[str, Any]) -> dict[str, Any]:
    from backend.workloads.tasks.ffe.progress import track

    data = asked["data"]
    found = track(data["goal"], data["blocks"], datetime.fromisoformat(data["now"]))
    return {"goal_id": asked["parameters"]["goal_id"], **found}


TASK = TaskType(
    name="track_ffe_progress",
    title="Track a goal's progress",
    description="How much of a goal's planned minutes is done, at what pace, when the rest is "
    "expected to be, and which blocks can be begun.",
    queue=FFE_PLANNING,
    parameters=TrackProgress,
    result=Progress,
    run=run,
    gather=gather,
)
