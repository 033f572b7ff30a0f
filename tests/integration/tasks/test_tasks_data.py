"""The data that tasks work on, over HTTP: kept apart by owner, imported whole or not at all."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any, NamedTuple

import click
import pytest
from click.testing import CliRunner
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError
from werkzeug.serving import make_server

from backend.cli import cli
from backend.db import make_sessions
from backend.identity.roles import Role
from backend.workloads.tasks import data_erasure
from backend.workloads.tasks.data_model import Debt, GoalBlock
from backend.workloads.tasks.models.model import TextModel, TrainingSample
from backend.workloads.tasks.schedules.model import Schedule
from tests.callers import Caller
from tests.integration.tasks.task_house import TaskHouse

AT = "2026-03-01T10:00:00+02:00"
NDJSON = {"content_type": "application/x-ndjson"}


def ask(by: Caller, method: str, path: str, status: int = 200, **content: Any) -> Any:
    answer = by(method, f"/api/data{path and '/'}{path}", **content)
    assert answer.status_code == status, answer.text
    return answer.get_json() if answer.data else None


def refused(by: Caller, method: str, path: str, status: int, **content: Any) -> str:
    return str(ask(by, method, path, status, **content)["code"])


def sent(
    by: Caller, kind: str, *lines: dict[str, Any] | str, status: int = 200, of: int | None = None
) -> Any:
    body = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines)
    query = {} if of is None else {"user_id": of}
    return ask(
        by, "POST", f"{kind}/import", status, data=body.encode(), query_string=query, **NDJSON
    )


def said(text: str = "All swans are white.", **more: Any) -> dict[str, Any]:
    return {"occurred_at": AT, "text": text, **more}


def snapshot(metric: str = "focus", value: float = 0.5, at: str = AT) -> dict[str, Any]:
    return {"metric": metric, "value": value, "taken_at": at}


def test_a_row_is_its_owners_and_the_admins(task_house: TaskHouse) -> None:
    people = task_house.people
    ann, bob, root = people("ann"), people("bob"), people.admin

    kept = ask(ann, "POST", "ari-snapshots", 201, json=snapshot())
    assert kept["taken_at"] == "2026-03-01T08:00:00Z"
    assert kept["user_id"] == ann.id
    assert refused(ann, "POST", "ari-snapshots", 409, json=snapshot()) == "duplicate"
    for_ann = snapshot("calm") | {"user_id": ann.id}
    assert refused(bob, "POST", "ari-snapshots", 403, json=for_ann) == "not-your-data"
    ask(root, "POST", "ari-snapshots", 201, json=for_ann)
    nobodys = snapshot() | {"user_id": 10**9}
    assert refused(root, "POST", "ari-snapshots", 404, json=nobodys) == "unknown-user"

    assert refused(bob, "DELETE", f"ari-snapshots/{kept['id']}", 404) == "not-found"
    assert refused(bob, "GET", f"ari-snapshots?user_id={ann.id}", 403) == "not-your-data"
    assert ask(bob, "GET", "ari-snapshots")["snapshots"] == []
    of_ann = ask(root, "GET", f"ari-snapshots?user_id={ann.id}")["snapshots"]
    assert [one["metric"] for one in of_ann] == ["calm", "focus"]
    ask(root, "DELETE", f"ari-snapshots/{kept['id']}", 204)
    assert [one["metric"] for one in ask(ann, "GET", "ari-snapshots")["snapshots"]] == ["calm"]


def test_lists_go_page_by_page_through_a_window(task_house: TaskHouse) -> None:
    pat = task_house.people("pat")
    days = [f"2026-04-{day:02}T00:00:00Z" for day in range(1, 8)]
    assert sent(pat, "ari-snapshots", *(snapshot(at=day) for day in days))["accepted"] == 7

    query = "ari-snapshots?limit=2&since=2026-04-02T00:00:00Z&until=2026-04-07T00:00:00Z"
    seen, following = [], ""
    while True:
        page = ask(pat, "GET", f"{query}{following}")
        seen += [one["taken_at"] for one in page["snapshots"]]
        if page["next"] is None:
            break
        following = f"&before={page['next']}"

    assert seen == days[5:0:-1]


def test_an_import_counts_what_is_there_already(task_house: TaskHouse) -> None:
    zoe, root = task_house.people("zoe"), task_house.people.admin
    lines = [said(external_id="a"), said("Another.", external_id="b", citations=["a book"])]

    assert sent(zoe, "interactions", *lines, "", said()) == {"accepted": 2, "duplicates": 1}
    assert sent(zoe, "interactions", *lines) == {"accepted": 0, "duplicates": 2}
    assert sent(root, "interactions", *lines, of=zoe.id) == {"accepted": 0, "duplicates": 2}
    assert sent(root, "interactions", *lines)["accepted"] == 2
    assert sent(zoe, "goals", {"title": "x"}, {"title": "x"})["accepted"] == 2
    with_name = {"title": "y", "external_id": "y", "target_date": "2026-12-31"}
    assert sent(zoe, "goals", with_name, with_name) == {"accepted": 1, "duplicates": 1}
    assert sent(zoe, "interactions", "", "") == {"accepted": 0, "duplicates": 0}
    (found,) = [one for one in ask(zoe, "GET", "interactions")["interactions"] if one["citations"]]
    assert (found["text"], found["citations"]) == ("Another.", ["a book"])


def test_an_import_with_broken_lines_names_them_and_stores_nothing(
    task_house: TaskHouse,
) -> None:
    kim = task_house.people("kim")
    broken = sent(
        kim, "ari-snapshots",
        snapshot(), snapshot(value=float("inf")), '{"metric": "a", "metric": "b"}',
        snapshot(at="1700000000"), snapshot() | {"user_id": 1}, "[1]", '{"metric": "\\u0000"}',
        status=400,
    )  # fmt: skip

    assert broken["code"] == "invalid-lines"
    assert [(one["line"], one["field"]) for one in broken["errors"]] == [
        (2, None), (3, None), (4, "taken_at"), (5, "user_id"), (6, None), (7, None),
    ]  # fmt: skip
    assert ask(kim, "GET", "ari-snapshots")["snapshots"] == []
    many = sent(kim, "ari-snapshots", *(["nonsense"] * 30), status=400)
    assert len(many["errors"]) == 20


def test_an_import_says_how_long_it_is_and_keeps_to_it(task_house: TaskHouse) -> None:
    ivy = task_house.people("ivy")
    path, line = "ari-snapshots/import", json.dumps(snapshot()).encode() + b"\n"

    assert refused(ivy, "POST", path, 415, json=[]) == "unsupported-media-type"
    endless = {"headers": {"Transfer-Encoding": "chunked"}}
    assert refused(ivy, "POST", path, 411, data=line, **NDJSON, **endless) == "length-required"
    cut = {"environ_overrides": {"CONTENT_LENGTH": str(2 * len(line))}}
    assert refused(ivy, "POST", path, 408, data=line, **NDJSON, **cut) == "upload-died"
    huge = {"environ_overrides": {"CONTENT_LENGTH": str(2**40)}}
    assert refused(ivy, "POST", path, 413, data=line, **NDJSON, **huge) == "too-large"
    assert ask(ivy, "GET", "ari-snapshots")["snapshots"] == []


def test_blocks_follow_each_other(task_house: TaskHouse) -> None:
    lea, bob = task_house.people("lea"), task_house.people.other
    goal = ask(lea, "POST", "goals", 201, json={"title": "Write the report"})
    path = f"goals/{goal['id']}"

    def add(status: int = 201, **block: Any) -> Any:
        return ask(lea, "POST", f"{path}/blocks", status, json={"minutes": 30, **block})

    assert add(title="Outline")["block_no"] == 1
    assert add(title="Draft", depends_on=[1, 1])["depends_on"] == [1]
    assert add(409, title="Print", depends_on=[7])["code"] == "unknown-block"
    assert refused(lea, "DELETE", f"{path}/blocks/1", 409) == "depended-on"
    done = ask(lea, "PATCH", f"{path}/blocks/1", json={"status": "done"})
    assert done["done_at"] is not None
    again = ask(lea, "PATCH", f"{path}/blocks/1", json={"status": "done"})
    assert again["done_at"] == done["done_at"]
    assert ask(lea, "PATCH", f"{path}/blocks/1", json={"status": "todo"})["done_at"] is None
    assert refused(bob, "PATCH", f"{path}/blocks/1", 404, json={"status": "done"}) == "not-found"
    assert refused(bob, "GET", path, 404) == "not-found"

    changed = ask(lea, "PATCH", path, json={"status": "done", "target_date": "2027-01-01"})
    assert (changed["title"], changed["status"]) == ("Write the report", "done")
    assert ask(lea, "PATCH", path, json={"target_date": None})["target_date"] is None
    ask(lea, "DELETE", f"{path}/blocks/2", 204)
    assert [block["block_no"] for block in ask(lea, "GET", path)["blocks"]] == [1]
    ask(lea, "DELETE", path, 204)


def test_no_block_depends_on_one_that_is_not_there(task_house: TaskHouse) -> None:
    mia = task_house.people("mia")
    goal = ask(mia, "POST", "goals", 201, json={"title": "x"})["id"]
    block = {"goal_id": goal, "title": "x", "minutes": 30}

    with task_house.sessions.begin() as session:  # in any order within a transaction
        session.execute(insert(GoalBlock).values({**block, "block_no": 2, "depends_on": [1]}))
        session.execute(insert(GoalBlock).values({**block, "block_no": 1}))
    for number, depends_on in ((3, [3]), (3, [4]), (3, [0]), (5, [4])):
        values = {**block, "block_no": number, "depends_on": depends_on}
        with pytest.raises(IntegrityError), task_house.sessions.begin() as session:
            session.execute(insert(GoalBlock).values(values))


def debt_of(house: TaskHouse, owner: Caller) -> int:
    interaction = ask(owner, "POST", "interactions", 201, json=said("It never fails."))
    values = {
        "user_id": owner.id, "interaction_id": interaction["id"], "kind": "unverified",
        "severity": "low", "sentence": "It never fails.", "sentence_digest": b"d" * 32,
        "reason": "No source.",
    }  # fmt: skip
    with house.sessions.begin() as session:
        return session.scalars(insert(Debt).values(values).returning(Debt.id)).one()


def test_debts_are_resolved_once_and_reopened(task_house: TaskHouse) -> None:
    joy, bob = task_house.people("joy"), task_house.people.other
    debt = debt_of(task_house, joy)
    resolution = {"method": "cited", "note": "page 3"}

    path = f"debts/{debt}/resolve"
    assert refused(bob, "POST", path, 404, json=resolution) == "not-found"
    resolved = ask(joy, "POST", path, json=resolution)
    assert (resolved["status"], resolved["resolution_method"]) == ("resolved", "cited")
    assert resolved["resolved_at"] is not None
    assert refused(joy, "POST", path, 409, json=resolution) == "already-resolved"
    assert ask(joy, "GET", "debts?status=open")["debts"] == []
    assert [one["id"] for one in ask(joy, "GET", "debts?severity=low")["debts"]] == [debt]
    assert ask(joy, "POST", f"debts/{debt}/reopen")["resolved_at"] is None
    ask(joy, "DELETE", f"interactions/{resolved['interaction_id']}", 204)
    assert ask(joy, "GET", "debts")["debts"] == []


def test_approvers_write_the_knowledge_base_and_all_read_it(task_house: TaskHouse) -> None:
    people = task_house.people
    ada, carol, root = people.user, people.approver, people.admin
    claim = {
        "claim": "The moon is made of cheese.", "verdict": "refuted",
        "explanation": "Samples are rock.", "sources": ["a sample"], "topic": "moon",
    }  # fmt: skip

    assert refused(ada, "POST", "claims", 403, json=claim) == "forbidden"
    made = ask(carol, "POST", "claims", 201, json=claim)
    assert refused(root, "POST", "claims", 409, json=claim) == "duplicate"
    assert refused(carol, "POST", "claims", 400, json=claim | {"sources": []}) == "invalid"
    other = claim | {"claim": "The moon is far.", "verdict": "supported"}
    assert sent(carol, "claims", claim, other) == {"accepted": 1, "duplicates": 1}
    assert sent(ada, "claims", other, status=403)["code"] == "forbidden"

    path = f"claims/{made['id']}"
    assert refused(root, "PUT", path, 409, json=other) == "duplicate"
    again = ask(root, "PUT", path, json=claim | {"verdict": "misleading"})
    assert (again["verdict"], again["reviewed_by"]) == ("misleading", root.id)
    assert ask(ada, "GET", path) == again
    assert len(ask(ada, "GET", "claims?topic=moon")["claims"]) == 2
    assert len(ask(ada, "GET", "claims?verdict=supported")["claims"]) == 1
    ask(carol, "DELETE", path, 204)
    assert refused(carol, "DELETE", path, 404) == "not-found"


def fill(house: TaskHouse, owner: Caller) -> None:
    """Something of everything, beside what nobody may take away."""
    debt_of(house, owner)
    ask(owner, "POST", "ari-snapshots", 201, json=snapshot())
    goal = ask(owner, "POST", "goals", 201, json={"title": "x"})["id"]
    ask(owner, "POST", f"goals/{goal}/blocks", 201, json={"title": "x", "minutes": 15})
    sample = {"model_name": "m", "text": "x", "label": "y", "split": "train", "digest": b"d" * 32}
    model = {
        "name": "m", "version": 1, "sha256": "0" * 64, "blob_key": f"models/{owner.id}",
        "data_key": b"secret", "size_bytes": 1, "parameters": {"epochs": 9}, "metrics": {},
    }  # fmt: skip
    schedule = {"name": "mine", "created_by": owner.id, "cron": "0 0 * * *"}
    with house.sessions.begin() as session:
        session.execute(insert(TrainingSample).values(sample | {"user_id": owner.id}))
        session.execute(insert(TextModel).values(model | {"user_id": owner.id}))
        for task_type in ("say", "tidy"):
            values = {"task_type": task_type, "name": task_type, "parameters": {"word": "x"}}
            session.execute(insert(Schedule).values(schedule | values))
    house.submitted(owner, "say", parameters={"word": "plain"})
    house.work()
    house.submitted(owner, "say_secretly", parameters={"word": "secret"})


OF_EACH = {
    "debt": 1, "interaction": 1, "goal_block": 1, "goal": 1, "ari_snapshot": 1,
    "training_sample": 1, "model": 1, "schedule": 1, "task": 2,
}  # fmt: skip


def exported(by: Caller, user_id: int) -> list[dict[str, Any]]:
    with by("GET", f"/api/data/export?user_id={user_id}") as answer:
        assert answer.status_code == 200, answer.status
        assert answer.content_length == len(answer.data)
        return [json.loads(line) for line in answer.data.splitlines()]


def test_all_of_one_user_is_given_out_and_deleted(task_house: TaskHouse) -> None:
    people = task_house.people
    eva, bob, root = people("eva", Role.ADMIN), people.other, people.admin
    fill(task_house, eva)
    of_eva = {"user_id": eva.id}
    ask(bob, "POST", "goals", 201, json={"title": "bob's"})

    lines = exported(eva, eva.id)
    assert {word: [one["kind"] for one in lines].count(word) for word in OF_EACH} == OF_EACH
    tasks = [one["data"] for one in lines if one["kind"] == "task"]
    words = {task["parameters"]["word"]: task for task in tasks}
    assert set(words) == {"plain", "secret"}
    assert words["plain"]["result"] == {"said": "plain", "of": eva.id}
    (model,) = [one["data"] for one in lines if one["kind"] == "model"]
    assert (model["parameters"], "data_key" in model) == ({"epochs": 9}, False)
    (schedule,) = [one["data"] for one in lines if one["kind"] == "schedule"]
    assert schedule["parameters"] == {"word": "x"}
    assert exported(root, eva.id) == lines
    assert refused(bob, "GET", f"export?user_id={eva.id}", 403) == "not-your-data"
    assert refused(bob, "DELETE", "", 403, query_string=of_eva) == "not-your-data"

    (held,) = task_house.claim()  # a task that runs has nothing left to write to
    assert ask(eva, "DELETE", "")["deleted"] == OF_EACH
    task_house.finish(held)
    assert exported(eva, eva.id) == []
    assert set(ask(root, "DELETE", "", query_string=of_eva)["deleted"].values()) == {0}
    assert task_house.database.rows("SELECT 1 FROM attempts WHERE row_id = :id", id=held.id) == []
    with task_house.sessions() as session:
        kept = select(Schedule.task_type).where(Schedule.created_by == eva.id)
        assert session.scalars(kept).all() == ["tidy"]  # about nobody
    assert [goal["title"] for goal in ask(bob, "GET", "goals")["goals"]] == ["bob's"]


def test_who_is_erased_leaves_no_data(task_house: TaskHouse) -> None:
    root, max_ = task_house.people.admin, task_house.people("max")
    fill(task_house, max_)

    assert root("DELETE", f"/api/admin/users/{max_.id}").status_code == 204

    assert exported(root, max_.id) == []
    nobodys = snapshot() | {"user_id": max_.id}
    assert refused(root, "POST", "ari-snapshots", 404, json=nobodys) == "unknown-user"


def test_what_takes_long_to_delete_is_deleted(task_house: TaskHouse) -> None:
    with make_sessions(task_house.engine, limit=timedelta(minutes=1)).begin() as session:
        data_erasure.erase(session, task_house.people("noa").id)
        assert session.scalar(text("SHOW statement_timeout")) == "15min"


def test_two_imports_of_the_same_rows_at_once_store_each_once(task_house: TaskHouse) -> None:
    pia = task_house.people("pia")
    lines = [snapshot(at=f"2026-05-01T{n // 60:02}:{n % 60:02}:00Z") for n in range(1440)]
    together = Barrier(2)

    def bring(ordered: list[dict[str, Any]]) -> int:
        together.wait()
        return int(sent(pia, "ari-snapshots", *ordered)["accepted"])

    with ThreadPoolExecutor(2) as senders:
        accepted = list(senders.map(bring, (lines, lines[::-1])))

    assert sorted(accepted) == [0, 1440]


class Ended(NamedTuple):
    """How a command ended; ``out`` is without what the server logs, which is in this process."""

    out: str
    err: str
    error: BaseException | None


@pytest.fixture
def command(task_house: TaskHouse) -> Iterator[Callable[..., Ended]]:
    """Runs ``lockkeeper data …`` as somebody, against the API over real sockets."""
    server = make_server("127.0.0.1", 0, task_house.app, threaded=True)
    serving = Thread(target=server.serve_forever, args=(0.02,))
    serving.start()

    def run(by: Caller, *arguments: str | Path, answer: str | None = None) -> Ended:
        env = {"LOCKKEEPER_URL": f"http://127.0.0.1:{server.port}", "LOCKKEEPER_TOKEN": by.token}
        words = ["data", *map(str, arguments)]
        ended = CliRunner(env=env).invoke(cli, words, input=answer, standalone_mode=False)
        lines = ended.stdout.splitlines(keepends=True)
        out = "".join(line for line in lines if "request.served" not in line)
        return Ended(out, ended.stderr, ended.exception)

    yield run
    server.shutdown()
    serving.join()
    server.server_close()


def test_the_command_line_brings_shows_takes_out_and_deletes(
    task_house: TaskHouse, command: Callable[..., Ended], tmp_path: Path
) -> None:
    sue = task_house.people("sue")
    file, out = tmp_path / "said.jsonl", tmp_path / "out.jsonl"
    file.write_text("\n".join(json.dumps(said(f"\x1b[31m{n}")) for n in range(3)))

    told = command(sue, "import", "interactions", file).out
    assert told == "interactions: 3 lines stored, 0 duplicates\n"
    page = command(sue, "list", "interactions", "--limit", "2")
    assert page.out.count("\n") == 2
    assert "\x1b" not in page.out
    assert "--before" in page.err
    assert command(sue, "export", "-o", out).out.endswith(f"{out.stat().st_size} bytes\n")
    assert len(out.read_text().splitlines()) == 3
    assert "cannot write" in str(command(sue, "export", "-o", out).error)
    none = tmp_path / "none"
    assert "role admin" in str(command(sue, "export", "-o", none, "--user", "1").error)
    assert not none.exists()
    assert "nobody's" in str(command(sue, "list", "claims", "--user", "1").error)
    file.write_text("x")
    assert "line 1" in str(command(sue, "import", "interactions", file).error)
    assert "cannot read" in str(command(sue, "import", "goals", none).error)
    assert "role admin" in str(command(sue, "list", "goals", "--user", "1").error)
    assert isinstance(command(sue, "delete", answer="n\n").error, click.Abort)
    assert "3 interactions" in command(sue, "delete", "--yes").out
    assert command(sue, "list", "interactions").out == ""
