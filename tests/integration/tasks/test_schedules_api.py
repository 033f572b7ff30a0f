"""Schedules as their owners make them, see them and act on them."""

from typing import Any

import pytest
from sqlalchemy import select

from backend.identity.roles import Role
from backend.workloads.tasks.asking import Ask, understood
from backend.workloads.tasks.schedules import firing, service
from backend.workloads.tasks.schedules.cron import Cron
from backend.workloads.tasks.schedules.model import Schedule
from backend.workloads.tasks.schedules.submitting import ACTOR
from tests.callers import Caller
from tests.integration.tasks.schedule_clock import Clock
from tests.integration.tasks.task_house import TaskHouse

GOOD = {"task_type": "say", "cron": "30 2 * * *", "timezone": "Europe/Berlin"}


def ask(by: Caller, method: str, path: str = "", status: int = 200, **body: Any) -> dict[str, Any]:
    answer = by(method, f"/api/schedules{path}", **({"json": body} if body else {}))
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.get_json(silent=True) or {}
    return found


def refused(by: Caller, method: str, path: str = "", status: int = 400, **body: Any) -> str:
    return str(ask(by, method, path, status, **body)["code"])


def made(by: Caller, name: str, **differs: Any) -> dict[str, Any]:
    return ask(by, "POST", status=201, **{"name": name, **GOOD, **differs})


def test_a_schedule_from_its_making_to_its_removal(task_house: TaskHouse) -> None:
    ann = task_house.people("ann")
    schedule = made(ann, "nightly", parameters={"word": "hey"}, cron=" 30  2 * * *", priority=7)
    path = f"/{schedule['id']}"
    assert schedule | {"created_by": ann.id, "user_id": ann.id, "cron": "30 2 * * *"} == schedule
    assert schedule | {"catch_up": "one", "unique_pending": True, "paused": False} == schedule
    detail = ask(ann, "GET", path)
    assert detail["upcoming"][0] == schedule["next_fire_at"]
    assert len(detail["upcoming"]) == 5
    assert (detail["parameters"], detail["outcomes"]) == ({"word": "hey"}, {})

    changed = ask(ann, "PATCH", path, cron="0 12 * * *", timezone="UTC", parameters={"times": 2})
    assert "T12:00:00" in changed["next_fire_at"]
    assert (changed["parameters"], changed["priority"]) == ({"times": 2}, 7)
    paused = ask(ann, "POST", f"{path}/pause")
    assert (paused["paused"], paused["next_fire_at"]) == (True, None)
    assert ask(ann, "POST", f"{path}/pause") == paused
    assert ask(ann, "PATCH", path, cron="0 13 * * *")["paused"] is True
    assert ask(ann, "GET", path)["upcoming"] == []
    resumed = ask(ann, "POST", f"{path}/resume")
    assert "T13:00:00" in resumed["next_fire_at"]
    assert ask(ann, "POST", f"{path}/resume") == resumed
    assert [it["name"] for it in ask(ann, "GET")["schedules"]] == ["nightly"]

    ask(ann, "DELETE", path, 204)
    assert refused(ann, "GET", path, 404) == "not-found"
    deeds = task_house.database.rows(
        "SELECT action FROM audit_log WHERE subject = :it ORDER BY id", it=f"schedule:{path[1:]}"
    )
    assert [deed for (deed,) in deeds] == [
        "schedule.created", "schedule.changed", "schedule.paused", "schedule.changed",
        "schedule.resumed", "schedule.removed",
    ]  # fmt: skip


def test_run_now_submits_its_task_and_leaves_its_times(task_house: TaskHouse) -> None:
    amy, root = task_house.people("amy"), task_house.people("root", Role.ADMIN)
    schedule = made(amy, "nightly", paused=True, parameters={"word": "now"}, priority=9)
    path = f"/{schedule['id']}"
    task = ask(amy, "POST", f"{path}/run", 202)
    assert ask(root, "POST", f"{path}/run", 202)["task_id"] == task["task_id"]  # it waits still
    shown = task_house.task(amy, task["task_id"])
    assert (shown["submitted_by"], shown["priority"]) == (amy.id, 9)
    assert shown["parameters"]["word"] == "now"
    assert ask(amy, "GET", path)["outcomes"] == {}
    task_house.work()
    assert task_house.task(amy, task["task_id"])["result"]["said"] == "now"


def test_what_came_of_its_times(task_house: TaskHouse) -> None:
    """By pages, the latest first."""
    clock = Clock(task_house, "2031-05-05T12:00Z")
    lea = task_house.people("lea")
    schedule = clock.schedule("0 * * * *", created_by=lea.id)
    clock.fire(schedule, "2031-05-05T15:00Z")
    clock.fire(schedule, "2031-05-05T16:00Z")
    path = f"/{schedule}/fires"
    page = ask(lea, "GET", f"{path}?limit=2")
    assert [it["outcome"] for it in page["fires"]] == ["submitted", "submitted"]
    assert page["fires"][0]["task_status"] == "pending"
    assert task_house.task(lea, page["fires"][0]["task_id"])["task_type"] == "say"
    rest = ask(lea, "GET", f"{path}?limit=2&before={page['next']}")
    assert ([it["outcome"] for it in rest["fires"]], rest["next"]) == (["skipped"] * 2, None)
    assert ask(lea, "GET", f"/{schedule}")["outcomes"] == {"skipped": 2, "submitted": 2}
    task_house.database.run("DELETE FROM schedules WHERE id = :id", id=schedule)


