"""A goal and its blocks in the database, as its tasks read and write them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from backend.queue.retry import Permanent
from backend.workloads.tasks.data_model import MOST_BLOCKS, BlockStatus, Goal, GoalBlock
from backend.workloads.tasks.ffe.plan import Block


def goal_of(session: Session, goal_id: int, user_id: int | None) -> Goal:
    """Raises Permanent where there is none of this user."""
    wanted = select(Goal).where(Goal.id == goal_id, Goal.user_id == user_id)
    if (goal := session.scalar(wanted)) is None:
        raise Permanent(f"goal {goal_id} is not one of user {user_id}'s")
    return goal


def blocks_of(session: Session, goal_id: int) -> list[GoalBlock]:
    """In the order of their numbers."""
    wanted = select(GoalBlock).where(GoalBlock.goal_id == goal_id).order_by(GoalBlock.block_no)
    return list(session.scalars(wanted))


def replace_plan(session: Session, goal_id: int, planned: Sequence[Block]) -> int:
    """Store a plan in place of the blocks that nobody has begun.

    A planned block with the title of one that was begun is that one. The others come after all
    that stay, so that no number changes its meaning.

    Returns:
        How many blocks were begun, and stay.

    Raises:
        Permanent: the goal is gone, or has as many blocks as it can.
    """
    goal = session.scalar(select(Goal).where(Goal.id == goal_id).with_for_update())
    if goal is None:
        raise Permanent(f"goal {goal_id} is not there any more")
    session.execute(
        delete(GoalBlock).where(
            GoalBlock.goal_id == goal_id, GoalBlock.status == BlockStatus.TODO.value
        )
    )
    begun = blocks_of(session, goal_id)
    _let_go(begun)
    rows = _rows(goal_id, planned, begun)
    if rows:
        session.execute(insert(GoalBlock), rows)
    goal.planned_at = func.now()
    session.flush()
    return len(begun)


def _let_go(begun: Sequence[GoalBlock]) -> None:
    """Of the blocks that are deleted."""
    there = {block.block_no for block in begun}
    for block in begun:
        if not there.issuperset(block.depends_on):
            block.depends_on = [number for number in block.depends_on if number in there]


def _rows(
    goal_id: int, planned: Sequence[Block], begun: Sequence[GoalBlock]
) -> list[dict[str, Any]]:
    known = {block.title.casefold(): block.block_no for block in begun}
    following = max(known.values(), default=0) + 1
    numbers: list[int] = []
    rows: list[dict[str, Any]] = []
    for block in planned:
        number = known.get(block.title.casefold(), following)
        numbers.append(number)
        if number != following:
            continue
        following += 1
        rows.append({
            "goal_id": goal_id, "block_no": number, "title": block.title,
            "description": block.description, "minutes": block.minutes,
            "depends_on": sorted({numbers[other - 1] for other in block.depends_on}),
        })  # fmt: skip
    if following - 1 > MOST_BLOCKS:
        raise Permanent(f"goal {goal_id} has all the blocks it can")
    return rows
