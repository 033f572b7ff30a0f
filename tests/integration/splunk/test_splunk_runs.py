"""Runs over HTTP, from stored bytes to what was found in them; a worker parses by hand."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, insert

from backend import cli
from backend.cli import splunk_effective, splunk_matching, splunk_runs
from backend.db import make_engine, make_sessions
from backend.queue import control
from backend.queue.attempts import Attempt
from backend.storage.blobs import StorageUnavailable
from backend.storage.local import LocalBlobs
from backend.web.assembly import assemble
from backend.workloads.splunk import contents_service
from backend.workloads.splunk.lifecycle import SPLUNK_QUEUE
from tests.callers import Caller
from tests.conftest import REPOSITORY, CreateDatabase
from tests.integration.packages.house import People
from tests.integration.splunk.ingesting import APP, Files, Ingestion, tar_of
from workers.isolation import Children

LONG = "source::" + "x" * 9000
FILES: Files = {
    **APP,
    "etc/apps/web/default/indexes.conf": (
        "[volume:hot]\npath = /data\n[web]\nmaxTotalDataSizeMB = 500\n"
    ),
    "etc/apps/odd/local/props.conf": f"[{LONG}]\nREGEX = 100%_\\d\nTRUNCATE = 10\n",
    "etc/users/bob/web/local/props.conf": "[weblog]\nTZ = CET\n",
    "etc/auth/splunk.secret": "0123456789abcdef",
    "../evil.conf": "[a]\nb = 1\n",
}


class Api:
    """One run that is parsed, one of nobody's interest, and a worker that parses by hand."""

    def __init__(self, engine: Engine, children: Children, folder: Path) -> None:
        sessions = make_sessions(engine)
        self.ingestion = Ingestion(sessions, engine, children, folder)
        self.database, self.sessions = self.ingestion.database, sessions
        self.app = assemble(self.ingestion.settings, engine)
        self.database.run("UPDATE users SET password_hash = 'unused'")  # ada, as People have it
        self.people = People(self.app, self.app.test_client(), sessions)
        self.run = self.ingestion.parsed(FILES)

    def ask(
        self, method: str, path: str, code: int = 200, by: Caller | None = None, **content: Any
    ) -> Any:
        answer = (by or self.people.user)(method, f"/v1{path}", **content)
        assert answer.status_code == code, answer.text
        return answer.get_json() if answer.data else None

    def get(self, path: str, code: int = 200, by: Caller | None = None, **query: Any) -> Any:
        return self.ask("GET", path, code, by, query_string=query)

    def alive(self, queue: str = "splunk", name: str = "w1") -> None:
        self.database.run(
            "INSERT INTO workers (name, hostname, pid, version, queues)"
            " VALUES (:name, 'h', 1, '1', ARRAY[:queue])",
            name=name, queue=queue,
        )  # fmt: skip


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    made = Children(1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def kept_api(
    create_database: CreateDatabase,
    migrated: str,
    children: Children,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Api]:
    with create_database(migrated) as url:
        engine = make_engine(url)
        made = Api(engine, children, tmp_path_factory.mktemp("runs"))
        yield made
        made.app.extensions["lockkeeper"].ready.__self__.close()
        engine.dispose()


@pytest.fixture
def api(kept_api: Api) -> Api:
    """Nothing waits in it but what the test puts there."""
    kept_api.database.run("DELETE FROM ingestion_runs WHERE id <> :id", id=kept_api.run)
    return kept_api


def test_a_run_its_status_and_what_was_found(api: Api) -> None:
    run = api.get(f"/runs/{api.run}")
    summary = api.get(f"/runs/{api.run}/summary")

    assert (run["status"], run["retry_count"], run["error_traceback"]) == ("complete", 0, None)
    assert run["metrics"]["files_parsed"] == 7
    assert api.get(f"/worker/runs/{api.run}/status") == run
    status = api.get(f"/runs/{api.run}/status")
    assert status == api.get(f"/runs/{api.run}/parse-status")
    assert status.items() <= {**run, "next_attempt_at": None}.items()
    assert summary["files"] == {"conf": 6, "skipped": 2, "meta": 1, "other": 1}
    assert summary["conf_types"] == {"props": 4, "indexes": 2, "inputs": 1, "meta": 1, "outputs": 1}
    assert summary["layers"] == {"app": 7, "system": 1, "user": 1}
    assert summary["apps"] == {"web": 7, "odd": 1}
    assert summary["warnings"]["junk-line"] == 1
    assert summary["skipped"] == {"secret": 1, "traversal": 1}
    assert (summary["total_files"], summary["total_stanzas"], summary["left_out"]) == (10, 9, {})


def test_runs_are_listed_newest_first_in_pages_and_by_status_and_type(api: Api) -> None:
    mine = api.people("lister")
    with api.sessions.begin() as session:
        ids = [
            session.execute(
                insert(SPLUNK_QUEUE.rows)
                .values(status="stored", type=kind, filename="f", uploaded_by=mine.id)
                .returning(SPLUNK_QUEUE.rows.c.id)
            ).scalar_one()
            for kind in ("ds_etc", "app_bundle", "ds_etc")
        ]

    def listed(**query: Any) -> tuple[list[int], int, int | None]:
        answer = api.get("/runs", by=mine, **query)
        return [run["id"] for run in answer["runs"]], answer["total"], answer["next"]

    assert listed() == (ids[::-1], 3, None)
    assert listed(per_page=2) == (ids[:0:-1], 3, 2)
    assert listed(per_page=2, page=2) == (ids[:1], 3, None)
    assert listed(type="ds_etc", status="stored") == ([ids[2], ids[0]], 2, None)
    assert listed(status="failed") == ([], 0, None)
    assert api.run not in [run["id"] for run in api.get("/runs", by=mine)["runs"]]
    assert {api.run, *ids} <= {run["id"] for run in api.get("/runs", by=api.people.admin)["runs"]}
    api.get("/runs", 400, per_page=101)
    api.get("/runs", 400, status="done")


def test_files_with_what_is_strange_about_them(api: Api) -> None:
    path = f"/runs/{api.run}/files"
    skipped = api.get(path, kind="skipped")
    inputs = api.get(path, conf_type="INPUTS", app="web", layer="app", scope="local")

    assert [(one["path"], one["skip_reason"]) for one in skipped["files"]] == [
        ("etc/auth/splunk.secret", "secret"), ("../evil.conf", "traversal"),
    ]  # fmt: skip
    assert (skipped["total"], skipped["status"], skipped["next"]) == (2, "complete", None)
    (file,) = inputs["files"]
    assert {one["code"]: one["line"] for one in file["warnings"]} == {
        "duplicate-key": 4, "junk-line": 6,
    }  # fmt: skip
    assert [one["path"] for one in api.get(path, q="RUN.p")["files"]] == ["etc/apps/web/bin/run.py"]
    assert api.get(path, per_page=4, page=3)["files"] == api.get(path)["files"][8:]


def test_stanzas_as_they_stand(api: Api) -> None:
    path = f"/runs/{api.run}/stanzas"
    (stanza,) = api.get(path, conf_type="inputs")["stanzas"]

    assert stanza["raw_kv"] == {"index": "web2", "disabled": "0"}
    assert (stanza["lines"], stanza["history"]) == (
        {"index": 4, "disabled": 3}, {"index": [[2, "web"]]},
    )  # fmt: skip
    assert (stanza["file_path"], stanza["app"]) == ("etc/apps/web/local/inputs.conf", "web")
    named = api.get(path, name="weblog", conf_type="props")
    assert [(one["layer"], one["user"]) for one in named["stanzas"]] == [
        ("app", None), ("user", "bob"),
    ]  # fmt: skip
    assert api.get(path, name="weblog", layer="user", scope="users")["total"] == 1
    assert api.get(path, app="odd")["stanzas"][0]["name"] == LONG
    assert api.get(path, name=LONG)["stanzas"][0]["app"] == "odd"
    assert api.get(path, per_page=2, page=2)["next"] == 3


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("WEBLOG", ["weblog", "weblog", "props/weblog"]),  # names
        ("odd", [LONG]),  # apps
        ("maxtotal", ["web"]),  # keys
        ("100%_\\d", [LONG]),  # values; no wildcard, no escape
        ("%", [LONG]),
        ('", "', []),  # nothing of how they are stored
        ("hunter2", []),
        ("masked:", ["tcpout:main"]),
    ],
)
def test_a_search_is_of_names_apps_keys_and_values(api: Api, q: str, found: list[str]) -> None:
    names = [one["name"] for one in api.get(f"/runs/{api.run}/stanzas", q=q)["stanzas"]]

    assert sorted(names) == sorted(found)


