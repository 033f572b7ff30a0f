"""What this workload keeps about one user, by table: what is given out, and what is deleted.

Reviewed claims are nobody's own; tasks about everybody's data belong to no user either, nor do
schedules of them and what came of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, LargeBinary, Table, and_, or_, select

from backend.db import table_of
from backend.workloads.tasks.data_model import AriSnapshot, Debt, Goal, GoalBlock, Interaction
from backend.workloads.tasks.model import Task
from backend.workloads.tasks.models.model import TextModel, TrainingSample
from backend.workloads.tasks.registry import task_types
from backend.workloads.tasks.schedules.model import Schedule

_UNTOLD = frozenset({"blob_key", "lease_token", "leased_by"})
"""Columns that say nothing about the user, as no bytes do."""


@dataclass(frozen=True, slots=True)
class Belonging:
    """The rows of one table that are a user's; ``word`` is what one of them is called."""

    word: str
    table: Table
    condition: ColumnElement[bool]

    @property
    def told(self) -> Sequence[ColumnElement[object]]:
        """What the user is told of a row, its primary key first."""
        others = (column for column in self.table.columns if not column.primary_key)
        readable = (column for column in others if not isinstance(column.type, LargeBinary))
        return [
            *self.table.primary_key.columns,
            *(column for column in readable if column.name not in _UNTOLD),
        ]


def belongings(user_id: int) -> list[Belonging]:
    """All of it; a table stands before those that its rows refer to."""
    goals = select(Goal.id).where(Goal.user_id == user_id)
    return [
        Belonging("debt", table_of(Debt), Debt.user_id == user_id),
        Belonging("interaction", table_of(Interaction), Interaction.user_id == user_id),
        Belonging("goal_block", table_of(GoalBlock), GoalBlock.goal_id.in_(goals)),
        Belonging("goal", table_of(Goal), Goal.user_id == user_id),
        Belonging("ari_snapshot", table_of(AriSnapshot), AriSnapshot.user_id == user_id),
        Belonging("training_sample", table_of(TrainingSample), TrainingSample.user_id == user_id),
        Belonging("model", table_of(TextModel), TextModel.user_id == user_id),
        Belonging("schedule", table_of(Schedule), _own_schedules(user_id)),
        Belonging("task", table_of(Task), Task.user_id == user_id),
    ]


def _own_schedules(user_id: int) -> ColumnElement[bool]:
    """Those about the user's data; one that names nobody is about whose it is."""
    nobodys = [kind.name for kind in task_types().values() if kind.subject == "none"]
    unnamed = and_(
        Schedule.user_id.is_(None),
        Schedule.created_by == user_id,
        Schedule.task_type.not_in(nobodys),
    )
    return or_(Schedule.user_id == user_id, unnamed)
