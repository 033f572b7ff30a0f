"""Tasks for tests: rows as a submission leaves them, and a worker by hand with real children."""

import threading
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, insert, select

from backend.db import Sessions
from backend.identity.model import User
from backend.identity.roles import Role
from backend.queue import leases
from backend.queue.leases import Lease
from backend.workloads.tasks.lifecycle import TASKS_QUEUE
from backend.workloads.tasks.model import Task, TaskInput, TaskResult
from backend.workloads.tasks.pipeline import pipelines
from backend.workloads.tasks.registry import task_types
from backend.workloads.tasks.sealing import seal
from tests.callers import make_settings
from tests.integration.packages.house import Database
from workers.database import Transactions
from workers.executor import Executor
from workers.held import Held
from workers.isolation import Children
from workers.metrics import Metrics

TASK_KEY = "a key for the tests' parameters, long enough"


class Workbench:
    """A user, the database, and a worker that performs one task after the other."""

    def __init__(
        self, sessions: Sessions, engine: Engine, children: Children, **changes: Any
    ) -> None:
        """``changes`` are settings by their environment names."""
        self.sessions = sessions
        self.database = Database(engine)
        url = engine.url.render_as_string(hide_password=False)
        self.settings = make_settings(TASK_KEY=TASK_KEY, DATABASE_URL=url, **changes)
        (self.pipeline,) = pipelines(self.settings)
        self._held = Held()
        self._transactions = Transactions(sessions, threading.Event())
        self._executor = Executor(
            self.pipeline, transactions=self._transactions, held=self._held,
            children=children, metrics=Metrics([], version="0"),
        )  # fmt: skip
        self.user_id = self.add_user("ada")

    def add_user(self, name: str, role: Role = Role.USER) -> int:
        values = {"username": name, "password_hash": "x", "role": role}
        with self.sessions.begin() as session:
            return session.scalars(insert(User).values(values).returning(User.id)).one()

    def submit(
        self,
        task_type: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        user_id: int | None = None,
        submitted_by: int | None = None,
    ) -> int:
        """A task that waits, of ``user_id``'s data: None for everybody's or nobody's."""
        kind, by = task_types()[task_type], submitted_by or self.user_id
        given = kind.parameters.model_validate(parameters or {}).model_dump(mode="json")
        given.pop("user_id", None)
        told = {"sealed": seal(self.settings, given)} if kind.sealed else {"parameters": given}
        row = {
            "status": "pending", "queue": kind.queue, "task_type": task_type, "user_id": user_id,
            "submitted_by": by, "fairness_key": str(by), "max_attempts": kind.max_attempts,
        }  # fmt: skip
        with self.sessions.begin() as session:
            row_id = session.scalars(insert(Task).values(row).returning(Task.id)).one()
            session.execute(insert(TaskInput).values(task=row_id, **told))
            return row_id

    def claim(self) -> Lease:
        claimed = self._transactions.once(
            lambda s: leases.claim(s, TASKS_QUEUE, worker="by-hand", limit=1)
        )
        self._held.add(claimed)
        (lease,) = claimed
        return lease

    def work(self) -> None:
        """Perform the task that is due, once."""
        lease = self.claim()
        ended = self._executor.run(lease)
        if ended is not None:
            self._transactions.once(lambda s: leases.settle(s, TASKS_QUEUE, [ended.settlement]))
            self._held.drop(lease)

    def performed(
        self, task_type: str, parameters: Mapping[str, Any] | None = None, **whose: int | None
    ) -> dict[str, Any]:
        """The result of a task that completes at its first attempt."""
        row_id = self.submit(task_type, parameters, **whose)
        self.work()
        task = self.task(row_id)
        assert (task.status, task.error) == ("completed", None)
        return self.result(row_id)

    def task(self, row_id: int) -> Task:
        with self.sessions.begin() as session:
            return session.scalars(select(Task).where(Task.id == row_id)).one()

    def result(self, row_id: int) -> dict[str, Any]:
        with self.sessions.begin() as session:
            stored = select(TaskResult).where(TaskResult.task == row_id)
            return session.scalars(stored).one().result
