"""Maintenance through the whole house: submitted by an admin, done by a worker."""

import hashlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from backend.audit import archive as archives
from backend.audit import sealing
from backend.audit.verification import verify, verify_file
from backend.audit.walking import Walk
from backend.db import make_engine
from backend.identity import audit
from backend.queue.reporting import reported_to
from backend.workloads.packages.cache import ContentStore
from backend.workloads.tasks.maintenance import relations, reorganising
from backend.workloads.tasks.maintenance.connections import direct
from backend.workloads.tasks.maintenance.offered import retained
from backend.workloads.tasks.maintenance.reorganising import Reorganiser
from backend.workloads.tasks.registry import Asked
from backend.workloads.tasks.tools import Tools
from backend.workloads.tasks.types import maintain_database
from tests.conftest import CreateDatabase
from tests.integration.tasks.task_house import TaskHouse

LOCKED = "somebody had it locked for 2s"
PACKAGE = """
WITH p AS (
  INSERT INTO packages (ecosystem, name, version, purl)
  VALUES ('npm', :name, '1.0.0', '') RETURNING id),
a AS (INSERT INTO artifacts (package_id, sha512) SELECT id, :sha512 FROM p RETURNING id)
INSERT INTO package_status (artifact_id, status, completed_at, failure, failed_from)
SELECT id, :status,
  CASE WHEN :status IN ('Pending Approval', 'Published', 'Recalled', 'Rejected') THEN now() END,
  CASE WHEN :status = 'Rejected' THEN 'policy' END,
  CASE WHEN :status = 'Rejected' THEN 'Requested' END FROM a
"""


@pytest.fixture(scope="module")
def house(
    create_database: CreateDatabase, migrated: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TaskHouse]:
    folder = tmp_path_factory.mktemp("maintained")
    (folder / "archives").mkdir()
    with create_database(migrated) as url, pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(folder))
        engine = make_engine(url, application_name="lockkeeper-tests")
        house = TaskHouse(
            engine,
            DATABASE_URL=url,
            AUDIT_ARCHIVE_DIR=folder / "archives",
            PACKAGE_CACHE_DIR=folder / "cache",
        )
        try:
            yield house
        finally:
            house.close()
            engine.dispose()


def performed(house: TaskHouse, kind: str, **parameters: Any) -> dict[str, Any]:
    """The task as its submitter sees it in the end."""
    admin = house.people.admin
    task_id = house.submitted(admin, kind, parameters=parameters)
    house.work()
    return house.task(admin, task_id)


def result(house: TaskHouse, kind: str, **parameters: Any) -> dict[str, Any]:
    task = performed(house, kind, **parameters)
    assert (task["status"], task["error_message"]) == ("completed", None)
    found: dict[str, Any] = task["result"]
    return found


def seal(house: TaskHouse, *subjects: str, days_ago: int) -> None:
    """Entries, and a seal of that day over all that are there."""
    with house.sessions.begin() as session:
        audit.record_each(session, "test", "thing.done", subjects)
    past = select(func.clock_timestamp() - timedelta(days=days_ago))
    with pytest.MonkeyPatch.context() as patch, house.sessions.begin() as session:
        patch.setattr(sealing, "_NOW", past)
        assert sealing.seal(session, None) is not None


def fault(house: TaskHouse) -> list[str]:
    walk = Walk()
    with house.sessions() as session:
        verify(session, walk)
    return walk.faults


def archive_of(house: TaskHouse, name: str) -> Path:
    root = house.settings.audit_archive_dir
    assert root is not None
    return root / name


