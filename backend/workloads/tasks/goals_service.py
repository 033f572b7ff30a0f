"""Goals and their blocks, as their owners write them; plans come from the planner, too."""

from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.roles import Principal
from backend.problems import Conflict, NotFound
from backend.workloads.tasks import data_service
from backend.workloads.tasks.data_model import MOST_BLOCKS, BlockStatus, Goal, GoalBlock
from backend.workloads.tasks.data_schemas import BlockIn, GoalChange
from backend.workloads.tasks.data_service import GOALS


def goal_of(session: Session, goal_id: int, by: Principal) -> Goal:
    """A goal whose blocks nobody else changes until the commit. Raises NotFound."""
    return data_service.one(session, GOALS, goal_id, by, lock=True)


def blocks_of(session: Session, goal_id: int) -> list[GoalBlock]:
    """In the order of their numbers."""
    wanted = select(GoalBlock).where(GoalBlock.goal_id == goal_id).order_by(GoalBlock.block_no)
    return list(session.scalars(wanted))


def change(session: Session, goal_id: int, changes: GoalChange, by: Principal) -> Goal:
    """Raises NotFound."""
    goal = goal_of(session, goal_id, by)
    given = changes.changes()
    for name, value in given.items():
        setattr(goal, name, value)
    session.flush()
    audit.record(
        session, by, "goal.changed", f"goal:{goal_id}", user_id=goal.user_id, fields=sorted(given)
    )  # fmt: skip
    return goal


def add_block(session: Session, goal_id: int, given: BlockIn, by: Principal) -> GoalBlock:
    """Put a block behind those that a goal has.

    Raises:
        NotFound: there is no such goal.
        Conflict: ``unknown-block``: it depends on one that is not there; ``too-many-blocks``.
    """
    goal_of(session, goal_id, by)
    numbers = {block.block_no for block in blocks_of(session, goal_id)}
    if unknown := sorted(set(given.depends_on) - numbers):
        raise Conflict(f"Goal {goal_id} has no block {unknown[0]}.", code="unknown-block")
    number = max(numbers, default=0) + 1
    if number > MOST_BLOCKS:
        raise Conflict(f"Goal {goal_id} has all the blocks it can.", code="too-many-blocks")
    values = {**given.model_dump(), "depends_on": sorted(set(given.depends_on))}
    block = session.scalars(
        insert(GoalBlock).values(goal_id=goal_id, block_no=number, **values).returning(GoalBlock)
    ).one()
    _note(session, by, "added", goal_id, number)
    return block


def mark(
    session: Session, goal_id: int, block_no: int, status: BlockStatus, by: Principal
) -> GoalBlock:
    """Say where a block is; one that is done keeps the moment at which it became so.

    Raises:
        NotFound: there is no such goal, or block.
    """
    goal_of(session, goal_id, by)
    done = status is BlockStatus.DONE
    block: GoalBlock | None = session.scalar(
        update(GoalBlock)
        .where(GoalBlock.goal_id == goal_id, GoalBlock.block_no == block_no)
        .values(
            status=status.value,
            done_at=func.coalesce(GoalBlock.done_at, func.now()) if done else None,
        )
        .returning(GoalBlock)
    )
    if block is None:
        raise _no_block(goal_id, block_no)
    _note(session, by, "marked", goal_id, block_no, status=status.value)
    return block


def remove_block(session: Session, goal_id: int, block_no: int, by: Principal) -> None:
    """Delete a block.

    Raises:
        NotFound: there is no such goal, or block.
        Conflict: ``depended-on``: another one comes after it.
    """
    goal_of(session, goal_id, by)
    blocks = blocks_of(session, goal_id)
    if block_no not in {block.block_no for block in blocks}:
        raise _no_block(goal_id, block_no)
    after = [block.block_no for block in blocks if block_no in block.depends_on]
    if after:
        raise Conflict(f"Block {after[0]} depends on block {block_no}.", code="depended-on")
    session.execute(
        delete(GoalBlock).where(GoalBlock.goal_id == goal_id, GoalBlock.block_no == block_no)
    )
    _note(session, by, "deleted", goal_id, block_no)


def _no_block(goal_id: int, block_no: int) -> NotFound:
    return NotFound(f"Goal {goal_id} has no block {block_no}.")


def _note(
    session: Session, by: Principal, deed: str, goal_id: int, block_no: int, **detail: Any
) -> None:
    audit.record(
        session, by, f"goal-block.{deed}", f"goal:{goal_id}", block_no=block_no, **detail
    )  # fmt: skip
