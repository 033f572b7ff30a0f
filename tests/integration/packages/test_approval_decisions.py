"""Approve and reject: who may, what they saw, and once for every request."""

from functools import partial
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from backend.identity.roles import Role
from tests.callers import Caller
from tests.integration.packages.deciding import (
    DECIDE,
    approve,
    approved,
    codes,
    publish,
    reject,
    status,
)
from tests.integration.packages.house import House, lock_of
from tests.integration.packages.test_submission_races import together


def test_an_approved_package_is_decided_once_and_every_request_sees_it(house: House) -> None:
    lock = house.lock("left", "right")
    first = house.vet(lock)
    second = house.submit({**lock, "name": "other-shop"}, by=house.people.other)
    left, right = first["packages"]

    answer = approve(house, left, right, reason="looked at both")

    assert answer["approved_count"] == answer["total_requested"] == 2
    assert (answer["package_ids"], answer["failed_packages"]) == ([left["id"], right["id"]], [])
    for request_id in (first["request"]["id"], second):
        detail = house.detail(request_id)
        assert detail["request"]["status"] == "approved"
        assert {package["status"] for package in detail["packages"]} == {"Approved"}
        assert {package["available_at"] for package in detail["packages"]} == {None}
    decisions = house.database.rows(
        "SELECT decision, decided_by, reason, verdict_digest FROM decisions ORDER BY id"
    )
    carol = house.people.approver.id
    assert decisions == [
        ("approve", carol, "looked at both", package["verdict_digest"]) for package in (left, right)
    ]
    deeds = house.database.rows("SELECT subject FROM audit_log WHERE action = 'package.approved'")
    assert sorted(subject for (subject,) in deeds) == [f"package:{p['id']}" for p in (left, right)]


def test_nobody_decides_about_what_they_requested_in_any_request(house: House) -> None:
    carol, dora = house.people.approver, house.people("dora", Role.APPROVER)
    lock = house.lock("left", "right")
    left, right = house.vet(lock, by=carol)["packages"]
    house.submit(lock_of({"right": lock["packages"]["node_modules/right"]}), by=dora)

    assert codes(approve(house, left, right, by=carol)) == {
        left["id"]: "four-eyes", right["id"]: "four-eyes"
    }  # fmt: skip
    assert codes(reject(house, left["id"], by=carol)) == {left["id"]: "four-eyes"}
    by_dora = approve(house, left, right, by=dora)

    assert by_dora["package_ids"] == [left["id"]]
    assert codes(by_dora) == {right["id"]: "four-eyes"}
    assert (status(house, left["id"]), status(house, right["id"])) == (
        "Approved",
        "Pending Approval",
    )
    shown = dora("GET", f"{DECIDE}/validated").get_json()["packages"]
    assert [(package["id"], package["own"]) for package in shown] == [(right["id"], True)]


def test_an_approval_names_the_verdict_that_was_seen(house: House) -> None:
    lock = house.lock("left", "right")
    left, right = house.vet(lock)["packages"]
    digests = {str(left["id"]): "0" * 64}

    answer = approve(house, left, right, verdict_digests=digests)

    assert codes(answer) == {left["id"]: "verdict-changed", right["id"]: "verdict-changed"}
    assert answer["approved_count"] == 0
    assert house.database.one("SELECT count(*) FROM decisions") == 0
    # An older release had no word for its verdicts.
    house.database.run("UPDATE package_status SET verdict_digest = NULL")
    assert set(codes(approve(house, left, right)).values()) == {"verdict-missing"}
    again = house.vet(lock)
    assert [p["verdict_digest"] for p in again["packages"]] == [
        left["verdict_digest"], right["verdict_digest"]
    ]  # fmt: skip


def test_a_scan_that_finds_something_between_view_and_click_voids_the_click(house: House) -> None:
    seen = house.vet_one(house.lock("left"))
    house.advise("left")
    later = house.reopened()
    again = later.people.user("POST", f"/api/packages/{seen['id']}/security-scan/trigger")
    assert (again.status_code, again.get_json()["status"]) == (202, "Requested")
    with later.closing:
        later.worker.run()

        assert codes(approve(later, seen)) == {seen["id"]: "verdict-changed"}
        report = later.people.user("GET", f"/api/packages/{seen['id']}/security-scan/report")
        found = report.get_json()
        assert [finding["id"] for finding in found["findings"]] == ["GHSA-test"]
        approved(later, found)


def test_what_was_decided_meanwhile_is_not_decided_again(house: House) -> None:
    left, right, gone = house.vet(house.lock("left", "right", "gone"))["packages"]
    dora = house.people("dora", Role.APPROVER)
    assert reject(house, gone["id"], reason="unmaintained")["rejected_count"] == 1
    approved(house, left)

    answer = approve(house, left, gone, right, by=dora)

    assert codes(answer) == {left["id"]: "not-pending", gone["id"]: "not-pending"}
    (why,) = [f["error"] for f in answer["failed_packages"] if f["id"] == gone["id"]]
    assert "Rejected" in why
    assert "unmaintained" in why
    assert codes(reject(house, 999)) == {999: "not-found"}
    (row,) = house.database.rows(
        "SELECT failure, failed_from, error FROM package_status WHERE id = :id", id=gone["id"]
    )
    assert row == ("human", "Requested", "rejected: unmaintained")
    retried = house.people.admin("POST", "/api/packages/processing/retry", json={}).get_json()
    assert retried["retried"] == 0


