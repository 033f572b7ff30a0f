"""What the doctor finds: each thing is made to go wrong for real; a healthy database has nothing.

Where that can be, it is broken in the examination's own transaction, and undone with it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from sqlalchemy import Engine, NullPool, create_engine, insert, text
from sqlalchemy.exc import DBAPIError, InternalError
from sqlalchemy.orm import Session

from backend.db import Base, Sessions
from backend.migrations.run import head
from backend.queue import control, leases
from backend.queue.attempts import Attempt
from backend.queue.doctor import CHECKS, Finding, Limits, Release, examine
from backend.queue.fleet import Worker
from backend.queue.lifecycle import Queue
from backend.queue.retry import Permanent, Transient
from tests.conftest import CreateDatabase
from tests.integration.queue.ledger import Rows, ago, eventually
from tests.integration.queue.probe_workload import ERRAND, PARCEL, PROBE, PUBLISH

QUEUES = (PROBE, PUBLISH, ERRAND, PARCEL)
MOMENT = timedelta(milliseconds=100)


@pytest.fixture
def release(engine: Engine) -> Release:
    """This release with the probe workload; other tests may have declared further tables."""
    names = text("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    with engine.connect() as connection:
        there = set(connection.scalars(names))
    tables = [table for table in Base.metadata.sorted_tables if table.name in there]
    return Release(version="1", revision=head(), tables=tables)


@pytest.fixture
def examined(sessions: Sessions, release: Release) -> Callable[..., list[Finding]]:
    """What is found in a transaction that begins with ``statements`` and is then undone."""

    def examining(*statements: Any, **limits: Any) -> list[Finding]:
        with sessions() as session:
            for statement in statements:
                session.execute(text(statement) if isinstance(statement, str) else statement)
            found = examine(session, QUEUES, release=release, limits=Limits(**limits))
            session.rollback()
        return found

    return examining


Examined = Callable[..., list[Finding]]


def only(found: list[Finding], severity: str, code: str) -> Finding:
    """The finding; there is no other."""
    assert [(one.severity, one.code) for one in found] == [(severity, code)], found
    assert found[0].sentence.endswith(".")
    return found[0]


@pytest.fixture
def worker(sessions: Sessions) -> Callable[..., None]:
    def work(name: str = "w", *queues: Queue, **values: Any) -> None:
        row = {"version": "1", "queues": [queue.name for queue in queues or QUEUES], **values}
        with sessions.begin() as session:
            session.execute(insert(Worker).values(name=name, hostname="h", pid=1, **row))

    return work


# --- nothing to find -----------------------------------------------------------------------------


def test_a_healthy_database_that_has_seen_everything_has_no_finding(
    rows: Rows, sessions: Sessions, examined: Examined, worker: Any
) -> None:
    worker()
    rows.add(count=8)
    rows.add(ERRAND, 2)
    cancelled, done, failed, retried, snoozed, stalled, *_held = rows.claim(limit=7)
    with sessions.begin() as session:
        done = leases.commit(session, done)
        control.cancel(session, PROBE, [cancelled.id], why="not wanted")
    rows.settle(
        leases.done(done),
        leases.after_error(failed, Permanent("no")),
        leases.after_error(retried, Transient("not now")),
        leases.snoozed(snoozed, timedelta(seconds=1), "later"),
    )
    rows.expire(stalled.id)
    rows.reap()
    with sessions.begin() as session:
        control.requeue(session, PROBE, [failed.id])

    assert examined() == []


def test_an_examination_writes_nothing(sessions: Sessions, release: Release) -> None:
    with sessions() as session:
        examine(session, QUEUES, release=release)
        with pytest.raises(InternalError, match="read-only transaction"):
            session.execute(insert(PARCEL.rows).values(status="packed"))


def test_without_a_release_the_queues_own_tables_are_compared(sessions: Sessions) -> None:
    with sessions() as session:
        session.execute(text("DROP INDEX ix_probe_held; DROP INDEX ix_users_active_admins"))
        found = examine(session, QUEUES)
        session.rollback()

    assert only(found, "error", "index-missing").facts["index"] == "ix_probe_held"


# --- schema --------------------------------------------------------------------------------------


def test_a_database_without_a_schema_says_so_and_what_could_not_be_checked(
    empty_database_url: str, release: Release
) -> None:
    engine = create_engine(empty_database_url, poolclass=NullPool)
    with Session(engine) as session:
        found = examine(session, QUEUES, release=release)

    assert (found[0].severity, found[0].code) == ("error", "schema-missing")
    assert {one.code for one in found[1:]} == {"not-checked"}


@pytest.mark.parametrize(
    ("revision", "severity", "code"),
    [("0000", "error", "schema-old"), ("9999", "warning", "schema-new")],
)
def test_a_schema_of_another_release(
    examined: Examined, revision: str, severity: str, code: str
) -> None:
    found = examined(
        f"UPDATE alembic_version SET version_num = '{revision}'", "DROP INDEX ix_probe_held"
    )

    assert only(found, severity, code).facts == {"found": revision, "needed": head()}


def test_a_table_that_is_missing(examined: Examined) -> None:
    found = examined("DROP TABLE probe_effects")

    assert only(found, "error", "table-missing").facts == {"table": "probe_effects"}


DROP = "ALTER TABLE probe DROP CONSTRAINT ck_probe_priority"
ADD = "ALTER TABLE probe ADD CONSTRAINT ck_probe_priority CHECK"


@pytest.mark.parametrize(
    ("statements", "code"),
    [
        ([DROP], "constraint-missing"),
        ([DROP, f"{ADD} (priority BETWEEN 1 AND 10) NOT VALID"], "constraint-not-valid"),
        ([DROP, f"{ADD} (priority BETWEEN 0 AND 99)"], "constraint-differs"),
        (["ALTER TABLE api_keys DROP CONSTRAINT uq_api_keys_sha256"], "constraint-missing"),
    ],
)
def test_a_constraint_that_is_missing_not_validated_or_another_one(
    examined: Examined, statements: list[str], code: str
) -> None:
    assert only(examined(*statements), "error", code)


BROKEN = "INSERT INTO probe (status, completed_at, failure, failed_from)"


@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        ("lease", "INSERT INTO probe (status) VALUES ('working')"),
        ("lease", "INSERT INTO probe (status, leased_by) VALUES ('waiting', 'w')"),
        ("failure", "INSERT INTO probe (status, completed_at) VALUES ('broken', now())"),
        ("failure", "INSERT INTO probe (status, failure) VALUES ('waiting', 'poison')"),
        ("failure_word", f"{BROKEN} VALUES ('broken', now(), 'bad luck', 'waiting')"),
        ("status", "INSERT INTO probe (status) VALUES ('pickled')"),
        ("completed", "INSERT INTO probe (status) VALUES ('finished')"),
        ("counters", "INSERT INTO probe (status, attempts) VALUES ('waiting', -1)"),
    ],
)
def test_rows_that_break_an_invariant_once_its_constraint_is_gone(
    examined: Examined, rule: str, broken: str
) -> None:
    found = examined(f"ALTER TABLE probe DROP CONSTRAINT ck_probe_{rule}", broken)

    missing, violated = found
    assert (missing.code, violated.code) == ("constraint-missing", "rows-break-rule")
    assert violated.severity == "error"
    assert violated.facts["constraint"] == f"ck_probe_{rule}"
    assert violated.facts["ids"] == [1]


DROP_HELD = "DROP INDEX ix_probe_held"
HELD = "WHERE status IN ('working', 'halfway', 'finishing', 'publishing')"


@pytest.mark.parametrize(
    ("statements", "code"),
    [
        (["DROP INDEX ix_probe_probe_ready"], "index-missing"),
        ([DROP_HELD, f"CREATE INDEX ix_probe_held ON probe (status) {HELD}"], "index-differs"),
        ([DROP_HELD, "CREATE INDEX ix_probe_held ON probe (id)"], "index-differs"),
        ([DROP_HELD, f"CREATE INDEX ix_probe_held ON probe (id) {HELD}"], None),
    ],
)
def test_an_index_that_is_missing_or_another_one(
    examined: Examined, statements: list[str], code: str | None
) -> None:
    found = examined(*statements)

    assert [(one.code, one.facts["table"]) for one in found] == ([(code, "probe")] if code else [])


def test_what_the_doctor_says_of_a_missing_index_makes_it_again(examined: Examined) -> None:
    dropped = "DROP INDEX ix_probe_probe_ready"

    missing = only(examined(dropped), "error", "index-missing")
    statement = missing.sentence.split("`")[1]

    assert statement.startswith("CREATE INDEX CONCURRENTLY ix_probe_probe_ready ON probe (")
    assert examined(dropped, statement.replace(" CONCURRENTLY", "")) == []


def test_an_index_whose_making_did_not_finish(
    create_database: CreateDatabase, migrated: str
) -> None:
    with create_database(migrated) as url:
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("INSERT INTO rate_limits VALUES ('a', now()), ('b', now())"))
            connection.execute(text("UPDATE rate_limits SET empty_at = now()"))
            connection.execute(text("DROP INDEX ix_rate_limits_empty_at"))
            for name in ("ix_rate_limits_empty_at", "left_over"):
                with pytest.raises(DBAPIError, match="duplicate"):
                    connection.execute(
                        text(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON rate_limits (empty_at)")
                    )
            tables = [Base.metadata.tables["rate_limits"]]
            known = Release(version="1", revision=head(), tables=tables)
        with Session(engine.execution_options(isolation_level="READ COMMITTED")) as session:
            found = examine(session, (), release=known)

    assert [(one.severity, one.code, one.facts["index"]) for one in found] == [
        ("error", "index-invalid", "ix_rate_limits_empty_at"),
        ("warning", "index-invalid", "left_over"),
    ]


# --- rows and history ----------------------------------------------------------------------------


def test_held_rows_that_nobody_took_back(rows: Rows, examined: Examined, worker: Any) -> None:
    worker()
    rows.add(count=7)
    for lease in rows.claim():
        rows.change(lease.id, lease_expires_at=ago("1 hour"))

    found = only(examined(reaped_within=MOMENT), "error", "stuck-lease")

    assert (found.facts["rows"], found.facts["ids"]) == (7, [1, 2, 3, 4, 5])
    assert "7 rows of probe (1, 2, 3, 4, 5 and more)" in found.sentence


def test_held_rows_that_cannot_be_taken_back_because_somebody_has_them_locked(
    rows: Rows, examined: Examined, worker: Any, engine: Engine
) -> None:
    worker()
    rows.add(count=2)
    for lease in rows.claim():
        rows.change(lease.id, lease_expires_at=ago("1 hour"))
    with engine.begin() as other:
        pid = other.scalar(text("SELECT pg_backend_pid() FROM probe WHERE id = 2 FOR UPDATE"))
        assert [reaped.id for reaped in rows.reap()] == [1]
        found = only(examined(reaped_within=MOMENT), "error", "blocked")

    assert (found.facts["ids"], found.facts["pids"]) == ([2], [pid])
    assert f"pg_terminate_backend({pid})" in found.sentence


def test_rows_of_living_workers_without_progress(
    rows: Rows, examined: Examined, worker: Any
) -> None:
    worker()
    row_id = rows.one()
    rows.claim_one()
    rows.change(row_id, progressed_at=ago("2 hours"))

    found = only(examined(), "warning", "no-progress")

    assert (found.facts["ids"], found.facts["worker"]) == ([row_id], "w")


@pytest.mark.parametrize("registered", [True, False])
def test_a_lost_worker_that_still_holds_rows(
    rows: Rows, examined: Examined, worker: Any, registered: bool
) -> None:
    if registered:
        worker("w", heartbeat_at=ago("1 minute"))
    rows.add(count=2)
    for lease in rows.claim():
        rows.change(lease.id, heartbeat_at=ago("20 seconds"))

    found = only(examined(), "warning", "dead-worker-holds")

    assert (found.facts["worker"], found.facts["rows"]) == ("w", 2)


@pytest.mark.parametrize("priority", [1, 10])
def test_a_ready_row_with_no_attempt_left_is_found_at_either_end_of_its_lanes(
    rows: Rows, examined: Examined, worker: Any, priority: int
) -> None:
    worker()
    rows.add(count=20)
    row_id = rows.one(attempts=4, max_attempts=4, priority=priority)

    assert only(examined(rows=5), "error", "attempts-exceeded").facts["ids"] == [row_id]


def test_a_held_row_with_more_attempts_than_it_may_have(
    rows: Rows, examined: Examined, worker: Any
) -> None:
    worker()
    row_id = rows.one()
    rows.claim_one()
    rows.change(row_id, attempts=5)

    assert only(examined(), "error", "attempts-exceeded").facts["ids"] == [row_id]


def line(row_id: int, began: str, ended: str, **values: Any) -> Any:
    row = {"queue": "probe", "row_id": row_id, "token": uuid4(), "attempt": 1, "outcome": "done"}
    times = {"started_at": ago(began), "ended_at": ago(ended)}
    return insert(Attempt).values(**{**row, **times, **values})


def test_an_attempt_with_two_lines_of_history(examined: Examined) -> None:
    token = uuid4()
    lines = [
        line(7, "9 minutes", "8 minutes", token=token),
        line(7, "7 minutes", "6 minutes", token=token),
        line(8, "7 minutes", "6 minutes", token=token),  # one token a batch
    ]

    found = only(examined(*lines), "error", "attempt-told-twice")

    assert found.facts == {"queue": "probe", "id": 7, "lines": 2}


def test_two_attempts_at_one_row_that_overlap(examined: Examined) -> None:
    lines = [
        line(7, "9 minutes", "5 minutes"),
        line(7, "6 minutes", "4 minutes"),
        line(8, "9 minutes", "5 minutes"),
        line(8, "5 minutes", "4 minutes"),
    ]

    assert only(examined(*lines), "error", "attempts-overlap").facts["id"] == 7


@pytest.mark.parametrize("failure", [None, "poison"])
def test_a_row_that_ended_without_a_line_of_history(
    rows: Rows, examined: Examined, worker: Any, failure: str | None
) -> None:
    worker()
    rows.add(count=2)
    told, untold = rows.claim()
    end = leases.failed(told, failure, "x") if failure else leases.done(told)
    rows.settle(end)
    rows.change(
        untold.id, status=end.status, failure=failure, failed_from="waiting" if failure else None,
        completed_at=ago("1 second"), lease_token=None, leased_by=None, lease_expires_at=None,
        heartbeat_at=None,
    )  # fmt: skip

    assert only(examined(), "error", "history-missing").facts["ids"] == [untold.id]


# --- queues and workers --------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["nobody", "lost", "draining", "elsewhere"])
def test_due_rows_and_no_live_worker_that_claims(
    rows: Rows, examined: Examined, worker: Any, there: str
) -> None:
    match there:
        case "lost":
            worker(heartbeat_at=ago("1 minute"))
        case "draining":
            worker(draining=True)
        case "elsewhere":
            worker("w", PARCEL)
    rows.add(count=2, available_at=ago("3 minutes"))
    rows.one(PUBLISH)  # due for a moment only
    rows.one(ERRAND, available_at=ago("-3 minutes"))

    found = only(examined(), "error", "no-worker")

    assert (found.facts["queue"], found.facts["workers"]) == ("probe", 0)


@pytest.mark.parametrize(
    ("queue", "values"),
    [(PROBE, {}), (PROBE, {"stalls": 2}), (ERRAND, {"queue": "beta", "fairness_key": "k"})],
)
def test_a_queue_with_live_workers_that_stands_still(
    rows: Rows, examined: Examined, worker: Any, queue: Queue, values: dict[str, Any]
) -> None:
    worker()
    rows.one(queue, available_at=ago("10 minutes"), **values)

    found = only(examined(), "error", "queue-stands-still")

    assert (found.facts["queue"], found.facts["workers"]) == (queue.name, 1)


@pytest.mark.parametrize("partition", ["", "beta"])
def test_a_paused_queue_may_stand_still(
    rows: Rows, examined: Examined, worker: Any, sessions: Sessions, partition: str
) -> None:
    worker()
    rows.one(ERRAND, available_at=ago("10 minutes"), queue="beta")
    rows.one(ERRAND, available_at=ago("10 minutes"), queue="beta", stalls=2)
    with sessions.begin() as session:
        control.pause(session, ERRAND, by="anna", partition=partition)

    assert examined() == []


def test_a_queue_that_moves_but_not_fast_enough(
    rows: Rows, examined: Examined, worker: Any
) -> None:
    worker()
    rows.add(count=2, available_at=ago("2 hours"))
    rows.settle(leases.done(rows.claim_one()))

    assert only(examined(), "warning", "long-wait").facts["queue"] == "probe"


def test_a_worker_of_another_version(examined: Examined, worker: Any) -> None:
    worker("same")
    worker("old", version="0.9")
    worker("old and gone", version="0.8", heartbeat_at=ago("1 hour"))

    assert only(examined(), "warning", "worker-version").facts["workers"] == {"old": "0.9"}


# --- the server ----------------------------------------------------------------------------------


@contextmanager
def open_transaction(url: str, isolation: str) -> Iterator[int]:
    """Another program's, which has read something and then does nothing; its process id."""
    plain = url.replace("+psycopg2", "")
    connection = psycopg2.connect(plain, application_name="a forgotten shell")
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
            cursor.execute("SELECT pg_backend_pid() FROM workers UNION SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone() or (0,)
        yield pid
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("isolation", "code"),
    [("REPEATABLE READ", "pinned-horizon"), ("READ COMMITTED", "long-transaction")],
)
def test_a_long_transaction_is_found_with_its_culprit(
    examined: Examined, database_url: str, isolation: str, code: str
) -> None:
    with open_transaction(database_url, isolation) as pid:
        assert examined() == []
        found = only(examined(transaction=timedelta(0)), "warning", code)

    facts = found.facts
    assert (facts["pid"], facts["application"]) == (pid, "a forgotten shell")
    assert (facts["user"], facts["state"]) == ("lockkeeper", "idle in transaction")
    assert facts["query_start"] >= facts["since"]
    assert f"pg_terminate_backend({pid})" in found.sentence


