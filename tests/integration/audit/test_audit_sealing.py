"""The chain: what is committed and final is sealed, once, in one order, whoever runs meanwhile."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from backend.audit import sealing, signing
from backend.audit.model import AuditSeal
from backend.audit.statements import SealStatement
from backend.db import Sessions
from backend.identity import audit
from tests.integration.audit.conftest import Check, Note, Seal, Tamper
from workers.database import Transactions
from workers.sealing import EVERY, Sealer

INSERT = "INSERT INTO audit_log (actor, action, subject, xid) VALUES ('x', 'x.y', 'z:1', {})"
FAR = 2**40  # a transaction's number that no test comes to


def entries_of(seal: AuditSeal | None) -> list[int]:
    assert seal is not None
    return seal.entries


def test_what_is_committed_is_sealed_once_and_its_head_is_signed(note: Note, seal: Seal) -> None:
    note("a:1", "a:2")

    first = seal()
    nothing = seal()
    note("a:3")
    second = seal()

    assert nothing is None
    assert (entries_of(first), entries_of(second)) == ([1, 2], [3])
    assert first is not None
    assert second is not None
    assert (second.id, second.total, second.previous) == (2, 3, first.head)
    assert signing.verifies(SealStatement.of(second))


def test_without_a_key_the_chain_is_unsigned_and_a_chain_all_the_same(
    note: Note, seal: Seal, check: Check
) -> None:
    note("a:1")
    seal(signed=False)

    walk, _ = check(trusted=False)

    assert (walk.faults, walk.entries, walk.signed) == ([], 1, 0)


def test_nothing_is_sealed_past_the_oldest_running_transaction(
    sessions: Sessions, note: Note, seal: Seal
) -> None:
    """The older transaction commits later, with an entry that stands first in the chain."""
    with sessions.begin() as older:
        older.execute(text("SELECT pg_current_xact_id()"))
        note("young:1")
        meanwhile = seal()
        audit.record(older, "test", "thing.done", "old:1")

    made = seal()

    assert meanwhile is None
    with sessions.begin() as session:
        rows = session.execute(text("SELECT id, subject FROM audit_log")).all()
    subjects = dict(map(tuple, rows))
    assert [subjects[one] for one in entries_of(made)] == ["old:1", "young:1"]


def test_of_two_sealers_one_seals(sessions: Sessions, note: Note, seal: Seal) -> None:
    note("a:1")
    with sessions.begin() as session:
        mine = sealing.seal(session, None)
        theirs = seal()

    assert mine is not None
    assert theirs is None


def test_a_backlog_is_sealed_in_parts(note: Note, seal: Seal, check: Check) -> None:
    note(*(f"a:{n}" for n in range(5)))

    parts = [entries_of(seal(limit=2)) for _ in range(3)]

    assert parts == [[1, 2], [3, 4], [5]]
    assert check()[0].faults == []


def test_entries_of_one_transaction_are_not_lost_between_two_seals(
    sessions: Sessions, seal: Seal
) -> None:
    with sessions.begin() as session:
        for n in range(3):
            audit.record(session, "test", "thing.done", f"a:{n}")

    assert [entries_of(seal(limit=2)), entries_of(seal(limit=2))] == [[1, 2], [3]]


def test_every_entry_is_sealed_once_while_many_write(
    sessions: Sessions, seal: Seal, check: Check
) -> None:
    done = threading.Event()

    def write(writer: int) -> None:
        for n in range(20):
            with sessions.begin() as session:
                audit.record(session, "test", "thing.done", f"{writer}:{n}")
                if n % 5 == 0:
                    session.execute(text("SELECT pg_sleep(0.005)"))

    def keep_sealing() -> list[int]:
        sealed: list[int] = []
        last = False
        while not last:
            last = done.is_set()
            if made := seal(limit=7):
                sealed += made.entries
                last = False
        return sealed

    with ThreadPoolExecutor(5) as pool:
        sealers = [pool.submit(keep_sealing) for _ in range(2)]
        list(pool.map(write, range(3)))
        done.set()
        sealed = [one for sealer in sealers for one in sealer.result()]

    walk, left = check()
    assert sorted(sealed) == list(range(1, 61))
    assert (walk.faults, walk.total, left.entries) == ([], 60, 0)


def test_what_a_restored_dump_brings_along_is_sealed_and_hides_nothing_later(
    engine: Engine, note: Note, seal: Seal, check: Check
) -> None:
    """The old server's transactions have numbers that mean nothing here."""
    note("a:1")
    seal()
    with engine.begin() as connection:
        connection.execute(text(INSERT.format(FAR)))

    ordinary, whole = seal(), seal(whole=True)
    note("a:3")
    later = seal()

    assert ordinary is None
    assert (entries_of(whole), entries_of(later)) == ([2], [3])
    assert check()[0].faults == []


