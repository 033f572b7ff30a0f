"""Approving and recalling rows by statements, as an approver's deed leaves them behind."""

from typing import Any

from backend.queue import control
from backend.workloads.packages.lifecycle import PUBLISHING_QUEUE
from tests.callers import Caller
from tests.integration.packages.house import House

_DECIDE = """
INSERT INTO decisions (artifact_id, decision, decided_by, reason, verdict_digest)
SELECT artifact_id, :decision, :by, :reason, verdict_digest FROM package_status WHERE id = :id
"""
_ENTER = """
UPDATE package_status SET status = 'Approved', recall = :recall, available_at = now(),
  attempts = 0, stalls = 0, step = NULL, completed_at = NULL, failure = NULL, failed_from = NULL,
  error = NULL
WHERE id = :id
"""


def approve(house: House, row_id: int, by: Caller | None = None) -> None:
    """An approver approves the row's verdict as it stands, to be published now."""
    decide(house, row_id, "approve", by=by)
    house.database.run(_ENTER, id=row_id, recall=None)


def recall(house: House, row_id: int, reason: str) -> None:
    """An approver wants a published package back."""
    decide(house, row_id, "recall", reason)
    house.database.run(_ENTER, id=row_id, recall="asked")


def decide(
    house: House, row_id: int, decision: str, reason: str | None = None, by: Caller | None = None
) -> None:
    person = by or house.people.approver
    house.database.run(_DECIDE, id=row_id, decision=decision, by=person.id, reason=reason)


def vetted(house: House, *names: str) -> dict[str, int]:
    """Packages ``1.0.0`` that wait for an approver: row ids by name."""
    found = house.vet(house.lock(*names))["packages"]
    assert {package["status"] for package in found} == {"Pending Approval"}
    return {package["name"]: package["id"] for package in found}


def row(house: House, row_id: int) -> Any:
    (found,) = house.database.rows("SELECT * FROM package_status WHERE id = :id", id=row_id)
    return found


def outcomes(house: House, row_id: int) -> list[str]:
    """Of the attempts to publish it, the oldest first."""
    query = (
        "SELECT outcome FROM attempts WHERE queue = 'package_publisher' AND row_id = :id"
        " ORDER BY id"
    )
    return [outcome for (outcome,) in house.database.rows(query, id=row_id)]


def retry(house: House, row_id: int) -> None:
    """What failed goes back to ``Approved``, as a person's retry does it."""
    with house.sessions.begin() as session:
        assert control.requeue(session, PUBLISHING_QUEUE, [row_id]) == [row_id]


def deeds(house: House, row_id: int) -> list[tuple[str, Any]]:
    """What the publisher did with it, by the audit log."""
    query = (
        "SELECT action, detail FROM audit_log"
        " WHERE actor = 'package_publisher' AND subject = :subject ORDER BY id"
    )
    return [tuple(found) for found in house.database.rows(query, subject=f"package:{row_id}")]
