"""Deletes everything that this workload keeps about one user.

What a model's bytes are encrypted by goes with its row: the bytes, which nobody can read from then
on, are swept later.
"""

from typing import Any, Final, cast

from sqlalchemy import ColumnElement, CursorResult, Delete, delete, func, select, text
from sqlalchemy.orm import Session

from backend.db import table_of
from backend.identity import audit
from backend.identity.roles import Principal
from backend.queue.attempts import Attempt
from backend.workloads.tasks import subjects
from backend.workloads.tasks.belongings import belongings
from backend.workloads.tasks.data_schemas import DeletedOut
from backend.workloads.tasks.lifecycle import TASKS_QUEUE
from backend.workloads.tasks.model import Task

_PATIENT: Final = text("SET LOCAL statement_timeout = '15min'")
"""However much there is, it goes at once or not at all; the API's own limit is for questions."""


def delete_all(session: Session, user_id: int | None, by: Principal) -> DeletedOut:
    """Delete a user's data, tasks, results, models and schedules; again is no error.

    A task that runs has nothing left to write to: its worker notices, and stops it.

    Raises:
        Forbidden: ``not-your-data``.
        NotFound: ``unknown-user``.
    """
    whose = subjects.chosen(by, user_id)
    subjects.hold(session, whose, active=False)
    deleted = erase(session, whose)
    audit.record(session, by, "data.deleted", f"user:{whose}", **deleted)
    return DeletedOut(user_id=whose, deleted=deleted)


def erase(session: Session, user_id: int) -> dict[str, int]:
    """Delete the rows of a user whom the transaction holds; answers how many, by kind."""
    session.execute(_PATIENT)
    _forget_attempts(session, Task.user_id == user_id)
    return {
        own.word: _count(session, delete(own.table).where(own.condition))
        for own in belongings(user_id)
    }


def _forget_attempts(session: Session, condition: ColumnElement[bool]) -> None:
    """Lock the tasks in the order that everybody does, and delete what is told of their runs."""
    tasks = select(Task.id).where(condition)
    locked = tasks.order_by(Task.id).with_for_update().subquery()
    session.execute(select(func.count()).select_from(locked))
    about_them = (Attempt.queue == TASKS_QUEUE.name, Attempt.row_id.in_(tasks))
    _count(session, delete(table_of(Attempt)).where(*about_them))


def _count(session: Session, statement: Delete) -> int:
    return cast("CursorResult[Any]", session.execute(statement)).rowcount
