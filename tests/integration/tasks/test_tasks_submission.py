"""A task enters its queue once, by those who may, about data that it may be about."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from backend.identity.roles import Role
from backend.queue import control
from backend.workloads.tasks.lifecycle import TASKS_QUEUE
from tests.integration.tasks.task_house import TaskHouse


def code(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.get_json()["code"])


def test_a_task_is_queued_noted_and_done(task_house: TaskHouse) -> None:
    ada = task_house.people("ada")
    answer = task_house.submit(ada, parameters={"word": "ha", "times": 3}, priority=7)
    made = answer.get_json()

    assert answer.status_code == 202, answer.text
    assert made["status"] == "pending"
    assert not made["existing"]
    waiting = task_house.task(ada, made["task_id"])
    assert waiting["created_at"] == made["created_at"]
    assert waiting["parameters"] == {"word": "ha", "times": 3}
    assert (waiting["priority"], waiting["user_id"], waiting["submitted_by"]) == (7, ada.id, ada.id)
    assert (waiting["progress"], waiting["result"], waiting["result_expired"]) == (0, None, False)

    task_house.work()
    done = task_house.task(ada, made["task_id"])
    assert (done["status"], done["progress"]) == ("completed", 100)
    assert done["result"] == {"said": "hahaha", "of": ada.id}
    assert done["duration_seconds"] >= 0
    assert task_house.database.rows(
        "SELECT actor_id, action, detail FROM audit_log WHERE subject = :s",
        s=f"task:{made['task_id']}",
    ) == [
        (ada.id, "task.submitted", {"task_type": "say", "user_id": ada.id, "priority": 7})
    ]  # fmt: skip


def test_every_wrong_parameter_is_named_and_nothing_is_stored(task_house: TaskHouse) -> None:
    ada = task_house.people("ada")
    before = task_house.database.one("SELECT max(id) FROM tasks")
    wrong = {"word": "", "times": "3", "colour": "red"}
    answer = task_house.submit(ada, parameters=wrong)

    assert code(answer, 400) == "invalid-parameters"
    assert {one["place"] for one in answer.get_json()["errors"]} == {
        "parameters.word", "parameters.times", "parameters.colour",
    }  # fmt: skip
    many = task_house.submit(ada, parameters=dict.fromkeys(map(str, range(5000)), 1))
    assert code(many, 400) == "invalid-parameters"
    assert len(many.get_json()["errors"]) == 100
    assert code(task_house.submit(ada, "no_such"), 400) == "unknown-task-type"
    assert code(task_house.submit(ada, priority=11), 400) == "invalid"
    assert task_house.database.one("SELECT max(id) FROM tasks") == before


def test_whose_data_a_task_is_about(task_house: TaskHouse) -> None:
    house = task_house
    ada, bob, root = house.people("ada"), house.people("bob"), house.people("root", Role.ADMIN)

    def subject(by: Any, kind: str, **body: Any) -> int | None:
        task = house.task(root, house.submitted(by, kind, **body))
        assert "user_id" not in task["parameters"]
        found: int | None = task["user_id"]
        return found

    inside: dict[str, Any] = {"parameters": {"user_id": bob.id}}
    assert subject(ada, "say", user_id=ada.id, parameters={"user_id": ada.id}) == ada.id
    assert subject(ada, "say", parameters={"user_id": None}) == ada.id
    assert subject(ada, "say_of_all") == ada.id
    assert subject(root, "say") == root.id
    assert subject(root, "say_of_all") is None
    assert subject(root, "say_of_all", user_id=root.id) == root.id
    assert subject(root, "say", **inside) == bob.id
    assert subject(root, "tidy") is None

    assert code(house.submit(ada, user_id=bob.id), 403) == "not-your-data"
    assert code(house.submit(ada, "say_of_all", **inside), 403) == "not-your-data"
    assert code(house.submit(root, user_id=ada.id, **inside), 400) == "user-mismatch"
    assert code(house.submit(root, user_id=10**9), 404) == "unknown-user"
    assert code(house.submit(root, "tidy", user_id=ada.id), 400) == "invalid-parameters"
    assert code(house.submit(root, "tidy", **inside), 400) == "invalid-parameters"
    assert code(house.submit(ada, "tidy"), 403) == "forbidden"


def test_sealed_parameters_are_readable_to_nobody_but_the_worker(task_house: TaskHouse) -> None:
    house, ada = task_house, task_house.people("ada")
    key = {"Idempotency-Key": "sealed 1"}
    answer = house.submit(
        ada, "say_secretly", parameters={"word": "xyzzy"}, unique=True, headers=key
    )
    task_id = answer.get_json()["task_id"]

    assert house.task(ada, task_id)["parameters"] is None
    stored = [text for place, text in house.database.texts() if "xyzzy" in text]
    assert stored == []
    house.work()
    assert house.task(ada, task_id)["result"]["said"] == "xyzzy"


def test_the_same_key_is_the_same_task(task_house: TaskHouse) -> None:
    house, ada, bob = task_house, task_house.people("ada"), task_house.people("bob")
    key = {"Idempotency-Key": "order 66"}

    def ask(by: Any = ada, **body: Any) -> Any:
        return house.submit(by, parameters={"word": "x"}, headers=key, **body)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(), range(4)))
    ids = {answer.get_json()["task_id"] for answer in answers}
    assert len(ids) == 1
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 202]
    house.work()
    again = ask()
    assert (again.status_code, again.get_json()["status"]) == (200, "completed")
    assert again.get_json()["existing"]
    assert code(ask(priority=6), 409) == "idempotency-key-reused"
    assert ask(bob).status_code == 202, "another's key is another key"
    for wrong in ("", "x" * 256, "a\0b", "\u00e9"):
        answer = house.submit(ada, headers={"Idempotency-Key": wrong})
        assert code(answer, 400) == "idempotency-key"


def test_a_unique_task_waits_once(task_house: TaskHouse) -> None:
    house, ada, bob = task_house, task_house.people("ada"), task_house.people("bob")

    def ask(by: Any = ada, **parameters: Any) -> Any:
        return house.submit(by, "say_of_all", parameters=parameters, unique=True)

    first = ask().get_json()["task_id"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(times=1), range(4)))
    assert {(a.status_code, a.get_json()["task_id"]) for a in answers} == {(200, first)}
    assert ask(times=2).status_code == 202, "another one"
    assert ask(bob).status_code == 202, "another's"

    while (lease := house.claim()[0]).id != house.task(ada, first)["row_id"]:
        house.finish(lease)
    second = ask()
    assert second.status_code == 202, "the first does not wait any more"
    house.finish(lease)
    with house.sessions.begin() as session:
        control.reopen(session, TASKS_QUEUE, [lease.id])
    assert ask().get_json()["task_id"] == second.get_json()["task_id"]
    house.work()


def test_a_task_for_a_later_time_waits_for_it(task_house: TaskHouse) -> None:
    house, ada = task_house, task_house.people("ada")
    now = datetime.now(UTC)
    later = (now + timedelta(days=1)).isoformat()
    by_moment = house.submitted(ada, run_at=later)
    by_delay = house.submitted(ada, delay_seconds=3600)
    house.work()

    for task_id in (by_moment, by_delay):
        task = house.task(ada, task_id)
        assert task["status"] == "pending"
        assert datetime.fromisoformat(task["next_attempt_at"]) > now
    for moment in (now - timedelta(seconds=1), now + timedelta(days=367)):
        assert code(house.submit(ada, run_at=moment.isoformat()), 400) == "run-at"
    assert code(house.submit(ada, run_at="2026-01-01T00:00:00"), 400) == "invalid"
    assert code(house.submit(ada, run_at=later, delay_seconds=1), 400) == "invalid"


def test_a_key_finds_its_task_after_the_time_that_was_asked_for(task_house: TaskHouse) -> None:
    house, ada = task_house, task_house.people("ada")
    body: dict[str, Any] = {"run_at": (datetime.now(UTC) + timedelta(seconds=0.2)).isoformat()}
    key = {"Idempotency-Key": "soon"}
    assert house.submit(ada, headers=key, **body).status_code == 202
    house.database.run("SELECT pg_sleep_until(CAST(:at AS timestamptz))", at=body["run_at"])

    assert house.submit(ada, headers=key, **body).status_code == 200


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("ari/aggregate-snapshots", "aggregate_ari_snapshots"),
        ("ffe/plan-goal", "plan_ffe_goal"),
        ("edm/batch-analysis", "edm_batch_analysis"),
    ],
)
def test_the_named_ways_in_submit_their_type(task_house: TaskHouse, path: str, kind: str) -> None:
    ada = task_house.people("ada")
    answer = ada("POST", f"/api/tasks/{path}", json={"parameters": {"no such": 1}})

    assert code(answer, 400) == "invalid-parameters"
    assert kind in answer.get_json()["detail"]
    other = ada("POST", f"/api/tasks/{path}", json={"task_type": "say"})
    assert code(other, 400) == "wrong-task-type"


def test_a_submission_takes_few_round_trips(task_house: TaskHouse) -> None:
    house, ada = task_house, task_house.people("ada")
    house.submitted(ada)
    sent = list[str]()

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(house.engine, "before_cursor_execute", count)
    try:
        house.submitted(ada)
    finally:
        event.remove(house.engine, "before_cursor_execute", count)

    assert [words.split()[2] for words in sent if words.startswith("INSERT")] == [
        "tasks", "task_inputs", "audit_log",
    ]  # fmt: skip
    assert len(sent) <= 4, sent


def test_without_a_key_nothing_is_sealed_and_a_users_rate_counts_what_is_refused(
    task_house: TaskHouse,
) -> None:
    keyless = TaskHouse(task_house.engine, TASK_KEY=None, TASK_RATE_PER_MINUTE=3)
    zoe = replace(task_house.people("zoe"), client=keyless.client)
    before = task_house.database.one("SELECT count(*) FROM tasks")

    assert code(keyless.submit(zoe, "say_secretly"), 503) == "task-key-missing"
    key = {"Idempotency-Key": "k"}
    assert code(keyless.submit(zoe, "say_secretly", headers=key), 503) == "task-key-missing"
    assert task_house.database.one("SELECT count(*) FROM tasks") == before
    assert keyless.submit(zoe).status_code == 202
    assert code(keyless.submit(zoe), 429) == "too-many-requests"
    keyless.close()
    task_house.work()
