"""Approvers in tests: what they see, what they decide, and a publisher by hand."""

from typing import Any

from backend.queue import leases
from backend.queue.leases import Lease
from backend.workloads.packages.lifecycle import PUBLISHING_QUEUE
from tests.callers import Caller
from tests.integration.packages.house import House

Json = dict[str, Any]

DECIDE = "/api/approver/packages"


def approve(house: House, *packages: Json, by: Caller | None = None, **changes: Any) -> Json:
    """Approve packages as a request's detail shows them."""
    body = {
        "package_ids": [package["id"] for package in packages],
        "verdict_digests": {str(package["id"]): package["verdict_digest"] for package in packages},
        **changes,
    }
    answer = (by or house.people.approver)("POST", f"{DECIDE}/batch-approve", json=body)
    assert answer.status_code == 200, answer.text
    document: Json = answer.get_json()
    return document


def approved(house: House, *packages: Json, by: Caller | None = None) -> None:
    """Approve packages, all of them."""
    answer = approve(house, *packages, by=by)
    assert answer["failed_packages"] == [], answer


def reject(house: House, *ids: int, by: Caller | None = None, **changes: Any) -> Json:
    body = {"package_ids": list(ids), **changes}
    answer = (by or house.people.approver)("POST", f"{DECIDE}/batch-reject", json=body)
    assert answer.status_code == 200, answer.text
    document: Json = answer.get_json()
    return document


def codes(answer: Json) -> dict[int, str]:
    """Why packages were left alone."""
    return {failed["id"]: failed["code"] for failed in answer["failed_packages"]}


def status(house: House, row_id: int) -> str:
    word: str = house.database.one("SELECT status FROM package_status WHERE id = :id", id=row_id)
    return word


def recall(house: House, row_id: int, *, by: Caller | None = None) -> Json:
    answer = (by or house.people.approver)(
        "POST", f"/api/packages/{row_id}/recall", json={"reason": "a backdoor was found"}
    )
    assert answer.status_code == 200, answer.text
    document: Json = answer.get_json()
    return document


def publish(house: House, row_id: int) -> None:
    """Ask for it, and do what the publisher would say of it."""
    answer = house.people.approver("POST", f"{DECIDE}/publish/{row_id}")
    assert answer.status_code == 200, answer.text
    settle(house, claim(house))


def claim(house: House) -> Lease:
    """Hold the one row that is ready to be published."""
    with house.sessions.begin() as session:
        (lease,) = leases.claim(session, PUBLISHING_QUEUE, worker="publisher", limit=2)
    return lease


def settle(house: House, lease: Lease) -> None:
    """The publisher has done what it was to do."""
    with house.sessions.begin() as session:
        assert leases.settle(session, PUBLISHING_QUEUE, [leases.done(lease)]) == set()
