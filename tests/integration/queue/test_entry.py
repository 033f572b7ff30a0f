"""Rows enter a queue in the caller's transaction, as the queue wants them."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from sqlalchemy import (
    ARRAY,
    Connection,
    Engine,
    Integer,
    Interval,
    LargeBinary,
    Text,
    cast,
    event,
    func,
    literal,
    select,
)
from sqlalchemy.exc import IntegrityError

from backend.autocommit import Autocommit
from backend.db import Sessions
from backend.queue.compiled import element
from backend.queue.entry import enqueue, enqueue_many
from backend.queue.lifecycle import Queue
from tests.integration.queue.ledger import Rows
from tests.integration.queue.probe_workload import ERRAND, PARCEL, PROBE

TOMORROW: Final = datetime.now(UTC) + timedelta(days=1)
AWKWARD: Final = ("", 'a "quoted" one', "back\\slash", "{curly,comma}", "NULL", "it's 100 %s ☃")


def test_a_row_is_ready_as_its_queue_wants_it(rows: Rows, sessions: Sessions) -> None:
    with sessions.begin() as session:
        row_id = enqueue(session, PROBE, payload="p", priority=9)

    row = rows.row(row_id)
    assert (row.status, row.max_attempts, row.priority) == ("waiting", PROBE.max_attempts, 9)
    assert (row.payload, row.attempts, row.lease_token) == ("p", 0, None)
    assert [lease.id for lease in rows.claim()] == [row_id]


def test_rows_come_and_go_with_the_callers_transaction(rows: Rows, engine: Engine) -> None:
    with engine.connect() as connection:
        kept = enqueue(connection, PARCEL)
        connection.commit()
        enqueue(connection, PARCEL)
        enqueue_many(connection, PARCEL, [{"payload": "p"}] * 3)
        connection.rollback()

    assert list(rows.statuses(PARCEL)) == [kept]


def test_ids_are_in_the_order_given_however_many(rows: Rows, sessions: Sessions) -> None:
    payloads = [f"p{n}" for n in range(2000)]
    with sessions.begin() as session:
        ids = enqueue_many(session, PROBE, {"payload": payloads, "priority": 7})
        payload_of = select(PROBE.rows.c.id, PROBE.rows.c.payload)
        found = {row.id: row.payload for row in session.execute(payload_of)}

    assert [found[row_id] for row_id in ids] == payloads
    assert (rows.row(ids[0]).status, rows.row(ids[0]).priority) == ("waiting", 7)


def test_whatever_a_text_says_arrives_as_it_was(rows: Rows, sessions: Sessions) -> None:
    with sessions.begin() as session:
        ids = enqueue_many(session, PARCEL, [{"payload": text} for text in AWKWARD])
        ids.append(enqueue(session, PARCEL, payload=AWKWARD[-1]))

    assert [rows.row(row_id, PARCEL).payload for row_id in ids] == [*AWKWARD, AWKWARD[-1]]


@pytest.mark.parametrize("text", AWKWARD)
def test_a_row_that_enters_alone_is_committed_at_once(
    rows: Rows, engine: Engine, text: str
) -> None:
    alone = Autocommit(engine)
    given = {"payload": text, "priority": 9, "delay": timedelta(hours=1)}
    ids = [enqueue(alone, PARCEL, **given) for _ in range(2)]

    first, second = (rows.row(row_id, PARCEL) for row_id in ids)
    assert first.id != second.id
    assert (first.payload, first.priority, first.status) == (text, 9, PARCEL.ready)
    assert first.available_at - first.created_at == timedelta(hours=1)
    with pytest.raises(ValueError, match="priority"):
        enqueue(alone, PARCEL, priority=11)


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (b"\0\\", LargeBinary),
        (bytearray(b"abc"), LargeBinary),
        (memoryview(b"abc"), LargeBinary),
        ([[1, 2], [3, 4]], ARRAY(Integer)),
        (["a,b", None, '"', "NULL"], ARRAY(Text)),
        (timedelta(days=-1, seconds=5, microseconds=3), Interval),
    ],
)
def test_whatever_a_value_is_it_arrives_as_it_was(engine: Engine, value: Any, type_: Any) -> None:
    array = cast(literal("{" + element(value) + "}", Text()), ARRAY(Text))
    given = select(cast(func.unnest(array), type_))
    with engine.connect() as connection:
        arrived = connection.scalar(given)

    assert arrived == (bytes(value) if type_ is LargeBinary else value)


def test_one_statement_brings_them_all(engine: Engine) -> None:
    sent: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _u, said, *_: sent.append(said))
    with engine.begin() as connection:
        enqueue_many(connection, PARCEL, [{}] * 5000)

    assert len(sent) == 1


def test_a_delay_and_a_time_hold_rows_back(rows: Rows, sessions: Sessions) -> None:
    with sessions.begin() as session:
        delays = [timedelta(days=1, seconds=5), timedelta(), timedelta(seconds=-1.5)]
        later, *soon = enqueue_many(session, PARCEL, {"delay": delays})
        delayed = enqueue(session, PARCEL, delay=timedelta(days=1, seconds=5))
        on_time = enqueue_many(session, PARCEL, {"available_at": [TOMORROW]})[0]
        enqueue(session, PARCEL, available_at=TOMORROW)

    assert {lease.id for lease in rows.claim(PARCEL)} == set(soon)
    for row_id in (later, delayed):
        row = rows.row(row_id, PARCEL)
        assert row.available_at - row.created_at == delays[0]
    assert rows.row(on_time, PARCEL).available_at == TOMORROW


def test_a_row_of_a_fair_and_partitioned_queue_has_its_lane(rows: Rows, sessions: Sessions) -> None:
    with sessions.begin() as session:
        first = enqueue(session, ERRAND, partition="beta", fairness_key="ada")
        lanes = {"partition": ["alpha", "beta"], "fairness_key": ["ada", 'o"b']}
        second, third = enqueue_many(session, ERRAND, lanes)

    found = [rows.row(row_id, ERRAND) for row_id in (first, second, third)]
    assert [(row.queue, row.fairness_key) for row in found] == [
        ("beta", "ada"), ("alpha", "ada"), ("beta", 'o"b'),
    ]  # fmt: skip


WRONG: Final[dict[str, tuple[Queue, dict[str, Any], str]]] = {
    "an unknown column": (PROBE, {"colour": "red"}, "no column 'colour'"),
    "a column of the engine": (PROBE, {"status": "finished"}, "no column 'status'"),
    "another queue's column": (PROBE, {"fairness_key": "ada"}, "no column 'fairness_key'"),
    "a partition of none": (PROBE, {"partition": "alpha"}, "no column 'partition'"),
    "a wrong partition": (ERRAND, {"partition": "gamma"}, "one of alpha, beta, not 'gamma'"),
    "no partition": (ERRAND, {}, "partition is wanting"),
    "too low a priority": (PROBE, {"priority": 0}, "1 to 10, not 0"),
    "too high a priority": (PROBE, {"priority": 11}, "1 to 10, not 11"),
    "no priority": (PROBE, {"priority": None}, "1 to 10, not None"),
    "a time of nowhere": (PROBE, {"available_at": TOMORROW.replace(tzinfo=None)}, "time zone"),
    "a bare number": (PROBE, {"delay": 5}, "a timedelta, not 5"),
    "two times": (PROBE, {"delay": timedelta(), "available_at": TOMORROW}, "not both"),
}


def test_what_a_queue_does_not_take_is_refused_in_one_line(engine: Engine) -> None:
    with engine.connect() as connection:
        for queue, columns, said in WRONG.values():
            with pytest.raises(ValueError, match=said) as singly:
                enqueue(connection, queue, **columns)
            with pytest.raises(ValueError, match=said) as together:
                enqueue_many(connection, queue, [columns])
            assert "\n" not in f"{singly.value}{together.value}"
        assert not connection.in_transaction()  # the database was not asked


def test_many_rows_must_be_of_one_shape(engine: Engine) -> None:
    wrong: dict[str, Any] = {
        "payload 2, priority 1": {"payload": ["a", "b"], "priority": [1]},
        "how many rows": {"payload": "a"},
        "row 1 has other columns": [{"payload": "a"}, {"priority": 1}],
        "1 to 10, not 12": {"payload": ["a", "b"], "priority": [1, 12]},
    }
    with engine.connect() as connection:
        for said, given in wrong.items():
            with pytest.raises(ValueError, match=said):
                enqueue_many(connection, PROBE, given)
        assert enqueue_many(connection, PROBE, []) == []
        assert enqueue_many(connection, PROBE, {"payload": []}) == []
        assert not connection.in_transaction()


def test_a_value_that_the_database_refuses_leaves_nothing_behind(
    rows: Rows, engine: Engine
) -> None:
    def enter(connection: Connection, queue: Queue, payload: str | None) -> None:
        enqueue_many(connection, queue, {"payload": ["fine", payload]})

    for payload, error in ((None, IntegrityError), ("a\0b", ValueError)):
        with pytest.raises(error), engine.begin() as connection:
            enter(connection, PARCEL, payload)

    assert rows.statuses(PARCEL) == {}
