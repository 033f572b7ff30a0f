"""Tasks as their owners see them: shown, listed, cancelled, retried, forgotten."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from backend.autocommit import Autocommit
from backend.identity.roles import Role
from backend.queue import control, fleet
from backend.queue.wake import cancellation
from backend.workloads.tasks import housekeeping
from backend.workloads.tasks.lifecycle import DEFAULT, TASKS_QUEUE
from backend.workloads.tasks.model import Task
from backend.workloads.tasks.registry import task_types
from tests.callers import Caller
from tests.integration.tasks.task_house import TYPES, TaskHouse


def refused(by: Caller, method: str, path: str, status: int) -> str:
    answer = by(method, f"/api/tasks/{path}")
    assert answer.status_code == status, answer.text
    return str(answer.get_json()["code"])


def read(by: Caller, path: str) -> dict[str, Any]:
    answer = by("GET", f"/api/tasks/{path}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def test_types_are_described_by_their_schemas(task_house: TaskHouse) -> None:
    types = {kind["name"]: kind for kind in read(task_house.people("eve"), "types")["types"]}

    assert list(types) == list(task_types())
    assert {kind.name for kind in TYPES} <= set(types)
    assert types["say"]["parameters"]["properties"]["times"]["maximum"] == 9
    assert types["say"]["result"]["required"] == ["said", "of"]
    assert (types["say"]["allowed"], types["tidy"]["allowed"]) == (True, False)
    assert types["say"]["limit_seconds"] == 1800
    assert types["say_secretly"]["sealed"]


def test_others_see_nothing_of_a_task_and_admins_all(task_house: TaskHouse) -> None:
    people = task_house.people
    ada, bob, root = people("ada"), people("bob"), people("root", Role.ADMIN)
    carol = people("carol", Role.APPROVER)
    task_id = task_house.submitted(ada)

    for other in (bob, carol):
        assert refused(other, "GET", f"status/{task_id}", 404) == "not-found"
        assert refused(other, "DELETE", task_id, 404) == "not-found"
        assert refused(other, "POST", f"{task_id}/retry", 404) == "not-found"
        assert read(other, f"list?user_id={ada.id}")["total_count"] == 0
    assert read(root, f"list?user_id={ada.id}")["total_count"] >= 1
    assert task_house.task(root, task_id)["submitted_by"] == ada.id
    assert refused(ada, "GET", f"status/{uuid4()}", 404) == "not-found"
    assert refused(ada, "GET", "status/7", 400) == "invalid"
    task_house.work()


def test_tasks_are_listed_by_page_and_by_what_they_are(task_house: TaskHouse) -> None:
    house, dan, root = task_house, task_house.people("dan"), task_house.people("root", Role.ADMIN)
    failing = house.submitted(dan, parameters={"times": 0})
    house.work()
    ids = [house.submitted(dan) for _ in range(3)] + [house.submitted(dan, "say_of_all")]

    page = read(dan, "list?limit=2&offset=1")
    assert [task["task_id"] for task in page["tasks"]] == [ids[2], ids[1]]
    assert (page["total_count"], page["limit"], page["offset"]) == (5, 2, 1)
    assert read(dan, "list?offset=9") == {"tasks": [], "total_count": 5, "limit": 50, "offset": 9}
    assert [task["task_id"] for task in read(dan, "pending")["tasks"]] == ids[::-1]
    assert [task["task_id"] for task in read(dan, "failed")["tasks"]] == [failing]
    assert read(dan, "list?status=failed&task_type=say_of_all")["total_count"] == 0
    assert read(dan, "list?task_type=say_of_all")["total_count"] == 1
    assert read(root, f"pending?user_id={dan.id}")["total_count"] == 4
    assert refused(dan, "GET", "list?limit=101", 400) == "invalid"
    assert refused(dan, "GET", "list?status=gone", 400) == "invalid"
    house.work()


def test_what_waits_or_runs_is_cancelled_once(
    task_house: TaskHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, ada = task_house, task_house.people("ada")
    hints = list[str]()
    host = house.app.extensions["lockkeeper"]
    running, waiting = house.submitted(ada), house.submitted(ada)
    (lease,) = house.claim()
    monkeypatch.setitem(house.app.extensions, "lockkeeper", replace(host, ready=hints.append))

    assert lease.id == house.task(ada, running)["row_id"]
    for task_id in (running, waiting):
        assert ada("DELETE", f"/api/tasks/{task_id}").get_json()["status"] == "cancelled"
        assert house.task(ada, task_id)["status"] == "cancelled"
        assert refused(ada, "DELETE", task_id, 400) == "not-cancellable"
        assert refused(ada, "POST", f"{task_id}/retry", 400) == "not-failed"
    assert hints == [cancellation(TASKS_QUEUE.name)] * 2


def test_only_what_failed_is_retried_and_once(task_house: TaskHouse) -> None:
    house, ada = task_house, task_house.people("ada")
    task_id = house.submitted(ada, parameters={"times": 0})
    assert refused(ada, "POST", f"{task_id}/retry", 400) == "not-failed"
    house.work()
    failed = house.task(ada, task_id)
    assert (failed["status"], failed["failure"]) == ("failed", "permanent")
    assert failed["error_message"] == "there is nothing to say"

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: ada("POST", f"/api/tasks/{task_id}/retry"), range(3)))
    assert sorted(answer.status_code for answer in answers) == [202, 400, 400]
    again = house.task(ada, task_id)
    assert (again["status"], again["error_message"], again["started_at"]) == ("pending", None, None)
    house.work()
    assert house.task(ada, task_id)["status"] == "failed"
    assert house.database.rows(
        "SELECT action FROM audit_log WHERE subject = :s ORDER BY id", s=f"task:{task_id}"
    ) == [("task.submitted",), ("task.retried",)]


def test_who_was_demoted_does_not_retry_what_only_admins_may(task_house: TaskHouse) -> None:
    house, chief = task_house, task_house.people("chief", Role.ADMIN)
    mine, everybodys = house.submitted(chief, "tidy"), house.submitted(chief, "say_of_all")
    house.database.run(
        "UPDATE tasks SET status = 'failed', failure = 'permanent', failed_from = 'pending',"
        " completed_at = now() WHERE submitted_by = :id",
        id=chief.id,
    )
    house.database.run("UPDATE users SET role = 'user' WHERE id = :id", id=chief.id)

    assert refused(chief, "POST", f"{mine}/retry", 403) == "forbidden"
    assert refused(chief, "POST", f"{everybodys}/retry", 403) == "not-your-data"


def test_a_result_expires_and_is_pruned(task_house: TaskHouse) -> None:
    house, ada = task_house, task_house.people("ada")
    old, kept = house.submitted(ada), house.submitted(ada)
    house.work()
    row_id = house.task(ada, old)["row_id"]
    house.database.run(
        "UPDATE task_results SET expires_at = now() - interval '1 second' WHERE task = :id",
        id=row_id,
    )
    shown = house.task(ada, old)
    assert (shown["result"], shown["result_expired"]) == (None, True)

    assert housekeeping.prune(Autocommit(house.engine)) == 1
    assert house.task(ada, old) == shown
    assert (shown["status"], shown["progress"]) == ("completed", 100)
    assert house.task(ada, kept)["result"] is not None
    assert not house.task(ada, kept)["result_expired"]


def test_health_says_what_is_wrong(task_house: TaskHouse) -> None:
    house, ada = task_house, task_house.people("ada")
    assert read(ada, "health")["health"] == "unhealthy"
    with house.sessions.begin() as session:
        session.add(
            fleet.Worker(
                name="w", hostname="h", pid=1, version="0", queues=[TASKS_QUEUE.name], held=0
            )
        )
    house.database.run("DELETE FROM attempts")
    healthy = read(ada, "health")
    assert (healthy["health"], healthy["reasons"], healthy["workers"]) == ("healthy", [], 1)

    with house.sessions.begin() as session:
        control.pause(session, TASKS_QUEUE, by="root", partition=DEFAULT)
    house.submitted(ada)
    degraded = read(ada, "health")
    assert (degraded["health"], degraded["reasons"]) == ("degraded", ["default is paused"])
    assert degraded["queues"][DEFAULT]["waiting"] == 1
    assert degraded["queues"][DEFAULT]["paused"]
    with house.sessions.begin() as session:
        control.resume(session, TASKS_QUEUE, partition=DEFAULT)
        assert session.scalar(select(Task.id).where(Task.status == "pending")) is not None
    house.database.run("UPDATE tasks SET available_at = now() - interval '1 hour'")
    assert read(ada, "health")["reasons"] == ["a task of default has waited for 3600 s"]
    house.work()