def test_the_audit_log_is_archived_verified_and_only_then_removed(
    house: TaskHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal(house, "a:1", "a:2", days_ago=200)
    seal(house, "a:3", days_ago=100)
    before = house.database.rows("SELECT count(*) FROM audit_log")[0][0]

    dry = result(house, "archive_audit_logs", dry_run=True)
    assert (dry["status"], dry["first_seal"], dry["last_seal"]) == ("dry_run", 1, 2)
    assert not list(archive_of(house, "").iterdir())

    # The first attempt dies between the file and the removal; until the next one more is old.
    foreign = archive_of(house, "yearly") / "audit-1-1.jsonl.gz"
    foreign.parent.mkdir()
    foreign.write_bytes(b"of another database")
    with monkeypatch.context() as patch:
        patch.setattr(archives, "remove", lambda *_a, **_k: (_ for _ in ()).throw(OSError(5, "")))
        failed = performed(house, "archive_audit_logs", archive_location="yearly")
    assert failed["error_message"] == "the archive cannot be written: Input/output error"
    assert house.database.rows("SELECT count(*) FROM audit_log")[0][0] >= before
    seal(house, "a:4", days_ago=95)
    house.database.rows("UPDATE tasks SET available_at = now() RETURNING id")
    house.work()
    done = house.task(house.people.admin, failed["task_id"])["result"]

    file = archive_of(house, done["file"])
    assert (done["status"], done["entries"], done["verified"]) == ("archived", dry["entries"], True)
    assert done["file"] == "yearly/audit-1-2.jsonl.gz"
    assert done["size_bytes"] == file.stat().st_size
    assert done["file_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    walk = Walk()
    verify_file(file, walk)
    assert (walk.faults, walk.seals, walk.entries) == ([], 2, dry["entries"])
    left = house.database.rows("SELECT subject FROM audit_log WHERE actor = 'test'")
    assert "a:4" in {row.subject for row in left}
    assert not {"a:1", "a:2", "a:3"} & {row.subject for row in left}
    assert fault(house) == []
    seal(house, "a:5", days_ago=10)
    assert result(house, "archive_audit_logs")["file"] == "audit-3-3.jsonl.gz"
    assert {path.name for path in file.parent.iterdir()} == {foreign.name, file.name}
    assert result(house, "archive_audit_logs")["status"] == "nothing_to_archive"


@pytest.mark.parametrize("location", ["../elsewhere", "/tmp/x", ".", "a/b", "A", "x" * 65, "a\n"])
def test_no_caller_names_a_path(house: TaskHouse, location: str) -> None:
    answer = house.submit(
        house.people.admin, "archive_audit_logs", parameters={"archive_location": location}
    )

    assert answer.status_code == 400
    assert "archive_location" in answer.text


def test_what_cannot_be_archived_says_so_and_removes_nothing(house: TaskHouse) -> None:
    root = archive_of(house, "")
    seal(house, "b:1", days_ago=100)
    head = house.database.rows("SELECT max(id) AS last, min(id) AS first FROM audit_seals")[0]
    taken = root / f"audit-{head.first}-{head.last}.jsonl.gz"
    taken.write_bytes(b"something else")

    refused = performed(house, "archive_audit_logs")

    assert refused["status"] == "failed"
    assert "is there already, and holds something else" in refused["error_message"]
    assert taken.read_bytes() == b"something else"
    assert house.database.rows("SELECT FROM audit_log WHERE subject = 'b:1'")
    taken.unlink()


def entry(house: TaskHouse, status: str, content: bytes) -> Path:
    """Bytes in the cache, a day and an hour old, of a package in this status."""
    store = ContentStore(house.settings.package_cache_dir)
    with store.writer() as writer:
        writer.write(content)
        sha512 = writer.commit()
    values = {"name": f"{status}-{content.decode()}", "sha512": sha512, "status": status}
    with house.engine.begin() as connection:  # without the decisions that lead there
        connection.execute(text("ALTER TABLE package_status DISABLE TRIGGER USER"))
        connection.execute(text(PACKAGE), values)
        connection.execute(text("ALTER TABLE package_status ENABLE TRIGGER USER"))
    return aged(store.path(sha512))


def aged(path: Path, hours: int = 25) -> Path:
    then = time.time() - hours * 3600
    os.utime(path, (then, then))
    return path


def test_no_package_loses_its_bytes_before_it_is_published(house: TaskHouse) -> None:
    published = [entry(house, "Published", b"a" * 100), entry(house, "Recalled", b"b" * 50)]
    waiting = [
        entry(house, status, status.encode())
        for status in ("Requested", "Pending Approval", "Approved", "Rejected")
    ]
    entry(house, "Published", b"shared")
    waiting.append(entry(house, "Approved", b"shared"))
    young = entry(house, "Published", b"young")
    aged(young, hours=1)
    store = ContentStore(house.settings.package_cache_dir)
    with store.writer() as writer:
        writer.write(b"of nobody")
        unknown = aged(store.path(writer.commit()))
    part = store.root / "incoming" / "part-left"
    part.write_bytes(b"1234")
    (store.root / "incoming" / "part-at-work").touch()
    scratch = house.settings.package_cache_dir.parent / "lockkeeper-scan-left"
    scratch.mkdir()
    (scratch / "unpacked").write_bytes(b"12345678")
    (scratch / "link").symlink_to(waiting[0])
    stranger = aged_folder(scratch.parent / "lockkeeper-metrics-alive")
    aged(part)
    aged(scratch)

    dry = result(house, "cleanup_cache", dry_run=True)
    assert all(path.exists() for path in (*published, unknown, part, scratch))
    done = result(house, "cleanup_cache")

    gone = (*published, unknown, part, scratch)
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in (*waiting, young, stranger))
    assert (done["removed"], done["failed"]) == (len(gone), 0)
    assert dry["bytes_removed"] == done["bytes_removed"]
    sizes = {cache["cache"]: cache["bytes_removed"] for cache in done["caches"]}
    assert sizes["packages"] == 100 + 50 + len(b"of nobody")
    assert sizes["unfinished downloads"] == 4
    assert sizes["scratch folders"] >= 8

    assert result(house, "cleanup_cache", cleanup_expired_only=False)["removed"] == 1
    assert not young.exists()
    assert all(path.exists() for path in waiting)


def aged_folder(path: Path) -> Path:
    path.mkdir()
    return aged(path, hours=1000)


def test_rows_go_by_age_in_batches_and_what_is_at_work_stays(
    house: TaskHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = house.people.admin.id
    house.database.rows(
        """INSERT INTO tasks (queue, task_type, status, submitted_by, completed_at)
        SELECT 'default', 'say', CASE WHEN n = 1 THEN 'pending' ELSE 'completed' END, :by,
          CASE WHEN n > 1 THEN now() - n * interval '1 hour' END
        FROM generate_series(1, 2600) n RETURNING id""",
        by=admin,
    )
    house.database.rows(
        """WITH told AS (
          INSERT INTO interactions (user_id, occurred_at, text)
          SELECT :by, now() - interval '9 days', n::text FROM generate_series(1, 3) n
          RETURNING id, text)
        INSERT INTO debts (user_id, interaction_id, kind, severity, sentence, sentence_digest,
          reason, status, resolution_method, resolved_at)
        SELECT :by, id, 'vague', 'low', 'x', sha256('x'), 'r',
          CASE text WHEN '1' THEN 'open' ELSE 'resolved' END,
          CASE text WHEN '1' THEN NULL ELSE 'cited' END,
          CASE text WHEN '1' THEN NULL ELSE now() END
        FROM told WHERE text < '3' RETURNING id""",
        by=admin,
    )
    house.database.rows("UPDATE tasks SET available_at = 'infinity' WHERE status = 'pending'"
                        " RETURNING id")  # fmt: skip
    policy = {"tasks": 2, "interactions": 7, "events": 1}

    dry = result(house, "enforce_retention_policy", policy=policy, dry_run=True)
    with house.engine.connect() as other, other.begin():
        # Somebody retries two of them at this moment.
        locked = "SELECT id FROM tasks WHERE status = 'completed' ORDER BY completed_at LIMIT 2"
        other.execute(text(f"{locked} FOR UPDATE"))
        done = result(house, "enforce_retention_policy", policy=policy)

    by_kind = {kind["kind"]: (kind["old"], kind["deleted"]) for kind in done["kinds"]}
    assert by_kind == {"events": (0, 0), "interactions": (2, 2), "tasks": (2553, 2551)}
    assert [kind["old"] for kind in dry["kinds"]] == [0, 2, 2553]
    assert dry["deleted"] == 0
    left = house.database.rows("SELECT text FROM interactions")
    assert [row.text for row in left] == ["1"]
    assert house.database.rows("SELECT FROM tasks WHERE status = 'pending'")
    noted = house.database.rows(
        "SELECT sum(CAST(detail ->> 'rows' AS int)) AS rows, count(*) AS batches FROM audit_log"
        " WHERE subject = 'rows:tasks'"
    )
    assert tuple(noted[0]) == (2551, 3)


def test_a_batch_that_lasts_keeps_no_claim_waiting(house: TaskHouse) -> None:
    by = house.people.admin.id
    house.database.rows(
        """INSERT INTO tasks
          (queue, task_type, status, submitted_by, completed_at, failure, failed_from)
        SELECT 'default', 'say', 'cancelled', :by, now() - interval '9 days', 'cancelled', 'pending'
        FROM generate_series(1, 500) RETURNING id""",
        by=by,
    )
    waiting = house.submitted(house.people.admin, "cleanup_cache", parameters={"dry_run": True})
    kind = retained()["tasks"]
    with house.sessions.begin() as session:
        before = session.scalars(select(func.now() - timedelta(days=2))).one()
        assert len(kind.delete(session, before, 0, kind.rows)) >= 500
        (lease,) = house.claim()  # it would wait here for ever
        house.finish(lease)

        assert house.task(house.people.admin, waiting)["status"] == "completed"


@pytest.mark.parametrize("policy", [{"audit_log": 90}, {"users": 1}, {"tasks": 0}, {}])
def test_a_policy_names_kinds_that_there_are(house: TaskHouse, policy: dict[str, int]) -> None:
    answer = house.submit(
        house.people.admin, "enforce_retention_policy", parameters={"policy": policy}
    )

    assert answer.status_code == 400


def test_the_database_is_analyzed_vacuumed_and_rebuilt_beside_who_has_a_table_locked(
    house: TaskHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reorganising, "LOCK_TIMEOUT", "20ms")
    monkeypatch.setattr(reorganising, "SMALL", 65536)
    house.database.rows(
        """INSERT INTO ari_snapshots (user_id, metric, value, taken_at)
        SELECT :by, 'm', n, now() - n * interval '1 second' FROM generate_series(1, 4000) n
        RETURNING id""",
        by=house.people.admin.id,
    )
    house.database.rows("DELETE FROM ari_snapshots WHERE value > 100 RETURNING id")
    # What a rebuild that was killed leaves.
    left = "CREATE UNIQUE INDEX CONCURRENTLY ix_left_ccnew ON ari_snapshots (metric)"
    alone = house.engine.execution_options(isolation_level="AUTOCOMMIT")
    with alone.connect() as connection, pytest.raises(IntegrityError):
        connection.exec_driver_sql(left)
    with house.engine.connect() as other, other.begin():
        other.execute(text("LOCK TABLE goals IN SHARE UPDATE EXCLUSIVE MODE"))
        other.execute(text("LOCK TABLE goal_blocks IN ACCESS EXCLUSIVE MODE"))
        done = result(house, "maintain_database", level="heavy")

    assert {skip["statement"]: skip["reason"] for skip in done["skipped"]} == dict.fromkeys(
        ("VACUUM (ANALYZE) goals", "VACUUM (ANALYZE) goal_blocks", "measuring goal_blocks"), LOCKED
    )
    measured = {table["table"]: table for table in done["tables"]}
    snapshots = measured["ari_snapshots"]
    assert snapshots["index_bytes_after"] < snapshots["index_bytes_before"]
    assert done["bytes_after"] < done["bytes_before"]
    ours = house.database.rows(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')"
        " AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'"
    )
    assert set(measured) == {row.relname for row in ours} - {"goal_blocks"}
    assert any(name.startswith("attempts_2") for name in measured)
    assert done["leftovers_dropped"] == ["ix_left_ccnew"]
    assert done["done"]["REINDEX INDEX CONCURRENTLY"] >= 2
    analyzed = "SELECT last_analyze FROM pg_stat_user_tables WHERE relname = 'ari_snapshots'"
    assert house.database.rows(analyzed)[0][0] is not None
    bloat = {one["table"]: one for one in done["bloat"]}
    assert bloat["ari_snapshots"]["basis"] == "estimated"
    assert "goals" in bloat
    assert (bloat["goal_blocks"]["basis"], bloat["goal_blocks"]["reason"]) == (
        "unavailable", LOCKED,
    )  # fmt: skip


def test_a_rebuild_that_a_long_transaction_spoils_is_the_last_one(
    house: TaskHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reorganising, "LOCK_TIMEOUT", "20ms")
    monkeypatch.setattr(reorganising, "SMALL", 0)
    invalid = "SELECT indexrelid::regclass::text AS name FROM pg_index WHERE NOT indisvalid"
    with direct(house.settings) as connection:
        tables = [t for t in relations.tables(connection) if t.name == "reviewed_claims"]
        work = Reorganiser(connection, math.inf)
        with house.engine.connect() as dump:
            dump.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            dump.execute(text("SELECT count(*) FROM reviewed_claims"))
            work.reindex(tables)

        assert [row.name.endswith("_ccnew") for row in house.database.rows(invalid)] == [True]
        assert [why for why in work.skipped.values() if why != LOCKED] == [reorganising.ENOUGH]
        work.reindex(tables)
        assert house.database.rows(invalid) == []
        assert len(work.dropped) == 1
        assert work.done["REINDEX INDEX CONCURRENTLY"] >= 3


class TakenBack:
    """Whose row is cancelled as soon as something is begun that can be interrupted."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def report(self, _percent: int, message: str) -> None:
        self.said.append(message)

    @contextmanager
    def interruptible(self, stop: Callable[[], None]) -> Iterator[None]:
        over = threading.Event()

        def interrupt() -> None:
            while not over.wait(0.01):
                stop()

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def test_a_statement_that_waits_ends_once_its_task_is_cancelled(
    house: TaskHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reorganising, "LOCK_TIMEOUT", "60s")
    asked = Asked(
        row_id=1, task_id="t", task_type="maintain_database", user_id=None, submitted_by=1,
        parameters={"level": "standard"},
    )  # fmt: skip
    began = time.monotonic()
    with house.engine.connect() as other, other.begin(), reported_to(TakenBack()):
        other.execute(text("LOCK TABLE advisories IN SHARE UPDATE EXCLUSIVE MODE"))
        with pytest.raises(DBAPIError, match="canceling statement due to user request"):
            maintain_database.run(asked, Tools(house.settings))

    assert time.monotonic() - began < 2


def test_every_level_can_be_tried_without_doing_it(house: TaskHouse) -> None:
    light = result(house, "maintain_database", dry_run=True)
    standard = result(house, "maintain_database", level="standard", dry_run=True)

    assert set(light["done"]) == {"ANALYZE"}
    assert {"ANALYZE", "VACUUM (ANALYZE)"} <= set(standard["done"])
    assert light["done"]["ANALYZE"] == len(light["tables"])
    assert light["bloat"] is None


def test_maintenance_is_for_admins(house: TaskHouse) -> None:
    for kind in ("archive_audit_logs", "cleanup_cache", "maintain_database"):
        assert house.submit(house.people.approver, kind).status_code == 403
    refused = house.submit(
        house.people.user, "enforce_retention_policy", parameters={"policy": {"tasks": 1}}
    )
    assert refused.status_code == 403