def test_typed_columns_are_shown_and_asked_for(api: Api) -> None:
    def rows(table: str, **query: Any) -> list[dict[str, Any]]:
        answer = api.get(f"/runs/{api.run}/{table}", **query)
        assert answer["total"] == len(answer[table])
        return list(answer[table])

    (monitor,) = rows("inputs", disabled="false", index="web2", kind="monitor")
    assert (monitor["target"], monitor["disabled"], monitor["name"], monitor["line"]) == (
        "/var/log/web", False, "monitor:///var/log/web", 1,
    )  # fmt: skip
    assert rows("inputs", disabled="true") == []
    assert [one["kind"] for one in rows("props", truncate=9)] == [None]
    assert [one["pattern"] for one in rows("props", app="odd", name="nope")] == []
    assert [one["pattern"] for one in rows("props", kind="source")] == [
        LONG.removeprefix("source::")
    ]
    assert [one["path"] for one in rows("indexes", kind="volume")] == ["/data"]
    assert [one["file_path"] for one in rows("indexes", max_total_data_size_mb=500)] == [
        "etc/apps/web/default/indexes.conf"
    ]
    assert [one["server"] for one in rows("outputs", layer="system")] == ["a:9997"]
    assert rows("transforms") == rows("serverclasses") == []
    api.get(f"/runs/{api.run}/props", 400, truncate=2**63)


