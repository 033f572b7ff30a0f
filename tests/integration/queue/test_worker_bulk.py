"""What a child leaves in its folder is stored with the end of its row, or not at all."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.db import Sessions
from backend.queue import leases
from backend.queue.leases import Lease
from backend.queue.pipeline import Isolation, Pipeline, Step
from tests.integration.queue.ledger import Rows
from tests.integration.queue.probe_workload import PARCEL
from workers.database import Transactions
from workers.executor import Ended, Executor
from workers.held import Held
from workers.isolation import Children
from workers.metrics import Metrics


class Asked(BaseModel):
    text: str


class Left(BaseModel):
    name: str


def leave(asked: dict[str, Any]) -> dict[str, str]:
    """The child's part: its working folder is the row's own."""
    Path("left.txt").write_text(asked["text"])
    return {"name": "left.txt"}


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    made = Children(1)
    yield made
    made.close()


@pytest.fixture
def run(sessions: Sessions, children: Children) -> Callable[..., Ended | None]:
    with sessions.begin() as session:
        session.execute(text("CREATE TABLE IF NOT EXISTS left_behind (row_id bigint, said text)"))
        session.execute(text("TRUNCATE left_behind"))

    def _run(lease: Lease, bulk: Callable[..., None] = copied) -> Ended | None:
        step = Step(
            "inspect",
            leave,
            isolation=Isolation.PROCESS,
            result=Left,
            bulk=bulk,
            save=nothing,
        )
        held = Held()
        held.add([lease])
        return Executor(
            Pipeline(queue=PARCEL, steps=(step,), load=lambda _s, _id: Asked(text="found")),
            transactions=Transactions(sessions, threading.Event()),
            held=held, children=children, metrics=Metrics([PARCEL.name], version="1"),
        ).run(lease)  # fmt: skip

    return _run


def copied(session: Session, lease: Lease, left: Left, *, folder: Path) -> None:
    said = (folder / left.name).read_text()
    session.execute(
        text("INSERT INTO left_behind VALUES (:row_id, :said)"), {"row_id": lease.id, "said": said}
    )


def nothing(_session: Session, _lease: Lease, _left: Left) -> None:
    """What is stored is in bulk."""


def stored(sessions: Sessions) -> list[tuple[int, str]]:
    with sessions.begin() as session:
        return [(row.row_id, row.said) for row in session.execute(text("TABLE left_behind"))]


def test_what_the_child_left_is_stored_with_the_end_of_its_row(
    rows: Rows, sessions: Sessions, run: Callable[..., Any]
) -> None:
    row_id = rows.one(PARCEL)
    folders = list[Path]()

    def watched(*what: Any, folder: Path) -> None:
        folders.append(folder)
        copied(*what, folder=folder)

    assert run(rows.claim_one(PARCEL), watched) is None

    assert rows.row(row_id, PARCEL).status == PARCEL.done
    assert stored(sessions) == [(row_id, "found")]
    assert [folder.exists() for folder in folders] == [False]


def test_nothing_is_stored_of_a_row_that_was_taken_back_meanwhile(
    rows: Rows, sessions: Sessions, run: Callable[..., Any]
) -> None:
    row_id = rows.one(PARCEL)

    def reaped(*what: Any, folder: Path) -> None:
        copied(*what, folder=folder)
        rows.expire(row_id, queue=PARCEL)  # would wait for ever, were the row locked
        assert rows.reap(PARCEL)

    assert run(rows.claim_one(PARCEL), reaped) is None

    assert rows.row(row_id, PARCEL).status == PARCEL.ready
    assert stored(sessions) == []


def test_the_lease_is_renewed_while_it_is_stored(
    rows: Rows, sessions: Sessions, run: Callable[..., Any]
) -> None:
    row_id = rows.one(PARCEL)
    lease = rows.claim_one(PARCEL)
    beaten = list[bool]()

    def beating(*what: Any, folder: Path) -> None:
        copied(*what, folder=folder)
        before = rows.row(row_id, PARCEL).heartbeat_at
        with sessions.begin() as session:
            leases.heartbeat(session, PARCEL, [lease])
        beaten.append(rows.row(row_id, PARCEL).heartbeat_at > before)

    run(lease, beating)

    assert beaten == [True]
    assert rows.row(row_id, PARCEL).status == PARCEL.done


def test_what_cannot_be_stored_ends_the_attempt_and_leaves_nothing(
    rows: Rows, sessions: Sessions, run: Callable[..., Any]
) -> None:
    row_id = rows.one(PARCEL)

    def refused(session: Session, lease: Lease, left: Left, *, folder: Path) -> None:
        copied(session, lease, left, folder=folder)
        session.execute(text("SELECT 'nine'::int"))

    ended = run(rows.claim_one(PARCEL), refused)

    assert (ended.settlement.failure, stored(sessions)) == ("permanent", [])
    assert "cannot be stored" in ended.settlement.error
    assert rows.row(row_id, PARCEL).status in PARCEL.held


def test_a_step_that_stores_in_bulk_runs_in_a_process_and_saves() -> None:
    with pytest.raises(ValueError, match="scratch"):
        Step("inspect", leave, bulk=copied, save=nothing)
    with pytest.raises(ValueError, match="save"):
        Step("inspect", leave, isolation=Isolation.PROCESS, result=Left, bulk=copied)