def test_a_seal_of_another_server_hides_nothing(
    engine: Engine, note: Note, seal: Seal, tamper: Tamper, check: Check
) -> None:
    """A dump was restored: its last seal ends at a transaction that is still to come."""
    note("a:1")
    seal()
    tamper(f"UPDATE audit_seals SET last_xid = {FAR}")
    note("a:2")

    assert [entries_of(seal()), seal()] == [[2], None]
    note("a:3")
    assert entries_of(seal()) == [3]
    assert check()[0].faults == []


def test_an_entry_with_an_old_number_is_found_by_a_look_at_the_whole(
    engine: Engine, note: Note, seal: Seal
) -> None:
    note("a:1")
    seal()
    with engine.begin() as connection:
        connection.execute(text(INSERT.format(1)))

    assert seal() is None
    assert entries_of(seal(whole=True)) == [2]
    assert seal(whole=True) is None


def test_no_seal_is_stored_that_does_not_follow_the_newest(
    sessions: Sessions, note: Note, seal: Seal
) -> None:
    note("a:1")
    made = seal()
    assert made is not None
    wrong = {
        "id": 3,
        "previous": bytes(32),
        "total": 9,
    }
    for name, value in wrong.items():
        fits = {"id": 2, "previous": made.head, "total": 2} | {name: value}
        with (
            pytest.raises(IntegrityError, match="does not follow the newest"),
            sessions.begin() as session,
        ):
            session.add(
                AuditSeal(
                    entries=[1], last_xid=1, last_id=1, head=bytes(32),
                    sealed_at=made.sealed_at, **fits,
                )
            )  # fmt: skip


def test_a_worker_seals_all_there_is_and_tells_each_head(
    sessions: Sessions, note: Note, capsys: pytest.CaptureFixture[str]
) -> None:
    note("a:1", "a:2")
    sealer = Sealer(transactions=Transactions(sessions, threading.Event()), signer=None)

    pauses = [sealer.turn(), sealer.turn()]

    assert pauses == [EVERY, None]
    with sessions.begin() as session:
        made = sealing.newest(session)
    assert made is not None
    printed = capsys.readouterr()
    assert made.head.hex() in printed.out + printed.err


def test_a_look_tells_whether_there_is_anything_to_seal(
    engine: Engine, sessions: Sessions, note: Note
) -> None:

    def due() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(text(f"SELECT {sealing.DUE}")))

    def sealed() -> None:
        with sessions.begin() as session:
            sealing.seal(session, None)

    looks = [due()]
    for target in ("a:1", "a:2"):
        note(target)
        looks.append(due())
        sealed()
        looks.append(due())
    with sessions() as running:
        audit.record(running, "test", "thing.done", "a:3")
        running.flush()
        looks.append(due())
    assert looks == [False, True, False, True, False, False]


def test_a_look_at_a_long_log_goes_by_its_index(engine: Engine, seal: Seal) -> None:
    with engine.begin() as connection:
        for _ in range(4):
            many = INSERT.format("DEFAULT") + ", ('x', 'x.y', 'z:1', DEFAULT)" * 4999
            connection.exec_driver_sql(many)
    while seal():
        pass
    with engine.connect() as connection:
        connection.execute(text("ANALYZE audit_log"))
        connection.execute(text("SET plan_cache_mode = force_generic_plan"))
        [[plan]] = connection.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) SELECT {sealing.DUE}"))
    nodes = [plan[0]["Plan"]]
    for node in nodes:
        nodes.extend(node.get("Plans", ()))
    of_the_log = [node for node in nodes if node.get("Relation Name") == "audit_log"]
    assert of_the_log
    assert {node["Node Type"] for node in of_the_log} <= {"Index Scan", "Bitmap Heap Scan"}


def test_a_sealer_outlives_a_database_that_refuses(
    engine: Engine, sessions: Sessions, note: Note
) -> None:
    note("a:1")
    sealer = Sealer(transactions=Transactions(sessions, threading.Event()), signer=None)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_seals RENAME TO elsewhere"))

    assert sealer.turn() == EVERY

    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO audit_seals"))
    sealer.turn()
    with sessions.begin() as session:
        assert sealing.newest(session) is not None


def test_a_deed_that_is_undone_leaves_no_entry(engine: Engine, sessions: Sessions) -> None:
    with sessions() as session:
        audit.record(session, "test", "thing.done", "a:1")
        session.rollback()

    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit_log")).scalar() == 0