def test_an_old_postgresql(examined: Examined) -> None:
    assert only(examined(postgresql=99), "error", "postgresql-old")


def test_connections_that_run_out(examined: Examined) -> None:
    assert only(examined(connections=0.0), "warning", "connections-low").facts["connections"] >= 1


def test_a_table_full_of_dead_rows(rows: Rows, engine: Engine, examined: Examined) -> None:
    rows.add(PARCEL, 50)
    with engine.begin() as connection:
        connection.execute(text("UPDATE parcel SET priority = 6"))
        connection.execute(text("SELECT pg_stat_force_next_flush()"))

    found = eventually(lambda: examined(dead=10, dead_share=0.5))

    facts = only(found, "warning", "dead-tuples").facts
    assert (facts["table"], facts["vacuumed_at"], facts["autovacuum"]) == ("parcel", None, False)
    assert facts["dead"] >= 50


def test_a_bloated_index_is_estimated(rows: Rows, engine: Engine, examined: Examined) -> None:
    fill = "INSERT INTO parcel (status) SELECT 'packed' FROM generate_series(1, 5000)"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in (fill, "DELETE FROM parcel WHERE id % 100 > 0", "VACUUM parcel"):
            connection.execute(text(statement))
        parcel_indexes = {
            one.facts["index"]
            for one in examined(bloat=100_000, bloat_ratio=4.0)
            if one.code == "index-bloat" and "an estimate" in one.sentence
        }
        connection.execute(text("REINDEX TABLE parcel"))
        after = examined(bloat=100_000, bloat_ratio=4.0)

    assert parcel_indexes == {"pk_parcel", "ix_parcel_parcel_ready"}
    assert "index-bloat" not in {one.code for one in after}


# --- what cannot be asked ------------------------------------------------------------------------


def test_a_question_that_takes_too_long_is_given_up_and_said_to_be(
    examined: Examined, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE workers IN ACCESS EXCLUSIVE MODE"))
        found = examined(statement=timedelta(milliseconds=300))

    unchecked = {one.facts["check"] for one in found}
    assert {one.code for one in found} == {"not-checked"}
    assert "versions of the workers" in unchecked
    assert unchecked < set(CHECKS)


def test_a_lost_connection_is_no_finding(sessions: Sessions, engine: Engine) -> None:
    with sessions() as session:
        pid = session.scalar(text("SELECT pg_backend_pid()"))
        with engine.begin() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        with pytest.raises(DBAPIError):
            examine(session, QUEUES)
