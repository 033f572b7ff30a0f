"""A goal divided into blocks of focused work."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.queue.leases import Lease
from backend.queue.pipeline import Isolation
from backend.queue.reporting import report
from backend.queue.retry import Permanent
from backend.workloads.tasks.data_model import BlockStatus, Complexity, GoalStatus
from backend.workloads.tasks.ffe.shapes import OfGoal, Shape
from backend.workloads.tasks.lifecycle import FFE_PLANNING
from backend.workloads.tasks.model import Task
from backend.workloads.tasks.registry import Asked, TaskType
from backend.workloads.tasks.tools import Tools

MAX_DESCRIPTION = 10_000  # characters


class PlanGoal(OfGoal):
    """Which goal, and what else is known of it."""

    goal_description: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_DESCRIPTION,
        title="Description",
        description="What the goal is, in words; absent: as it is stored. Encrypted at rest.",
    )
    complexity_level: Complexity | None = Field(
        None,
        title="Complexity",
        description="Decides how many blocks there are, and how long; absent: the goal's own.",
    )


class PlannedBlock(Shape):
    """One sitting's work."""

    block_no: int = Field(ge=1, title="Number")
    title: str
    description: str
    minutes: int = Field(ge=15, le=90)
    depends_on: list[int] = Field(title="Depends on", description="Numbers of earlier blocks.")
    status: BlockStatus


class Plan(Shape):
    """The blocks of the goal as they are stored now."""

    goal_id: int
    planner: Literal["rules", "model"] = Field(
        title="Planner", description="The deterministic rules, or the configured model."
    )
    reason: str | None = Field(title="Reason", description="Why the rules made the plan.")
    model: str | None = Field(title="Model", description="Which one made the plan.")
    complexity_level: Complexity
    characters: int = Field(title="Characters", description="Of title and description; all read.")
    planned_at: AwareDatetime = Field(title="Planned at", description="When the goal was read.")
    planned_blocks: int = Field(ge=3, le=7, title="Planned blocks")
    planned_minutes: int = Field(title="Planned minutes")
    kept_blocks: int = Field(
        0, ge=0, title="Kept blocks", description="Begun before this plan; they stay as they are."
    )
    blocks: list[PlannedBlock]


def gather(session: Session, asked: Asked) -> dict[str, Any]:
    from backend.workloads.tasks.ffe.goals import goal_of

    given = asked.parameters
    goal = goal_of(session, given["goal_id"], asked.user_id)
    if goal.status != GoalStatus.OPEN:
        raise Permanent(f"goal {goal.id} is {goal.status}: there is nothing to plan")
    tries = select(Task.attempts < Task.max_attempts, func.now()).where(Task.id == asked.row_id)
    patient, now = session.execute(tries).one()
    return {
        "title": goal.title,
        "description": given["goal_description"] or goal.description,
        "complexity_level": given["complexity_level"] or goal.complexity_level,
        "patient": patient,
        "now": now.isoformat(),
    }


def run(asked: Asked, tools: Tools) -> Plan:
    from backend.workloads.tasks.ffe.planners import planned
    from backend.workloads.tasks.inference import Inference

    goal, model = asked.data, Inference.of(tools.settings)
    report(10, "asks the model for a plan" if model else "reads the goal")
    title, description, level = goal["title"], goal["description"], goal["complexity_level"]
    made = planned(title, description, level, model, patient=goal["patient"])
    return Plan(
        goal_id=asked.parameters["goal_id"],
        planner=made.planner,
        reason=made.reason,
        model=model.model if model and made.planner == "model" else None,
        complexity_level=level,
        characters=len(title) + len(description),
        planned_at=goal["now"],
        planned_blocks=len(made.blocks),
        planned_minutes=sum(block.minutes for block in made.blocks),
        blocks=[
            PlannedBlock(
                block_no=number, title=block.title, description=block.description,
                minutes=block.minutes, depends_on=list(block.depends_on), status=BlockStatus.TODO,
            )
            for number, block in enumerate(made.blocks, 1)
        ],
    )  # fmt: skip


def save(session: Session, _lease: Lease, _asked: Asked, result: Plan) -> None:
    """Only now it is known which blocks were begun meanwhile: the result tells of those, too."""
    from backend.workloads.tasks.ffe.goals import blocks_of, replace_plan
    from backend.workloads.tasks.ffe.plan import Block

    made = [
        Block(block.title, block.description, block.minutes, tuple(block.depends_on))
        for block in result.blocks
    ]
    result.kept_blocks = replace_plan(session, result.goal_id, made)
    result.blocks = [
        PlannedBlock.model_validate(
            {name: getattr(row, name) for name in PlannedBlock.model_fields}
        )
        for row in blocks_of(session, result.goal_id)
    ]


TASK = TaskType(
    name="plan_ffe_goal",
    title="Plan a goal",
    description="Divides a goal into 3 to 7 blocks of 15 to 90 minutes that depend on each other, "
    "and stores them in place of those not begun. A configured model plans, else rules do.",
    queue=FFE_PLANNING,
    parameters=PlanGoal,
    result=Plan,
    run=run,
    gather=gather,
    save=save,
    isolation=Isolation.THREAD,
    sealed=True,
)
