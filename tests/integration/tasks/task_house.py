"""Tasks for tests: the API with its people, task types of our own, and a worker by hand."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, cast

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import BaseModel, Field
from sqlalchemy import Engine
from werkzeug.test import TestResponse

from backend.db import Sessions, make_sessions
from backend.identity.roles import Role
from backend.queue import leases
from backend.queue.leases import Lease
from backend.queue.pipeline import Isolation
from backend.queue.retry import Permanent
from backend.web.assembly import assemble
from backend.workloads.tasks.lifecycle import DEFAULT, FFE_PLANNING, MAINTENANCE, TASKS_QUEUE
from backend.workloads.tasks.pipeline import pipelines
from backend.workloads.tasks.registry import Asked, Parameters, TaskType, task_types
from backend.workloads.tasks.tools import Tools
from tests.callers import Caller, make_settings
from tests.integration.packages.house import Database, People
from workers.database import Transactions
from workers.executor import Executor
from workers.held import Held
from workers.isolation import Children
from workers.metrics import Metrics

NONE: Mapping[str, str] = {}


class Words(Parameters):
    user_id: int | None = None
    word: str = Field("hello", min_length=1, max_length=20)
    times: int = Field(1, ge=0, le=9)


class NoSubject(Parameters):
    dry_run: bool = False


class Said(BaseModel):
    said: str
    of: int | None


def _say(asked: Asked, _tools: Tools) -> Said:
    if asked.parameters.get("times") == 0:
        raise Permanent("there is nothing to say")
    return Said(said=asked.parameters.get("word", "") * asked.parameters.get("times", 1),
                of=asked.user_id)  # fmt: skip


def task_type(name: str, parameters: type[Parameters] = Words, **differs: Any) -> TaskType:
    plain: dict[str, Any] = {
        "run": _say, "title": name.replace("_", " ").capitalize(), "description": "Says a word.",
        "queue": DEFAULT, "result": Said, "isolation": Isolation.THREAD,
    }  # fmt: skip
    return TaskType(name=name, parameters=parameters, **{**plain, **differs})


TYPES = (
    task_type("say"),
    task_type("say_of_all", subject="one or all"),
    task_type("say_secretly", sealed=True, queue=FFE_PLANNING),
    task_type("tidy", NoSubject, subject="none", role=Role.ADMIN, queue=MAINTENANCE),
)


@contextmanager
def registered(*kinds: TaskType) -> Iterator[None]:
    """Beside those that there are."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in kinds:
            patch.setitem(cast("dict[str, TaskType]", task_types()), kind.name, kind)
        yield


class TaskHouse:
    """The whole API over one database, and its worker; close it at the end."""

    def __init__(self, engine: Engine, children: Children | None = None, **changes: Any) -> None:
        """``changes`` are settings by their environment names; ``children`` are not closed."""
        self.engine = engine
        self._own_children = Children(1)  # costs nothing until a row needs one
        self._children = children or self._own_children
        self.settings = make_settings(**{"TASK_KEY": "k" * 40, **changes})
        self.sessions: Sessions = make_sessions(engine)
        self.database = Database(engine)
        self._transactions = Transactions(self.sessions, threading.Event())
        self._held = Held()

    @cached_property
    def app(self) -> Flask:
        return assemble(self.settings, self.engine)

    @cached_property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    @cached_property
    def people(self) -> People:
        return People(self.app, self.client, self.sessions)

    @cached_property
    def _executor(self) -> Executor:
        """One for all rows: each keeps connections out of the pool."""
        (pipeline,) = pipelines(self.settings)
        return Executor(
            pipeline, transactions=self._transactions, held=self._held,
            children=self._children, metrics=Metrics([], version="0"),
        )  # fmt: skip

    def close(self) -> None:
        self.app.extensions["lockkeeper"].ready.__self__.close()
        self._own_children.close()

    def submit(
        self,
        by: Caller,
        kind: str = "say",
        *,
        headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> TestResponse:
        return by("POST", "/api/tasks", json={"task_type": kind, **body}, headers=headers or {})

    def submitted(self, by: Caller, kind: str = "say", **body: Any) -> str:
        """The id of a new task."""
        answer = self.submit(by, kind, **body)
        assert answer.status_code == 202, answer.text
        return str(answer.get_json()["task_id"])

    def task(self, by: Caller, task_id: str) -> dict[str, Any]:
        answer = by("GET", f"/api/tasks/status/{task_id}")
        assert answer.status_code == 200, answer.text
        return cast("dict[str, Any]", answer.get_json())

    def claim(self, limit: int = 1) -> list[Lease]:
        claimed = self._transactions.once(
            lambda s: leases.claim(s, TASKS_QUEUE, worker="by-hand", limit=limit)
        )
        self._held.add(claimed)
        return claimed

    def finish(self, lease: Lease) -> None:
        if (ended := self._executor.run(lease)) is not None:
            self._transactions.once(lambda s: leases.settle(s, TASKS_QUEUE, [ended.settlement]))
            self._held.drop(lease)

    def work(self) -> None:
        """Do what is due."""
        while claimed := self.claim():
            self.finish(claimed[0])