def test_of_two_approvers_at_once_one_decides(house: House) -> None:
    packages = house.vet(house.lock(*(f"p{number}" for number in range(6))))["packages"]
    tokens = [house.people.approver.token, house.people("dora", Role.APPROVER).token]
    callers = [Caller(house.app.test_client(), token) for token in tokens]

    answers = together(
        partial(approve, house, *packages, by=callers[0]),
        partial(approve, house, *reversed(packages), by=callers[1]),
    )

    assert sorted(answer["approved_count"] for answer in answers) == [0, 6]
    failed = [failure["code"] for answer in answers for failure in answer["failed_packages"]]
    assert failed == ["not-pending"] * 6
    assert house.database.one("SELECT count(*) FROM decisions") == 6


def test_the_database_lets_nothing_be_approved_that_nobody_approved(house: House) -> None:
    left = house.vet_one(house.lock("left"))
    ada, carol, root = (getattr(house.people, n).id for n in ("user", "approver", "admin"))
    decide = (
        "INSERT INTO decisions (artifact_id, decision, decided_by, verdict_digest)"
        " SELECT artifact_id, :decision, :by, :digest FROM package_status WHERE id = :id"
    )
    enter = "UPDATE package_status SET status = :status, completed_at = NULL WHERE id = :id"

    def refused(statement: str, **values: Any) -> str:
        with pytest.raises(IntegrityError) as error:
            house.database.run(statement, id=left["id"], **values)
        return str(error.value.orig)

    assert "approved this verdict" in refused(enter, status="Approved")
    assert "approved this verdict" in refused(
        "UPDATE package_status SET status = :status WHERE id = :id", status="Published"
    )
    assert "no active approver" in refused(decide, decision="approve", by=ada, digest="d")
    house.database.run(decide, id=left["id"], decision="approve", by=carol, digest="other")
    assert "approved this verdict" in refused(enter, status="Approved")
    digest = left["verdict_digest"]
    house.database.run(decide, id=left["id"], decision="approve", by=carol, digest=digest)
    house.database.run(decide, id=left["id"], decision="recall", by=root, digest=digest)
    assert "approved this verdict" in refused(enter, status="Approved")
    assert "stays as it was" in refused("UPDATE decisions SET reason = '' WHERE id > 0 OR :id = 0")
    assert "stays as it was" in refused("DELETE FROM decisions WHERE id > 0 OR :id = 0")

    house.database.run(decide, id=left["id"], decision="approve", by=carol, digest=digest)
    house.database.run("UPDATE users SET active = false WHERE id = :carol", carol=carol)
    assert "approved this verdict" in refused(enter, status="Approved")
    house.database.run("UPDATE users SET active = true WHERE id = :carol", carol=carol)
    house.database.run(enter, id=left["id"], status="Approved")


def test_a_role_taken_away_acts_at_once(house: House) -> None:
    left = house.vet_one(house.lock("left"))
    carol = house.people.approver
    house.database.run("UPDATE users SET role = 'user' WHERE id = :id", id=carol.id)

    for path, body in (
        ("batch-approve", {"package_ids": [left["id"]]}),
        (f"publish/{left['id']}", {}),
    ):
        answer = carol("POST", f"{DECIDE}/{path}", json=body)
        assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden")
    assert status(house, left["id"]) == "Pending Approval"


def test_publishing_is_asked_for_and_asked_for_again(house: House) -> None:
    left = house.vet_one(house.lock("left"))
    path = f"{DECIDE}/publish/{left['id']}"
    early = house.people.approver("POST", path)
    assert (early.status_code, early.get_json()["code"]) == (409, "not-approved")
    assert house.people.approver("POST", f"{DECIDE}/publish/999").status_code == 404
    approved(house, left)
    publish(house, left["id"])

    again = house.people.approver("POST", path)

    assert (again.status_code, again.get_json()["status"]) == (200, "Published")
    asked = house.database.one(
        "SELECT count(*) FROM audit_log WHERE action = 'package.publishing-asked'"
    )
    assert asked == 1
    history = house.people.approver("GET", f"/api/packages/{left['id']}/history").get_json()
    assert [a["queue"] for a in history["attempts"]] == ["packages", "package_publisher"]
    assert [d["decision"] for d in history["decisions"]] == ["approve"]
    (entry,) = house.people.approver("GET", "/api/packages/audit").get_json()["audit_data"]
    assert (entry["package"]["name"], entry["package"]["status"]) == ("left", "Published")
    assert entry["approval"]["approver"] == "carol"
    assert entry["original_request"]["requestor"] == "ada"


def test_auto_publish_gives_the_publisher_what_is_approved(house: House) -> None:
    left = house.vet_one(house.lock("left"))
    eager = house.reopened(AUTO_PUBLISH=True)
    with eager.closing:
        approved(eager, left)

    due = "SELECT available_at <= now() FROM package_status WHERE id = :id"
    assert house.database.one(due, id=left["id"])


@pytest.mark.parametrize("who", ["user", "other"])
def test_users_decide_nothing(house: House, who: str) -> None:
    caller = getattr(house.people, who)
    for method, path in (
        ("POST", f"{DECIDE}/batch-approve"), ("POST", f"{DECIDE}/batch-reject"),
        ("GET", f"{DECIDE}/validated"), ("POST", f"{DECIDE}/publish/1"),
        ("POST", "/api/packages/1/recall"), ("GET", "/api/packages/1/history"),
        ("GET", "/api/packages/where-used?purl=pkg:npm/a"), ("GET", "/api/packages/audit"),
        ("POST", "/api/packages/denied"), ("GET", "/api/packages/denied"),
    ):  # fmt: skip
        assert caller(method, path).status_code == 403, path
