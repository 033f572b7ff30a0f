"""Tasks beside a worker that really runs: a fair turn for each user, and an end when told."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from backend.db import make_engine
from backend.queue.entry import enqueue_many
from backend.queue.reporting import report
from backend.queue.retry import LeaseLost
from backend.workloads.tasks.lifecycle import DEFAULT, TASKS_QUEUE
from backend.workloads.tasks.pipeline import pipelines
from backend.workloads.tasks.registry import Asked
from backend.workloads.tasks.tools import Tools
from tests.callers import Caller
from tests.integration.packages.house import wait_until
from tests.integration.tasks.task_house import Said, TaskHouse, registered, task_type
from workers.assignment import Assignment, Policy
from workers.daemon import Daemon

BACKLOG = 10_000
BATCH = 8
"""What a worker with its default threads takes at once."""
SOON = 3.0  # seconds; for one of them at most it does not ask whether there is somebody new


@contextmanager
def worker(house: TaskHouse) -> Iterator[None]:
    (pipeline,) = pipelines(house.settings)
    url = house.engine.url.render_as_string(hide_password=False)
    listening = make_engine(url, pool_size=1)
    policy = Policy(concurrency=BATCH, interval=timedelta(seconds=1), grace=timedelta(seconds=5))
    running = Daemon(house.engine, listening, [Assignment(pipeline)], policy)
    running.start()
    try:
        yield
    finally:
        assert running.drain() == 0
        listening.dispose()


def is_now(house: TaskHouse, by: Caller, task_id: str, status: str) -> bool:
    return bool(house.task(by, task_id)["status"] == status)


@pytest.mark.slow
def test_beside_ten_thousand_of_one_persons_anothers_starts_within_two_batches(
    task_house: TaskHouse,
) -> None:
    house = task_house
    ada, bob, eve = house.people("ada"), house.people("bob"), house.people("eve")
    _backlog(house, ada)
    single = house.submitted(bob)
    with worker(house):
        wait_until(lambda: is_now(house, bob, single, "completed"), seconds=20, what="bob's is")
        began = time.monotonic()
        late = house.submitted(eve)
        wait_until(lambda: is_now(house, eve, late, "completed"), seconds=20, what="eve's is")
        waited = time.monotonic() - began
    before = house.database.one(
        "SELECT count(*) FROM tasks WHERE started_at <="
        " (SELECT started_at FROM tasks WHERE submitted_by = :bob)",
        bob=bob.id,
    )
    left = house.database.one("SELECT count(*) FROM tasks WHERE status = 'pending'")

    assert before <= 2 * BATCH
    assert waited < SOON
    assert left > BACKLOG / 2, "there was a backlog all the while"
    house.database.run("DELETE FROM tasks WHERE submitted_by = :ada", ada=ada.id)


def _backlog(house: TaskHouse, of: Caller) -> None:
    with house.sessions.begin() as session:
        ids = enqueue_many(
            session,
            TASKS_QUEUE,
            {
                "task_type": ["say"] * BACKLOG, "partition": DEFAULT, "submitted_by": of.id,
                "user_id": of.id, "fairness_key": str(of.id), "priority": 5,
            },
        )  # fmt: skip
        assert len(ids) == BACKLOG
    house.database.run(
        "INSERT INTO task_inputs (task, parameters) SELECT id, '{}' FROM tasks"
        " WHERE id NOT IN (SELECT task FROM task_inputs)"
    )
    house.database.run("ANALYZE tasks")


def test_a_running_task_says_how_far_it_is_and_ends_when_it_is_cancelled(
    task_house: TaskHouse,
) -> None:
    house, ada = task_house, task_house.people("ada")
    told = threading.Event()

    def linger(_asked: Asked, _tools: Tools) -> Said:
        try:
            while True:
                report(40, "waiting for the end")
                told.wait(0.02)
        except LeaseLost:
            told.set()
            raise

    with registered(task_type("linger", run=linger)), worker(house):
        task_id = house.submitted(ada, "linger")
        wait_until(lambda: house.task(ada, task_id)["progress"] == 40, seconds=10, what="progress")
        assert house.task(ada, task_id)["progress_message"] == "waiting for the end"
        began = time.monotonic()
        assert ada("DELETE", f"/api/tasks/{task_id}").status_code == 200
        assert told.wait(10), "it never heard of it"
        heard = time.monotonic() - began

    assert heard < 2
    assert house.task(ada, task_id)["status"] == "cancelled"
    assert house.task(ada, task_id)["result"] is None