def test_a_page_that_would_fill_the_memory_is_refused(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents_service, "MAX_BYTES", 9000)

    assert api.get(f"/runs/{api.run}/stanzas", 413)["code"] == "page-too-large"
    assert api.get(f"/runs/{api.run}/props", 413, app="odd")["code"] == "page-too-large"
    assert api.get(f"/runs/{api.run}/stanzas", app="web")["total"] == 7


OF_A_RUN = (
    "", "/status", "/parse-status", "/summary", "/files", "/stanzas", "/inputs", "/props",
    "/transforms", "/indexes", "/outputs", "/serverclasses",
)  # fmt: skip


def test_a_run_is_its_owners_and_admins_and_for_others_not_there(api: Api) -> None:
    task_id = api.get(f"/runs/{api.run}")["task_id"]
    asked = [f"/runs/{api.run}{part}" for part in OF_A_RUN]
    asked += [f"/worker/runs/{api.run}/status", f"/worker/tasks/{task_id}"]
    for path in asked:
        api.get(path, 404, by=api.people.other)
        api.get(path, 404, by=api.people.approver)
        api.get(path, by=api.people.admin)
    api.ask("POST", f"/runs/{api.run}/parse", 404, by=api.people.other)
    api.ask("DELETE", f"/runs/{api.run}", 404, by=api.people.other)
    for path in ("/runs/999999", "/runs/999999/files", f"/worker/tasks/{uuid4()}"):
        api.get(path, 404)
    for path in ("/runs/x", "/runs/0", f"/runs/{'9' * 5000}", "/worker/tasks/x"):
        api.get(path, 400)


