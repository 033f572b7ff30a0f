"""Illegal states cannot be stored, whoever writes them."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tests.integration.queue.ledger import Rows
from tests.integration.queue.probe_workload import ERRAND

STATES = {"ready": "waiting", "held": "working", "done": "finished", "failed": "broken"}


def in_state(rows: Rows, state: str) -> int:
    """A legal row in ``state``."""
    row_id = rows.one()
    held = {
        "status": "working", "lease_token": text("gen_random_uuid()"), "leased_by": "w",
        "lease_expires_at": text("now()"), "heartbeat_at": text("now()"),
    }  # fmt: skip
    failed = {
        "status": "broken", "failure": "permanent", "failed_from": "waiting",
        "completed_at": text("now()"),
    }  # fmt: skip
    values: dict[str, dict[str, Any]] = {
        "ready": {"status": "waiting"},
        "held": held,
        "done": {"status": "finished", "completed_at": text("now()")},
        "failed": failed,
    }
    rows.change(row_id, **values[state])
    return row_id


@pytest.mark.parametrize(
    ("state", "assignment"),
    [
        ("ready", "status = 'unheard of'"),
        ("ready", "status = 'working'"),
        ("ready", "status = 'broken'"),
        ("ready", "status = 'finished'"),
        ("ready", "status = NULL"),
        ("ready", "lease_token = gen_random_uuid()"),
        ("ready", "leased_by = 'w'"),
        ("ready", "lease_expires_at = now()"),
        ("ready", "heartbeat_at = now()"),
        ("ready", "failure = 'permanent'"),
        ("ready", "failed_from = 'waiting'"),
        ("ready", "completed_at = now()"),
        ("ready", "priority = 11"),
        ("ready", "priority = 0"),
        ("ready", "priority = NULL"),
        ("ready", "attempts = -1"),
        ("ready", "stalls = -1"),
        ("ready", "rewinds = -1"),
        ("ready", "max_attempts = 0"),
        ("ready", "available_at = NULL"),
        ("held", "lease_token = NULL"),
        ("held", "leased_by = NULL"),
        ("held", "lease_expires_at = NULL"),
        ("held", "heartbeat_at = NULL"),
        ("held", "status = 'waiting'"),
        ("held", "status = 'finished', completed_at = now()"),
        ("held", "failure = 'permanent', failed_from = 'waiting'"),
        ("held", "completed_at = now()"),
        ("done", "completed_at = NULL"),
        ("done", "status = 'waiting'"),
        ("done", "failure = 'permanent', failed_from = 'waiting'"),
        ("failed", "failure = NULL"),
        ("failed", "failed_from = NULL"),
        ("failed", "failure = 'bad luck'"),
        ("failed", "failed_from = 'finished'"),
        ("failed", "completed_at = NULL"),
        ("failed", "status = 'waiting'"),
        ("failed", "failure = NULL, failed_from = NULL"),
    ],
)
def test_an_illegal_state_cannot_be_stored(rows: Rows, state: str, assignment: str) -> None:
    row_id = in_state(rows, state)

    with pytest.raises(IntegrityError), rows.sessions.begin() as session:
        session.execute(text(f"UPDATE probe SET {assignment} WHERE id = :id"), {"id": row_id})

    assert rows.row(row_id).status == STATES[state]


@pytest.mark.parametrize("partition", ["gamma", None])
def test_a_partition_that_no_queue_names_cannot_be_stored(
    rows: Rows, partition: str | None
) -> None:
    with pytest.raises(IntegrityError):
        rows.one(ERRAND, queue=partition)


def test_history_knows_the_engines_outcomes_only(rows: Rows) -> None:
    with pytest.raises(IntegrityError), rows.sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO attempts (queue, row_id, attempt, outcome, ended_at)"
                " VALUES ('probe', 1, 1, 'vanished', now())"
            )
        )


def test_every_word_of_both_queues_of_a_table_may_be_stored(rows: Rows) -> None:
    for status in ("waiting", "approved"):
        assert rows.row(rows.one(status=status)).status == status
    for status in ("finished", "published", "shelved"):
        assert rows.row(rows.one(status=status, completed_at=text("now()"))).status == status
