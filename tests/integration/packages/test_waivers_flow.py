"""Waivers over REST: what they let through to a person, and what becomes of it when they end."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from backend.workloads.packages.pipeline import duties
from backend.workloads.packages.registry.npm import fetch_version
from backend.workloads.packages.steps import licence
from tests.integration.packages.deciding import (
    approve,
    approved,
    codes,
    publish,
    recall,
    status,
)
from tests.integration.packages.house import House, lock_of, wait_until
from tests.integration.packages.waiving import (
    PATH,
    agreed,
    expire,
    look,
    propose,
    revoke,
    rules,
    second,
    second_admin,
)


def test_two_admins_bear_a_finding_a_third_person_approves_and_its_revocation_voids_that(
    house: House,
) -> None:
    house.advise("left", severity="CRITICAL")
    people = house.people
    lock = house.lock("left", "right")
    request = house.submit(lock)
    house.worker.run()
    left, right = house.detail(request)["packages"]
    assert (left["status"], left["failure"], left["waivers"]) == ("Rejected", "policy", [])

    waiver = propose(house)
    assert second(house, waiver, by=people.admin, status=403) == "four-eyes"
    assert second(house, waiver, by=people.approver, status=403) == "forbidden"
    assert status(house, left["id"]) == "Rejected"
    asked = len(house.registry.requests)
    done = second(house, waiver)
    assert (done["waiver"]["state"], done["reopened"]) == ("in force", [left["id"]])
    house.worker.run()

    waived, same = house.detail(request)["packages"]
    assert len(house.registry.requests) == asked
    assert waived["status"] == "Pending Approval"
    assert rules(waived) == [("waivers", "hold"), ("auto_approve", "hold")]
    assert waived["rulings"][0]["reason"].startswith(f"waiver {waiver} covers GHSA-test, until 20")
    assert [f["id"] for f in waived["findings"]] == ["GHSA-test"]
    assert [(w["id"], w["in_force"], w["proposed_by"]) for w in waived["waivers"]] == [
        (waiver, True, "root")
    ]
    assert waived["verdict_digest"] != left["verdict_digest"]
    assert same == right

    shown = people.admin("GET", "/api/approver/packages/validated").get_json()["packages"]
    assert [(p["own"], [w["id"] for w in p["waivers"]]) for p in shown] == [
        (True, [waiver]), (False, [])
    ]  # fmt: skip
    assert codes(approve(house, waived, by=people.admin)) == {waived["id"]: "four-eyes"}
    with pytest.raises(IntegrityError, match="package_status_approved"):
        house.database.run(
            "INSERT INTO decisions (artifact_id, decision, decided_by, verdict_digest) SELECT"
            " artifact_id, 'approve', :by, verdict_digest FROM package_status WHERE id = :id;"
            " UPDATE package_status SET status = 'Approved', completed_at = NULL WHERE id = :id",
            by=people.admin.id, id=waived["id"],
        )  # fmt: skip
    approved(house, waived, by=second_admin(house))

    assert revoke(house, waiver)["reopened"] == [waived["id"]]
    assert revoke(house, waiver, status=409) == "waiver-ended"
    house.worker.run()
    again, _ = house.detail(request)["packages"]
    assert (again["status"], again["waivers"]) == ("Rejected", [])
    assert again["verdict_digest"] == left["verdict_digest"]
    noted = house.database.rows(
        "SELECT actor, action, subject FROM audit_log WHERE action ~ 'waiver|voided' ORDER BY id"
    )
    assert noted == [
        ("", "waiver.proposed", "waiver:1"), ("", "waiver.seconded", "waiver:1"),
        ("", "waiver.revoked", "waiver:1"), ("waivers", "approval.voided", f"package:{left['id']}"),
    ]  # fmt: skip


@pytest.mark.slow
def test_what_rests_on_a_waiver_that_expires_is_judged_again_by_itself(house: House) -> None:
    house.advise("left", severity="CRITICAL")
    waiver = agreed(house)
    package = house.vet_one(house.lock("left"))
    assert package["status"] == "Pending Approval"
    assert look(house) == []

    expire(house, waiver)
    often = [replace(one, every=timedelta(seconds=0.05)) for one in duties(house.settings)]
    with house.daemon(duties=often):
        wait_until(
            lambda: status(house, package["id"]) == "Rejected", seconds=20, what="judged again"
        )


def test_published_packages_are_flagged_and_another_waiver_answers_that(house: House) -> None:
    house.advise("left", severity="CRITICAL")
    house.database.run(
        "INSERT INTO webhooks (url, events, salt, secret_check, created_by) VALUES"
        " ('https://hooks.example.test', '{advisory.hit}', :salt, :check, :by)",
        salt=b"s" * 32, check=b"c" * 8, by=house.people.admin.id,
    )  # fmt: skip
    first = agreed(house)
    package = house.vet_one(house.lock("left"))
    approved(house, package)
    publish(house, package["id"])
    assert status(house, package["id"]) == "Published"

    expire(house, first)
    assert look(house) == []  # nothing to claim, but to be told
    (flag,) = flags(house)
    assert (flag["package_id"], flag["waiver_id"]) == (package["id"], first)
    assert flag["recall"] == f"/api/packages/{package['id']}/recall"
    told = house.database.one("SELECT detail FROM events WHERE kind = 'advisory.hit'")
    assert (told["waiver"], told["advisories"][0]["id"]) == (first, "GHSA-test")
    (shown,) = house.detail(1)["packages"]
    assert [(w["id"], w["in_force"]) for w in shown["waivers"]] == [(first, False)]

    other = agreed(house, purl="pkg:npm/left@>=1.1.0 <2.0.0")
    assert len(flags(house)) == 1  # it is not for this version
    renewed = agreed(house, finding="ghsa-TEST")
    assert flags(house) == []
    done = revoke(house, renewed)
    assert (done["reopened"], done["flagged"]) == ([], [package["id"]])
    assert [flag["waiver_id"] for flag in flags(house)] == [first]
    assert revoke(house, other)["flagged"] == []
    assert look(house) == []
    assert house.database.one("SELECT count(*) FROM events WHERE kind = 'advisory.hit'") == 2

    recall(house, package["id"])
    assert flags(house) == []


def test_a_blocked_licence_is_borne_from_the_first_look_on_and_policies_know_of_it(
    house: House,
) -> None:
    tarball = house.publish("left", licence="AGPL-3.0-only")
    lock = lock_of({"left": house.entry("left", tarball=tarball)})
    refused = house.vet_one(lock)
    assert (refused["status"], refused["license_status"]) == ("Rejected", "blocked")

    waiver = propose(house, finding=None, licence="agpl-3.0-only")
    assert second(house, waiver)["reopened"] == [refused["id"]]
    house.worker.run()
    (package,) = house.detail(1)["packages"]
    assert (package["status"], package["license_status"]) == ("Pending Approval", "blocked")
    assert package["rulings"][-2]["reason"].startswith(
        f"waiver {waiver} covers the licence AGPL-3.0-only"
    )
    approved(house, package)

    # A stricter policy voids only what it refuses: this is borne.
    body = {"source": "version: 1\nrequired_integrity: sha256"}
    assert house.people.admin("POST", "/api/policy", json=body).status_code == 201
    assert status(house, package["id"]) == "Approved"
    source = "version: 1\nlicences: {tiers: {AGPL-3.0-only: avoid}}"
    dry = house.people.approver("POST", "/api/policy/test", json={"source": source}).get_json()
    assert (dry["examined"], dry["differences"]) == (1, [])
    # One whose waiver ends before a worker has looked is not published.
    expire(house, waiver)
    row = house.database.one("SELECT id FROM package_status")
    house.changes["TARGET_REPOSITORY_URL"] = house.registry.url
    house = house.reopened()
    house.database.run("UPDATE package_status SET available_at = now()")
    house.publisher.run()
    assert status(house, row) == "Pending Approval"
    assert house.database.one("SELECT count(*) FROM publications") == 0
    assert codes(approve(house, house.package(1))) == {row: "waiver-ended"}
    assert look(house) == ["packages"]
    house.worker.run()
    assert status(house, row) == "Rejected"
    noted = house.database.rows("SELECT actor, subject FROM audit_log WHERE action ~ 'expired'")
    assert noted == [("waivers", f"waiver:{waiver}")]
    listed = house.people.approver("GET", PATH).get_json()["waivers"]
    assert [(w["id"], w["state"]) for w in listed] == [(waiver, "expired")]


def test_what_is_being_vetted_while_a_waiver_begins_or_ends_is_looked_at_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.advise("left", severity="CRITICAL")
    row = house.package(house.submit(house.lock("left")))["id"]
    waiver = propose(house)
    done: list[Any] = []

    def meanwhile(deed: Callable[[House, int], Any]) -> None:
        """The worker has read the package, and asks the registry."""

        def asking(*asked: Any, **how: Any) -> Any:
            done.append(deed(house, waiver))
            return fetch_version(*asked, **how)

        monkeypatch.setattr(licence, "fetch_version", asking)
        house.worker.run()
        monkeypatch.undo()

    meanwhile(second)
    assert (done.pop()["reopened"], status(house, row)) == ([], "Rejected")
    assert look(house) == ["packages"]
    house.worker.run()
    assert status(house, row) == "Pending Approval"
    assert house.database.one("SELECT applied_at IS NOT NULL FROM waivers")
    assert look(house) == []

    # One that is needed for nothing: while others of the name are vetted, that is seen once.
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    needless = agreed(house, finding="ghsa-TEST", expires_at=soon)
    tarball = house.publish("left", "1.1.0")
    other = lock_of({"left": house.entry("left", "1.1.0", tarball)})
    house.submit(other, by=house.people.other)
    mine, busy = sorted(house.worker.claim(), key=lambda lease: lease.id)
    assert mine.id == row
    house.worker.finish(mine)
    for _ in range(2):
        assert (look(house), status(house, row)) == ([], "Pending Approval")
    house.worker.finish(busy)
    assert look(house) == ["packages"]
    house.worker.run()
    assert look(house) == []
    assert house.package(1)["waivers"][0]["id"] == waiver
    assert revoke(house, needless)["reopened"] == []

    house.database.run("UPDATE package_status SET step = NULL, status = 'Requested',"
                       " completed_at = NULL WHERE id = :row", row=row)  # fmt: skip
    meanwhile(revoke)
    assert (done.pop()["reopened"], status(house, row)) == ([busy.id], "Pending Approval")
    assert look(house) == ["packages"]
    house.worker.run()
    assert status(house, row) == "Rejected"


def flags(house: House) -> list[Any]:
    found: list[Any] = house.people.approver("GET", f"{PATH}/flags").get_json()["flags"]
    return found