def test_what_the_product_does_for_itself(task_house: TaskHouse) -> None:
    """The schedules that a new database has: due when they say, and nobody's."""
    root, settings = task_house.people("root", Role.ADMIN), task_house.settings
    with task_house.sessions.begin() as session:
        nobodys = select(Schedule).where(Schedule.created_by.is_(None)).order_by(Schedule.name)
        archive, *own = session.scalars(nobodys).all()
        for it in (archive, *own):
            ask_for = Ask(task_type=it.task_type, parameters=it.parameters or {})
            understood(session, ACTOR, ask_for)
    # The first needs a folder that an operator is to name.
    assert (archive.name, archive.next_fire_at) == ("archive-audit-logs", None)
    assert [it.name for it in own] == ["cleanup-cache", "maintain-database"]
    for it in own:
        assert it.next_fire_at in Cron(it.cron, it.timezone).upcoming(it.created_at, 2)
        with task_house.sessions.begin() as session:
            assert firing.fire(session, settings, it.id, now=it.next_fire_at).submitted == 1
        (fire,) = ask(root, "GET", f"/{it.id}/fires")["fires"]
        task = task_house.task(root, fire["task_id"])
        assert (task["task_type"], task["submitted_by"]) == (it.task_type, None)
        noted = "SELECT actor_id, actor FROM audit_log WHERE subject = :task"
        assert task_house.database.rows(noted, task=f"task:{fire['task_id']}") == [(None, ACTOR)]
    task_house.database.run("DELETE FROM tasks WHERE submitted_by IS NULL")


def test_who_sees_and_who_acts(task_house: TaskHouse) -> None:
    people = task_house.people
    kim, bob, root = people("kim"), people("bob"), people("root", Role.ADMIN)
    carol = people("carol", Role.APPROVER)
    schedule = made(kim, "mine", parameters={"word": "private"})
    path = f"/{schedule['id']}"
    assert refused(bob, "GET", path, 404) == refused(bob, "GET", f"{path}/fires", 404)
    assert bob("GET", "/api/schedules?name=mine").get_json() == {"schedules": [], "next": None}
    for by in (bob, carol):
        assert refused(by, "PATCH", path, 404, priority=1) == "not-found"
        assert refused(by, "DELETE", path, 404) == "not-found"
        for deed in ("pause", "resume", "run"):
            assert refused(by, "POST", f"{path}/{deed}", 404) == "not-found"
    assert ask(carol, "GET", path)["parameters"] is None
    assert ask(root, "GET", path)["parameters"] == {"word": "private"}
    assert ask(root, "POST", f"{path}/pause")["paused"] is True

    # Of the same name, but another's; the pages go on.
    made(bob, "mine")
    names = ask(root, "GET", "?name=mine&limit=1")
    assert names["schedules"][0]["created_by"] == bob.id
    rest = ask(root, "GET", f"?name=mine&before={names['next']}")
    assert [it["created_by"] for it in rest["schedules"]] == [kim.id]


@pytest.mark.parametrize(
    ("wrong", "status", "code"),
    [
        ({"cron": "61 * * * *"}, 400, "invalid-cron"),
        ({"cron": "* * * * * *"}, 400, "invalid-cron"),
        ({"timezone": "Mars/Olympus"}, 400, "unknown-timezone"),
        ({"task_type": "sung"}, 400, "unknown-task-type"),
        ({"parameters": {"word": ""}}, 400, "invalid-parameters"),
        ({"task_type": "tidy"}, 403, "forbidden"),
        ({"user_id": 1}, 403, "not-your-data"),
        ({"name": "7"}, 400, "invalid"),
        ({"name": "a" * 65}, 400, "invalid"),
        ({"catch_up": "some"}, 400, "invalid"),
        ({"priority": 11}, 400, "invalid"),
    ],
)
def test_what_cannot_be_is_refused(
    task_house: TaskHouse, wrong: dict[str, Any], status: int, code: str
) -> None:
    task_house.people("root", Role.ADMIN)
    zoe = task_house.people("zoe")
    assert refused(zoe, "POST", "", status, **{"name": "x", **GOOD, **wrong}) == code
    assert ask(zoe, "GET")["schedules"] == []


def test_a_change_is_held_to_the_same_rules(task_house: TaskHouse) -> None:
    eli = task_house.people("eli")
    path = f"/{made(eli, 'mine')['id']}"
    before = ask(eli, "GET", path)
    assert refused(eli, "PATCH", path, cron="a b c d e") == "invalid-cron"
    assert refused(eli, "PATCH", path, timezone="localtime") == "unknown-timezone"
    assert refused(eli, "PATCH", path, priority=3, parameters={"times": -1}) == "invalid-parameters"
    assert refused(eli, "PATCH", path, name="other") == "invalid"
    assert ask(eli, "GET", path) == before


def test_a_name_is_taken_once_and_there_is_room_for_so_many(
    task_house: TaskHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    sue = task_house.people("sue")
    made(sue, "mine")
    assert refused(sue, "POST", "", 409, name="mine", **GOOD) == "name-taken"
    monkeypatch.setattr(service, "MOST", 2)
    made(sue, "second")
    assert refused(sue, "POST", "", 409, name="third", **GOOD) == "too-many-schedules"


def test_sealed_parameters_are_stored_so_and_not_shown(task_house: TaskHouse) -> None:
    uma = task_house.people("uma")
    secret = "nobody may read this"
    schedule = made(uma, "hush", task_type="say_secretly", parameters={"word": secret})
    assert schedule["parameters"] is None
    stored = "SELECT parameters, encode(sealed, 'escape') FROM schedules WHERE id = :id"
    ((plain, sealed),) = task_house.database.rows(stored, id=schedule["id"])
    assert plain is None
    assert secret not in sealed
    task = ask(uma, "POST", f"/{schedule['id']}/run", 202)
    task_house.work()
    assert task_house.task(uma, task["task_id"])["result"]["said"] == secret
