"""What the tables refuse, how rows replace each other, and who is told of a run's end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from backend.db import Sessions
from backend.queue import leases
from backend.queue.leases import Lease
from backend.queue.retry import LeaseLost
from backend.workloads.splunk import clearing, recording, workload
from backend.workloads.splunk.copying import line
from backend.workloads.splunk.lifecycle import SPLUNK_QUEUE
from backend.workloads.splunk.model import IngestionRun
from tests.integration.packages.house import Database
from tests.integration.splunk.ingesting import add_user

PARSED = recording.Parsed(archive_kind="tar", files_parsed=1, stanzas_created=2, parse_errors=0)
HASH = "0" * 64
PLACED = ("app", "local", "web", None)
FILE: tuple[Any, ...] = (
    1,
    "etc/x/inputs.conf",
    "conf",
    HASH,
    9,
    "utf-8",
    "inputs",
    *PLACED,
    [],
    None,
)


def stanza(number: int, name: str = "default") -> tuple[Any, ...]:
    return (number, 1, number, 1, "inputs", name, *PLACED, {"index": "a"}, {"index": 1}, None)


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


@pytest.fixture
def add_run(sessions: Sessions) -> Callable[..., int]:
    with sessions.begin() as session:
        user_id = add_user(session)

    def add(**values: Any) -> int:
        row = {
            "status": "stored", "type": "ds_etc", "filename": "a.tgz", "uploaded_by": user_id,
            **values,
        }  # fmt: skip
        with sessions.begin() as session:
            made = insert(IngestionRun).values(row).returning(IngestionRun.id)
            return int(session.scalar(made) or 0)

    return add


@pytest.fixture
def claim(sessions: Sessions) -> Callable[[], Lease]:
    def claim() -> Lease:
        with sessions.begin() as session:
            (lease,) = leases.claim(session, SPLUNK_QUEUE, worker="w", limit=1)
            return lease

    return claim


def leave(folder: Path, **tables: list[tuple[Any, ...]]) -> None:
    for table, rows in tables.items():
        (folder / f"{table}.copy").write_bytes(b"".join(map(line, rows)))


def record(sessions: Sessions, lease: Lease, folder: Path) -> None:
    with sessions.begin() as session:
        recording.replace(session, lease, PARSED, folder=folder)
        leases.settle_one(session, leases.done(lease))
        recording.save(session, lease, PARSED)


def again(database: Database, run_id: int) -> None:
    database.run(
        "UPDATE ingestion_runs SET status = 'stored', completed_at = NULL, step = NULL"
        " WHERE id = :id",
        id=run_id,
    )


def test_rows_of_an_earlier_parse_are_replaced_and_no_other_runs(
    sessions: Sessions,
    database: Database,
    add_run: Callable[..., int],
    claim: Callable[[], Lease],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clearing, "ROWS", 2)
    leave(
        tmp_path,
        run_notices=[(0, "trailing-data", "more")],
        files=[FILE],
        stanzas=[stanza(0), stanza(1, "tcp://:1"), stanza(2, "tcp://:2")],
        inputs=[(0, *[None] * 14), (2, "tcp", ":2", True, *[None] * 11)],
    )
    other, run_id = add_run(), add_run()
    first, second = claim(), claim()
    record(sessions, first, tmp_path)
    record(sessions, second, tmp_path)
    leave(
        tmp_path, run_notices=[], files=[FILE], stanzas=[stanza(0, "new")],
        inputs=[(0, *[None] * 14)],
    )  # fmt: skip
    again(database, run_id)

    record(sessions, claim(), tmp_path)

    counts = "SELECT run_id, count(*) FROM {} GROUP BY run_id ORDER BY run_id"
    found = {
        table: [tuple(row) for row in database.rows(counts.format(table))]
        for table in ("run_notices", "files", "stanzas", "inputs")
    }
    assert found == {
        "run_notices": [(other, 1)],
        "files": [(other, 1), (run_id, 1)],
        "stanzas": [(other, 3), (run_id, 1)],
        "inputs": [(other, 2), (run_id, 1)],
    }
    assert database.one("SELECT name FROM stanzas WHERE run_id = :id", id=run_id) == "new"
    run = database.rows("SELECT * FROM ingestion_runs WHERE id = :id", id=run_id)[0]
    assert (run.status, run.archive_kind, run.stanzas_created) == ("complete", "tar", 2)
    assert run.duration_seconds >= 0


def test_a_row_names_no_other_run_and_who_lost_the_run_leaves_nothing(
    sessions: Sessions,
    database: Database,
    add_run: Callable[..., int],
    claim: Callable[[], Lease],
    tmp_path: Path,
) -> None:
    victim, _ = add_run(), add_run(priority=10)
    lease = claim()
    (tmp_path / "run_notices.copy").write_bytes(b"%d\t0\tcode\tmessage\n" % victim)
    with pytest.raises(DBAPIError, match="extra data"):
        record(sessions, lease, tmp_path)

    (tmp_path / "run_notices.copy").unlink()
    database.run(
        "UPDATE ingestion_runs SET lease_token = gen_random_uuid() WHERE status = 'parsing'"
    )
    leave(tmp_path, files=[FILE])

    with pytest.raises(LeaseLost):
        record(sessions, lease, tmp_path)

    assert database.one("SELECT count(*) FROM files") == 0


IMPOSSIBLE_RUNS: list[dict[str, Any]] = [
    {"type": "tree"},
    {"sha256": "A" * 64},
    {"blob_key": "a/b"},
    {"files_parsed": 1},
    {"status": "complete", "completed_at": text("now()")},
    {"status": "uploading"},
    {"archive_kind": "rar"},
]
IMPOSSIBLE_ROWS: list[tuple[str, tuple[Any, ...]]] = [
    ("files", (1, "p", "skipped", None, None, None, None, *[None] * 4, [], None)),
    ("files", (1, "p", "other", None, None, None, None, *[None] * 4, [], None)),
    ("files", (1, "p", "conf", HASH, 1, "utf-8", "props", *[None] * 4, [], None)),
    ("files", (1, "p", "other", HASH, 1, None, None, "app", None, None, None, [], None)),
    ("files", (1, "p", "other", HASH, 1, None, None, "else", "local", None, None, [], None)),
    ("files", (1, "p", "other", HASH, 1, None, None, *[None] * 4, {}, None)),
    ("stanzas", stanza(0)),
    ("inputs", (0, *[None] * 14)),
]


def test_what_cannot_be_is_refused(
    sessions: Sessions, add_run: Callable[..., int], claim: Callable[[], Lease], tmp_path: Path
) -> None:
    for change in IMPOSSIBLE_RUNS:
        with pytest.raises(IntegrityError):
            add_run(**change)
    add_run()
    lease = claim()
    for table, row in IMPOSSIBLE_ROWS:
        leave(tmp_path, **{table: [row]})
        with pytest.raises(IntegrityError):
            record(sessions, lease, tmp_path)
        (tmp_path / f"{table}.copy").unlink()
    leave(tmp_path, files=[FILE], stanzas=[stanza(0)])
    record(sessions, lease, tmp_path)


def test_a_name_of_any_length_is_stored_and_found_by_its_hash(
    sessions: Sessions,
    database: Database,
    add_run: Callable[..., int],
    claim: Callable[[], Lease],
    tmp_path: Path,
) -> None:
    run_id, name = add_run(), "n\u00e4me" * 100_000
    leave(tmp_path, files=[FILE], stanzas=[stanza(0, name), stanza(1, name + "x")])
    record(sessions, claim(), tmp_path)

    look = (
        " FROM stanzas WHERE run_id = :id AND conf_type = 'inputs'"
        " AND hashtextextended(name, 0) = hashtextextended(:name, 0) AND name = :name"
    )
    assert database.rows(f"SELECT stanza_no {look}", id=run_id, name=name) == [(0,)]


def test_a_large_run_after_a_small_one_is_checked_by_the_index(
    sessions: Sessions,
    database: Database,
    add_run: Callable[..., int],
    claim: Callable[[], Lease],
    tmp_path: Path,
) -> None:
    for size in (20, 3000):
        add_run()
        leave(
            tmp_path,
            files=[FILE],
            stanzas=[stanza(number, f"tcp://:{number}") for number in range(size)],
            inputs=[(number, *[None] * 14) for number in range(size)],
        )
        record(sessions, claim(), tmp_path)
        database.run("ANALYZE stanzas")

    with sessions.begin() as session:
        session.execute(text("SELECT pg_stat_force_next_flush()"))
    read = (
        "SELECT seq_tup_read + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes i"
        " WHERE i.relid = t.relid) FROM pg_stat_user_tables t WHERE relname = 'stanzas'"
    )
    assert database.one(read) < 3000 * 10


def test_the_end_of_a_run_is_told_once_with_its_figures(
    sessions: Sessions,
    database: Database,
    add_run: Callable[..., int],
    claim: Callable[[], Lease],
    tmp_path: Path,
) -> None:
    database.run(
        "INSERT INTO webhooks (url, events, salt, secret_check, created_by)"
        " SELECT 'https://hooks.example.test', ARRAY['run.completed'], decode(repeat('00', 32),"
        " 'hex'), decode(repeat('00', 8), 'hex'), min(id) FROM users"
    )
    complete, broken = add_run(label="Ulm"), add_run()
    leave(tmp_path, files=[FILE])
    record(sessions, claim(), tmp_path)
    lease = claim()
    with sessions.begin() as session:
        leases.settle(session, SPLUNK_QUEUE, [leases.failed(lease, "permanent", "truncated")])

    told = database.rows("SELECT kind, subject, detail FROM events ORDER BY id")

    assert [(event.kind, event.subject) for event in told] == [
        ("run.completed", f"run:{complete}"),
        ("run.completed", f"run:{broken}"),
    ]
    good, bad = (event.detail for event in told)
    assert (good["status"], good["label"], good["stanzas_created"]) == ("complete", "Ulm", 2)
    assert good["duration_seconds"] >= 0
    assert (bad["status"], bad["failure"], bad["error"]) == ("failed", "permanent", "truncated")


def test_a_run_is_its_uploaders_and_not_claimed_while_it_is_uploaded(
    sessions: Sessions, add_run: Callable[..., int]
) -> None:
    run_id = add_run(status="pending", type=None)
    with sessions.begin() as session:
        assert leases.claim(session, SPLUNK_QUEUE, worker="w", limit=9) == []
        mine = session.get_one(IngestionRun, run_id).uploaded_by
        assert workload.owned(session, run_id, mine)
        assert not workload.owned(session, run_id, mine + 1)
        assert not workload.owned(session, run_id + 1, mine)
