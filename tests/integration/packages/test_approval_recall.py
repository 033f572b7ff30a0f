"""Recall and denial: before publishing, while it runs, and after."""

from collections.abc import Callable
from typing import Any

from backend.identity.roles import Role
from backend.queue import leases
from backend.queue.leases import Lease
from backend.queue.retry import Transient
from backend.queue.settlements import Settlement, after_error
from backend.workloads.packages.lifecycle import PUBLISHING_QUEUE
from tests.integration.packages.deciding import (
    DECIDE,
    approve,
    approved,
    claim,
    codes,
    publish,
    recall,
    settle,
    status,
)
from tests.integration.packages.house import House, lock_of


def row(house: House, row_id: int) -> Any:
    (found,) = house.database.rows(
        "SELECT status, recall, failure, available_at <= now() FROM package_status WHERE id = :id",
        id=row_id,
    )
    return tuple(found)


def end(house: House, settlement: Callable[[Lease], Settlement]) -> None:
    """The publisher ends its attempt at the one row that is ready."""
    lease = claim(house)
    with house.sessions.begin() as session:
        leases.settle(session, PUBLISHING_QUEUE, [settlement(lease)])


def deny(house: House, purl: str, reason: str = "CVE-1") -> dict[str, Any]:
    body = {"purl": purl, "reason": reason}
    answer = house.people.approver("POST", "/api/packages/denied", json=body)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.get_json()
    return document


def test_what_was_never_published_waits_for_approval_again(house: House) -> None:
    left = house.vet_one(house.lock("left"))
    path = f"/api/packages/{left['id']}/recall"
    early = house.people.approver("POST", path, json={"reason": "too soon"})
    assert (early.status_code, early.get_json()["code"]) == (409, "not-approved")
    assert house.people.approver("POST", path, json={}).status_code == 400
    assert (
        house.people.approver("POST", "/api/packages/999/recall", json={"reason": "x"}).status_code
        == 404
    )
    approved(house, left)

    assert recall(house, left["id"])["status"] == "Pending Approval"

    assert row(house, left["id"]) == ("Pending Approval", None, None, True)
    approved(house, left, by=house.people.admin)  # the same verdict, by a new decision


def test_what_was_published_is_taken_back_by_the_publisher(house: House) -> None:
    request = house.vet(house.lock("left", "right"))
    left, right = request["packages"]
    approved(house, left, right)
    publish(house, left["id"])
    assert status(house, left["id"]) == "Published"

    assert recall(house, left["id"])["status"] == "Recalled"
    assert recall(house, left["id"])["status"] == "Recalled"

    assert row(house, left["id"]) == ("Approved", "asked", None, True)
    shown = house.detail(request["request"]["id"])
    assert shown["request"]["package_counts"] == {"Approved": 1, "Recalled": 1}
    assert shown["request"]["status"] == "partially_rejected"
    lease = claim(house)
    assert row(house, left["id"])[:2] == ("Publishing", "running")
    settle(house, lease)
    assert row(house, left["id"])[:2] == ("Recalled", None)
    decisions = house.database.rows("SELECT decision FROM decisions ORDER BY id")
    assert [word for (word,) in decisions] == ["approve", "approve", "recall"]
    refused = house.people.approver("POST", f"/api/packages/{left['id']}/security-scan/trigger")
    assert refused.status_code == 409
    house.submit(lock_of({"left": house.entry("left")}))  # no new request brings it back
    assert status(house, left["id"]) == "Recalled"