def test_a_run_is_parsed_again_when_it_is_asked_for_and_once(api: Api) -> None:
    run_id = api.ingestion.upload(tar_of(APP))
    path = f"/runs/{run_id}/parse"
    first = api.ask("POST", path, 202)
    assert (first["status"], first["accepted"]) == ("stored", False)
    api.ingestion.work()
    done = api.ask("POST", path, 202)
    assert (done["status"], done["accepted"], done["task_id"]) == (
        "complete", False, first["task_id"],
    )  # fmt: skip
    result = api.get(f"/worker/tasks/{first['task_id']}")
    assert (result["ready"], result["successful"]) == (True, True)
    assert result["result"]["metrics"]["stanzas_created"] == 5

    forced = api.ask("POST", f"{path}?force=true", 202)
    assert (forced["status"], forced["accepted"]) == ("stored", True)
    assert forced["task_id"] != first["task_id"]
    again = api.ask("POST", path, 202, json={"force": True})
    assert (again["accepted"], again["task_id"]) == (False, forced["task_id"])
    assert api.get(f"/runs/{run_id}/stanzas")["total"] == 5  # of the parse before
    api.get(f"/worker/tasks/{first['task_id']}", 404)
    waiting = api.get(f"/worker/tasks/{forced['task_id']}")
    assert (waiting["ready"], waiting["successful"], waiting["result"]) == (False, None, None)
    api.ingestion.work()
    assert api.get(f"/runs/{run_id}")["metrics"]["stanzas_created"] == 5
    noted = "SELECT count(*) FROM audit_log WHERE action = 'run.parse_requested' AND subject = :run"
    assert api.database.one(noted, run=f"run:{run_id}") == 1


def test_many_who_ask_at_once_have_it_parsed_once(api: Api) -> None:
    run_id = api.ingestion.parsed(APP)
    answers: list[Any] = []
    caller = api.people.user
    ready = threading.Barrier(4)

    def ask() -> None:
        ready.wait()
        client = Caller(api.app.test_client(), caller.token)
        answers.append(client("POST", f"/v1/runs/{run_id}/parse?force=true").get_json())

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()

    assert sorted(one["accepted"] for one in answers) == [False, False, False, True]
    assert len({one["task_id"] for one in answers}) == 1
    api.ingestion.work()


def test_what_cannot_be_parsed_says_why(api: Api) -> None:
    gone = api.ingestion.parsed(APP)
    api.database.run(
        "UPDATE ingestion_runs SET blob_key = NULL, data_key = NULL, pruned_at = now()"
        " WHERE id = :id",
        id=gone,
    )
    pending = api.database.one(
        "INSERT INTO ingestion_runs (status, uploaded_by, filename)"
        " VALUES ('pending', :by, 'f') RETURNING id",
        by=api.people.user.id,
    )

    assert api.ask("POST", f"/runs/{gone}/parse", 202)["accepted"] is False
    refused = api.ask("POST", f"/runs/{gone}/parse?force=true", 409)
    assert (refused["code"], refused["detail"]) == (
        "archive-gone", f"The archive of run {gone} is not stored any more: upload it again.",
    )  # fmt: skip
    assert api.ask("POST", f"/runs/{pending}/parse", 409)["code"] == "not-stored"
    assert api.ask("DELETE", f"/runs/{pending}", 409)["code"] == "in-use"
    assert api.get(f"/runs/{pending}/files")["files"] == []


def test_a_failure_is_told_to_its_owner_and_its_place_in_the_code_to_admins(api: Api) -> None:
    run_id = api.ingestion.upload(tar_of(APP)[:-20])
    api.ingestion.work()
    failed = api.get(f"/runs/{run_id}")

    assert (failed["status"], failed["metrics"]["error_type"]) == ("failed", "permanent")
    assert failed["error_traceback"] is None
    said = api.get(f"/runs/{run_id}", by=api.people.admin)["error_traceback"]
    assert said == "attempt 1, parse: permanent"
    task = api.get(f"/worker/tasks/{failed['task_id']}")
    assert (task["ready"], task["successful"], task["error"]) == (
        True, False, failed["error_message"],
    )  # fmt: skip

    api.ask("POST", f"/runs/{run_id}/parse", 202)
    crash(api, run_id)
    crashed = api.get("/runs", by=api.people.admin, status="failed")["runs"][0]
    assert crashed["metrics"]["error_type"] == "unexpected"
    assert crashed["error_traceback"].splitlines() == [
        "attempt 1, parse: retry: KeyError in parsing.py:42",
        "attempt 2, parse: exhausted: KeyError in parsing.py:42",
    ]
    assert crashed["retry_count"] == 1
    metrics = api.get("/worker/metrics")
    assert metrics["recent_failures"][0]["run_id"] == run_id
    assert metrics["recent_failures"][0]["error_type"] == "unexpected"
    api.ask("DELETE", f"/runs/{run_id}", 204)