def test_a_recall_outlives_whatever_the_publisher_does(house: House) -> None:
    failing, running, unknown = house.vet(house.lock("failing", "running", "unknown"))["packages"]
    approved(house, failing, running, unknown)

    # One that fails at the registry is asked for again.
    publish(house, failing["id"])
    recall(house, failing["id"])
    end(house, lambda lease: after_error(lease, Transient("503")))
    assert row(house, failing["id"])[:2] == ("Approved", "asked")
    due = "UPDATE package_status SET available_at = now() WHERE id = :id"
    house.database.run(due, id=failing["id"])
    end(house, lambda lease: leases.failed(lease, "permanent", "401"))
    assert row(house, failing["id"])[:3] == ("Rejected", "asked", "permanent")
    retried = house.people.admin("POST", "/api/packages/processing/retry", json={})
    assert retried.get_json()["retried"] == 1
    settle(house, claim(house))
    assert status(house, failing["id"]) == "Recalled"

    # One that is asked for while the package is being published waits for that.
    house.people.approver("POST", f"{DECIDE}/publish/{running['id']}")
    lease = claim(house)
    assert recall(house, running["id"])["status"] == "Recalled"
    assert row(house, running["id"])[:2] == ("Publishing", "asked")
    settle(house, lease)
    assert row(house, running["id"]) == ("Approved", "asked", None, True)
    settle(house, claim(house))
    assert row(house, running["id"])[:2] == ("Recalled", None)

    # And nobody knows what came of a try that failed.
    house.people.approver("POST", f"{DECIDE}/publish/{unknown['id']}")
    end(house, lambda lease: leases.failed(lease, "exhausted", "timed out"))
    assert recall(house, unknown["id"])["status"] == "Recalled"
    assert row(house, unknown["id"]) == ("Approved", "asked", None, True)


def test_an_approved_package_that_is_scanned_again_needs_its_approval_again(house: House) -> None:
    left = house.vet_one(house.lock("left"))
    approved(house, left)
    path = f"/api/packages/{left['id']}/security-scan/trigger"
    assert house.people.user("POST", path).status_code == 403
    assert house.people.other("POST", path).status_code == 404
    assert house.people.other("GET", path.replace("trigger", "status")).status_code == 404

    assert house.people.approver("POST", path).status_code == 202
    house.worker.run()

    assert status(house, left["id"]) == "Pending Approval"
    scanned = house.people.user("GET", path.replace("trigger", "status")).get_json()
    assert scanned["verdict_digest"] == left["verdict_digest"]


def test_a_denial_acts_at_once_on_all_that_is_known(house: House) -> None:
    versions = ("1.0.0", "1.1.0", "1.2.0", "1.3.0", "2.0.0")
    entries = {
        f"node_modules/{'x/node_modules/' * n}left": house.entry(
            "left", v, house.publish("left", v)
        )
        for n, v in enumerate(versions)
    }
    detail = house.vet(
        lock_of({**entries, "other": house.entry("other", tarball=house.publish("other"))})
    )
    by = {(p["name"], p["version"]): p for p in detail["packages"]}
    waiting, free, public, begun, out = (by["left", version] for version in versions)
    approved(house, free, public, begun)
    publish(house, public["id"])
    house.people.approver("POST", f"/api/approver/packages/publish/{begun['id']}")
    lease = claim(house)
    queued = house.publish("left", "1.4.0")
    again = house.submit(lock_of({"left": house.entry("left", "1.4.0", queued)}))
    held = house.package(again)

    answer = deny(house, "pkg:npm/left@<2.0.0")

    assert answer["rejected"] == sorted([waiting["id"], free["id"], held["id"]])
    assert answer["recalled"] == sorted([public["id"], begun["id"]])
    for package in (waiting, free, held):
        assert row(house, package["id"])[:3] == ("Rejected", None, "policy")
    assert row(house, public["id"])[:2] == ("Approved", "asked")
    assert row(house, begun["id"])[:2] == ("Publishing", "asked")
    settle(house, lease)
    assert row(house, begun["id"])[:2] == ("Approved", "asked")
    assert (
        status(house, out["id"]) == status(house, by["other", "1.0.0"]["id"]) == "Pending Approval"
    )
    error = house.database.one("SELECT error FROM package_status WHERE id = :id", id=free["id"])
    assert error == "denied: CVE-1"

    # And on what comes later, from any way in.
    fresh = house.publish("left", "1.5.0")
    later = house.vet_one(lock_of({"left": house.entry("left", "1.5.0", fresh)}))
    assert (later["status"], later["failure"], later["error"]) == (
        "Rejected",
        "policy",
        "denied: CVE-1",
    )
    trigger = f"/api/packages/{waiting['id']}/security-scan/trigger"
    assert house.people.approver("POST", trigger).status_code == 202
    house.worker.run()
    assert row(house, waiting["id"])[:3] == ("Rejected", None, "policy")
    assert deny(house, "pkg:npm/left@<2.0.0")["id"] == answer["id"]