def crash(api: Api, run_id: int) -> None:
    """As four tries at a fault of our own leave a run; two of them are kept here."""
    error = "KeyError in parsing.py:42: 'hunter2'"
    line = {
        "queue": "splunk", "row_id": run_id, "step": None, "worker": "w", "token": uuid4(),
        "error": error,
    }  # fmt: skip
    ends = [("retry", None), ("failed", "exhausted")]
    with api.sessions.begin() as session:
        for number, (outcome, failure) in enumerate(ends, 1):
            how = {"attempt": number, "outcome": outcome, "failure": failure}
            session.execute(insert(Attempt).values(**line, **how, ended_at="now"))
    api.database.run(
        "UPDATE ingestion_runs SET status = 'failed', failure = 'exhausted', attempts = 2,"
        " failed_from = 'stored', error = :error, completed_at = now() WHERE id = :id",
        id=run_id, error=error,
    )  # fmt: skip


def test_a_run_that_is_to_be_tried_again_says_when(api: Api) -> None:
    run_id = api.ingestion.upload(tar_of(APP))
    api.database.run(
        "UPDATE ingestion_runs SET blob_key = blob_key || 'x' WHERE id = :id", id=run_id
    )
    api.ingestion.work()

    status = api.get(f"/runs/{run_id}/status")

    assert (status["status"], status["retry_count"]) == ("stored", 0)
    assert "SPLUNK_KEY" in status["error_message"]
    assert status["next_attempt_at"] > status["started_at"]
    with api.sessions.begin() as session:
        control.cancel(session, SPLUNK_QUEUE, [run_id], why="cancelled by root")
    assert api.get(f"/runs/{run_id}")["metrics"]["error_type"] == "unexpected"
    assert api.ask("POST", f"/runs/{run_id}/parse", 202)["accepted"] is True
    assert api.get(f"/runs/{run_id}/status")["next_attempt_at"] is None
    api.database.run(
        "UPDATE ingestion_runs SET blob_key = NULL, data_key = NULL WHERE id = :id", id=run_id
    )
    api.ask("DELETE", f"/runs/{run_id}", 204)


def test_a_deleted_run_leaves_neither_rows_nor_bytes(api: Api) -> None:
    run_id = api.ingestion.parsed(APP)
    key = api.ingestion.run(run_id).blob_key
    assert key is not None
    store = Path(api.ingestion.settings.storage_dir)
    files = {path for path in store.rglob("*") if path.is_file()}
    lease_of = api.ingestion.upload(tar_of(APP))
    lease = api.ingestion.claim()
    assert api.ask("DELETE", f"/runs/{lease_of}", 409)["code"] == "in-use"
    api.ingestion.work(lease)
    kept = {path for path in store.rglob("*") if path.is_file()} - files

    api.ask("DELETE", f"/runs/{run_id}", 204)

    api.get(f"/runs/{run_id}", 404)
    for table in ("files", "stanzas", "inputs", "props", "run_notices"):
        assert api.ingestion.rows(table, run_id, "1") == []
    left = {path for path in store.rglob("*") if path.is_file()}
    assert left < files | kept
    assert kept <= left
    noted = "SELECT actor_id FROM audit_log WHERE action = 'run.deleted' AND subject = :run"
    assert api.database.one(noted, run=f"run:{run_id}") == api.people.user.id