def test_a_denial_is_lifted_by_somebody_else(house: House) -> None:
    denial = deny(house, "pkg:npm/%40scope/left")
    assert (denial["name"], denial["range"]) == ("@scope/left", "*")
    path = f"/api/packages/denied/{denial['id']}"
    assert house.people.approver("DELETE", path).status_code == 403
    dora = house.people("dora", Role.ADMIN)
    house.database.run(
        "UPDATE users SET role = 'admin' WHERE id = :id", id=house.people.approver.id
    )
    own = house.people.approver("DELETE", path)
    assert (own.status_code, own.get_json()["code"]) == (403, "four-eyes")

    assert dora("DELETE", path).status_code == 204
    assert dora("DELETE", path).get_json()["code"] == "already-lifted"
    assert dora("DELETE", "/api/packages/denied/99").status_code == 404
    assert dora("GET", "/api/packages/denied").get_json() == {"denied": []}
    left = house.vet_one(house.lock("@scope/left"))
    assert left["status"] == "Pending Approval"

    # What slipped past one is not approved.
    house.database.run("UPDATE denied_packages SET lifted_at = NULL, lifted_by = NULL")
    assert codes(approve(house, left, by=dora)) == {left["id"]: "denied"}


def test_a_denial_that_npm_cannot_read_denies_nothing(house: House) -> None:
    for purl, code in (
        ("left-pad", "malformed-purl"), ("pkg:npm/left@banana", "malformed-range"),
        ("pkg:npm/../left", "malformed-purl"), ("pkg:pypi/left@1", "unsupported"),
        ("pkg:npm/left@1?arch=x", "malformed-range"),
    ):  # fmt: skip
        body = {"purl": purl, "reason": "x"}
        answer = house.people.approver("POST", "/api/packages/denied", json=body)
        assert answer.get_json()["code"] == code, purl
    assert house.database.one("SELECT count(*) FROM denied_packages") == 0


def test_where_used_finds_every_application_and_path_bundled_copies_too(house: House) -> None:
    inner = '{"name": "deep", "version": "0.9.0", "license": "MIT"}'
    bundling = house.publish("host", files={"node_modules/deep/package.json": inner})
    deep = house.publish("deep", "1.0.0")
    house.vet(
        lock_of(
            {
                "deep": house.entry("deep", tarball=deep),
                "node_modules/a/node_modules/deep": house.entry("deep", tarball=deep, dev=True),
            },
            name="first",
        )
    )
    house.vet(
        lock_of({"host": house.entry("host", tarball=bundling)}, name="second"),
        by=house.people.other,
    )

    def used(purl: str, **query: Any) -> dict[str, Any]:
        answer = house.people.approver(
            "GET", "/api/packages/where-used", query_string={"purl": purl, **query}
        )
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.get_json()
        return document

    second, first = used("pkg:npm/deep")["uses"]
    assert (first["application_name"], first["requestor"], first["bundled"]) == (
        "first",
        "ada",
        None,
    )
    assert sorted(first["paths"]) == ["node_modules/a/node_modules/deep", "node_modules/deep"]
    assert (second["application_name"], second["name"]) == ("second", "host")
    assert second["paths"] == ["node_modules/host"]
    assert second["bundled"] == ["deep@0.9.0 in node_modules/deep"]
    assert [use["name"] for use in used("pkg:npm/deep@1.0.0")["uses"]] == ["deep"]
    assert [use["name"] for use in used("pkg:npm/deep@0.9.0")["uses"]] == ["host"]
    page = used("pkg:npm/deep", limit=1)
    assert [use["name"] for use in page["uses"]] == ["host"]
    assert [u["name"] for u in used("pkg:npm/deep", before=page["next"])["uses"]] == ["deep"]
    nonsense = house.people.approver("GET", "/api/packages/where-used?purl=deep")
    assert nonsense.get_json()["code"] == "malformed-purl"