def test_a_run_is_deleted_also_where_its_store_does_not_answer(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = api.ingestion.parsed(APP)
    asked = list[str]()

    def refused(_blobs: LocalBlobs, key: str) -> None:
        asked.append(key)
        # Another connection sees that it is gone: no transaction waits for the store.
        assert (
            api.database.one("SELECT count(*) FROM ingestion_runs WHERE id = :id", id=run_id) == 0
        )
        raise StorageUnavailable("the disk is broken")

    monkeypatch.setattr(LocalBlobs, "delete", refused)
    api.ask("DELETE", f"/runs/{run_id}", 204)

    assert len(asked) == 1
    api.get(f"/runs/{run_id}", 404)


def test_workers_and_their_figures(api: Api) -> None:
    api.alive("packages", "other")
    away = api.get("/worker/health", 503)
    assert (away["code"], away["workers"], away["worker_names"]) == ("no-workers", 0, [])
    api.alive()
    api.ingestion.upload(tar_of(APP))
    lease = api.ingestion.claim()

    health = api.get("/worker/health")
    assert (health["status"], health["workers"], health["worker_names"]) == ("healthy", 1, ["w1"])
    assert (health["active_tasks"], health["stats"]["ready"]) == (1, 0)
    api.ingestion.work(lease)
    nobody = api.get("/worker/metrics", by=api.people.other)
    assert nobody == {
        "status_counts": dict.fromkeys(SPLUNK_QUEUE.words, 0),
        "retry_stats": {"avg_retries": 0.0, "max_retries": 0},
        "avg_duration_seconds": None,
        "recent_failures": [],
    }
    mine = api.get("/worker/metrics")
    assert mine["status_counts"]["complete"] >= 2
    assert 0 < mine["avg_duration_seconds"] < timedelta(minutes=1).total_seconds()
    assert api.get("/worker/metrics", by=api.people.admin) == mine


class InProcess:
    """What the command line's client asks, asked of the application here."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def get(self, path: str) -> Any:
        return self.api.ask("GET", path.removeprefix("/v1"))

    def post(self, path: str, body: Any) -> Any:
        code = 202 if path.endswith("/parse") else 200
        return self.api.ask("POST", path.removeprefix("/v1"), code, json=body)


def test_the_command_line(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(splunk_runs, "caller", lambda _url: InProcess(api))

    def said(*arguments: object, code: int = 0) -> str:
        assert cli.main(["splunk", *map(str, arguments)]) == code
        lines = capsys.readouterr().out.splitlines(keepends=True)
        return "".join(line for line in lines if " request.served " not in line)

    counts = "7 conf files, 9 stanzas, 1 parse error in "
    assert said("status", api.run, "--wait").startswith(f"run {api.run} complete, {counts}")
    assert "instance_etc etc.tgz" in said("runs", "--status", "complete")
    shown = said("show", api.run).splitlines()
    assert shown[0] == f"run {api.run} complete: instance_etc tar.gz"
    assert "conf types: props 4, indexes 2, inputs 1, meta 1, outputs 1" in shown
    assert said("show", api.run, "--conf", "inputs").splitlines() == [
        "[monitor:///var/log/web]  (etc/apps/web/local/inputs.conf:1)",
        "disabled = 0  (line 3)",
        "index = web2  (line 4, line 2 had web)",
    ]
    found = json.loads(said("show", api.run, "--conf", "props", "--search", "cet", "--json"))
    assert [one["user"] for one in found["stanzas"]] == ["bob"]
    assert said("parse", api.run).endswith("nothing to do; --force parses it again\n")
    assert said("parse", api.run, "--force").startswith(f"run {api.run}: to be parsed, task ")
    api.ingestion.work()
    failed = api.ingestion.upload(b"no archive at all \x00\x01")
    api.ingestion.work()
    assert "failed (permanent), " in said("status", failed, "--wait", code=1)
    said("show", api.run, "--app", "web", code=2)


def test_the_first_session_is_as_the_documentation_shows_it(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (splunk_runs, splunk_effective, splunk_matching):
        monkeypatch.setattr(module, "caller", lambda _url: InProcess(api))
    folder = REPOSITORY / "examples" / "splunk"
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    run = api.ingestion.parsed(files, type_="ds_etc")
    page = (REPOSITORY / "docs" / "splunk.md").read_text()
    session = page.partition("## A first session")[2].partition("## Uploading")[0]
    asked = [
        line[2:].partition("#")[0].split() for line in session.splitlines() if line[:2] == "$ "
    ]
    commands = [words[2:] for words in asked if words[0] == "lockkeeper" and words[3] == "1"]

    for command in commands:
        if command[0] != "status":  # it took another time
            assert cli.main(["splunk", command[0], str(run), *command[2:]]) == 0
    shown = capsys.readouterr().out.replace(f"run {run} ", "run 1 ").splitlines()
    shown = [line for line in shown if " request.served " not in line and "<masked:" not in line]

    assert len(shown) > 20
    assert [line for line in shown if line not in session] == []
