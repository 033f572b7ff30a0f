"""Policies over REST: what acts at once, what needs another admin, and what workers make of it."""

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from backend.identity.roles import Role
from tests.callers import Caller
from tests.integration.packages.house import House, lock_of


def second_admin(house: House) -> Caller:
    return house.people("toor", Role.ADMIN)


def propose(house: House, yaml: str, *, by: Caller | None = None, status: int = 201) -> Any:
    body = {"source": f"version: 1\n{yaml}", "reason": "as agreed"}
    answer = (by or house.people.admin)("POST", "/api/policy", json=body)
    assert answer.status_code == status, answer.text
    return answer.get_json()


def second(house: House, version: int, *, by: Caller | None = None) -> tuple[int, str]:
    path = f"/api/policy/proposals/{version}/second"
    answer = (by or second_admin(house))("POST", path)
    document = answer.get_json()
    return answer.status_code, document.get("status") if answer.status_code == 200 else document[
        "code"
    ]


def agree(house: House, yaml: str) -> None:
    """Two admins put a policy into force."""
    proposed = propose(house, yaml)
    assert proposed["status"] == "proposed"
    assert second(house, proposed["version"]) == (200, "effective")


def rules(package: dict[str, Any]) -> list[tuple[str, str]]:
    return [(ruling["rule"], ruling["effect"]) for ruling in package["rulings"]]


def test_a_stricter_policy_acts_at_once_also_on_what_waits_and_is_judged_by_its_evidence(
    house: House,
) -> None:
    request = house.submit(house.lock("left", "right"))
    house.worker.run()
    asked = len(house.registry.requests)
    left, _ = house.detail(request)["packages"]
    assert rules(left) == [("coverage", "hold"), ("auto_approve", "hold")]

    done = propose(house, "denied: {packages: ['left@<2']}")
    assert (done["status"], done["reopened"]) == ("effective", 2)
    assert [(c["key"], c["loosens"]) for c in done["changes"]] == [("denied.packages", False)]
    house.worker.run()

    left, right = house.detail(request)["packages"]
    assert (left["status"], left["failure"]) == ("Rejected", "policy")
    assert left["error"] == "denied by policy: left@<2"
    assert rules(left)[0] == ("denied.packages", "reject")
    assert right["status"] == "Pending Approval"
    assert len(house.registry.requests) == asked

    fresh = house.vet_one(lock_of({"left": house.entry("left", "1.5.0")}))
    assert rules(fresh) == [("denied.packages", "reject")]
    assert len(house.registry.requests) == asked
    assert propose(house, "denied: {packages: [left@<2]}", status=409)["code"] == "policy-unchanged"
    noted = house.database.rows("SELECT action, subject FROM audit_log WHERE action ~ 'policy'")
    assert noted == [("policy.changed", "policy:2")]


def test_what_loosens_a_policy_waits_for_another_admin_and_only_while_it_is_current(
    house: House,
) -> None:
    people = house.people
    loose = propose(house, "four_eyes: false")
    assert loose["status"] == "proposed"
    assert "another admin must second it" in loose["message"]
    assert house.database.one("SELECT four_eyes_required()")
    seen = people.approver("GET", "/api/policy").get_json()
    assert seen["policy"]["version"] == 1
    assert [p["loosens"] for p in seen["proposals"]] == [["four_eyes"]]

    assert second(house, loose["version"], by=people.admin) == (403, "four-eyes")
    assert second(house, loose["version"], by=people.approver)[0] == 403
    assert second(house, 99) == (404, "not-found")
    assert second(house, loose["version"]) == (200, "effective")
    assert second(house, loose["version"]) == (409, "policy-effective")
    assert not house.database.one("SELECT four_eyes_required()")

    stale = propose(house, "four_eyes: false\ninstall_scripts: allow")["version"]
    propose(house, "required_integrity: sha256")
    assert house.database.one("SELECT four_eyes_required()")
    assert second(house, stale) == (409, "policy-stale")

    gone = propose(house, "install_scripts: allow")["version"]
    house.database.run("UPDATE users SET role = 'approver' WHERE username = 'root'")
    assert second(house, gone) == (409, "policy-proposer-gone")
    listed = second_admin(house)("GET", "/api/policy/versions?limit=4").get_json()
    assert [v["version"] for v in listed["versions"]] == [5, 4, 3, 2]
    assert listed["next"] == 2
    assert people.user("GET", "/api/policy").status_code == 403


def test_the_database_itself_refuses_a_loosening_by_one_admin_and_a_second_history(
    house: House,
) -> None:
    version = propose(house, "auto_approve: true")["version"]
    for change in (
        "effective_at = now()",
        "effective_at = now(), seconded_at = now(), seconded_by = proposed_by",
        "loosens = '{}', effective_at = now()",
        f"effective_at = now(), seconded_at = now(), seconded_by = {house.people.user.id}",
    ):
        with pytest.raises(IntegrityError):
            house.database.run(f"UPDATE policy_versions SET {change} WHERE id = {version}")
    propose(house, "required_integrity: sha1")
    person = second_admin(house).id
    seconded = f"effective_at = now(), seconded_at = now(), seconded_by = {person}"
    for statement in (
        f"UPDATE policy_versions SET {seconded} WHERE id = {version}",
        "DELETE FROM policy_versions WHERE id = 1",
        "UPDATE policy_versions SET reason = 'another' WHERE id = 1",
    ):
        with pytest.raises(IntegrityError):
            house.database.run(statement)


def test_a_policy_that_is_wrong_is_refused_with_its_lines(house: House) -> None:
    wrong = propose(house, "severity: {hold_at: critical, reject_at: low}\nx: 1", status=400)
    assert wrong["code"] == "policy-invalid"
    assert wrong["errors"][0]["line"] == 3
    assert house.database.one("SELECT count(*) FROM policy_versions") == 1


def test_what_no_rule_holds_is_approved_by_those_who_put_the_policy_into_force(
    house: House,
) -> None:
    house.advise("other")
    house.changes["OSV_PATH_COMPLETE"] = True
    agree(house, "auto_approve: true")

    left, weak = house.lock("left"), lock_of({"weak": house.entry("weak")})
    house.publish("weak")
    approved, held = house.vet_one(left), house.vet_one(weak)

    assert (approved["status"], rules(approved)) == ("Approved", [("auto_approve", "approve")])
    assert (held["status"], rules(held)) == ("Pending Approval", [("weak_integrity", "hold")])
    decision = "SELECT decided_by, reason FROM decisions"
    assert house.database.rows(decision) == [
        (second_admin(house).id, "approved by policy version 2")
    ]
    # Who asked for it cannot have approved it: then the other admin has.
    house.vet(house.lock("right"), by=second_admin(house))
    assert house.database.rows(f"{decision} ORDER BY id DESC LIMIT 1")[0][0] == (
        house.people.admin.id
    )
    asked = "SELECT available_at = 'infinity' FROM package_status WHERE status = 'Approved'"
    assert house.database.rows(asked) == [(True,), (True,)]
    # Both asked for it: nobody can have.
    lock = house.lock("mid")
    house.submit(lock, by=second_admin(house))
    assert house.vet_one(lock, by=house.people.admin)["status"] == "Pending Approval"

    # A stricter policy voids the approval of what it refuses, and of nothing else.
    propose(house, "auto_approve: true\ndenied: {packages: [left]}")
    house.worker.run()
    assert house.vet_one(left)["error"] == "denied by policy: left"
    asked = "SELECT status FROM package_status s JOIN artifacts a ON a.id = artifact_id"
    named = f"{asked} JOIN packages p ON p.id = a.package_id WHERE p.name = 'right'"
    assert house.database.one(named) == "Approved"


def test_a_version_that_is_too_young_is_judged_again_once_it_is_old_enough(house: House) -> None:
    lock = house.lock("left")
    assert house.vet_one(lock)["status"] == "Pending Approval"
    house.database.run(
        "UPDATE artifact_evidence SET registry_record ="
        " registry_record || jsonb_build_object('dated', true, 'published_at', now())"
    )
    propose(house, "minimum_release_age: {days: 30, effect: reject}")
    house.worker.run()
    young = house.vet_one(lock)
    assert (young["status"], rules(young)[0]) == ("Rejected", ("minimum_release_age", "reject"))

    house.database.run("UPDATE package_status SET verdict_until = now() - interval '1 second'")
    house.database.run(
        "UPDATE artifact_evidence SET registry_record = registry_record"
        " || jsonb_build_object('published_at', now() - interval '31 days')"
    )
    assert house.vet_one(lock)["status"] == "Pending Approval"


def test_where_age_matters_the_registry_is_asked_for_it(house: House) -> None:
    lock = house.lock("left")
    house.vet(lock)
    assert house.registry.requested("/left") == 0

    propose(house, "minimum_release_age: {days: 30, effect: reject}")
    house.worker.run()
    house.hurry()
    house.worker.run()

    assert house.registry.requested("/left") == 1
    (package,) = house.detail(1)["packages"]
    assert package["status"] == "Pending Approval"


def test_an_internal_name_is_never_asked_of_a_public_registry(house: House) -> None:
    house.changes["SOURCE_REPOSITORY_URL"] = None
    propose(house, "internal: {patterns: ['acme-*']}")
    package = house.vet_one(lock_of({"acme-x": {"version": "1.0.0"}}))
    assert (package["status"], package["failure"]) == ("Rejected", "permanent")
    assert package["error"].startswith("internal-name: acme-x is internal by policy")
    assert house.registry.requests == []


def test_a_dry_run_says_what_would_change_and_changes_nothing(house: House) -> None:
    house.publish("right", licence="GPL-3.0-only")
    house.publish("odd", licence="AGPL-3.0-only")
    scripts = {"postinstall": "node x.js"}
    tarball = house.publish("left", scripts=scripts)
    entries = {"left": house.entry("left", tarball=tarball)}
    house.vet(lock_of({**entries, "right": house.entry("right"), "odd": house.entry("odd")}))
    before = house.database.rows("SELECT id, status, rulings::text FROM package_status ORDER BY id")
    source = (
        "version: 1\ninstall_scripts: reject\n"
        "licences: {tiers: {GPL-3.0-only: blocked, AGPL-3.0-only: avoid}}"
    )
    found: list[Any] = []
    after, unread = 0, 0
    while after is not None:
        body = {"source": source, "after": after, "limit": 1}
        answer = house.people.approver("POST", "/api/policy/test", json=body).get_json()
        found += answer["differences"]
        unread, after = unread + answer["unread"], answer["next"]

    told = {d["name"]: (d["before"]["outcome"], d["after"]["outcome"]) for d in found}
    assert told == {"left": ("hold", "reject"), "right": ("hold", "reject")}
    assert unread == 1
    reasons = {d["name"]: d["after"]["rules"][0] for d in found}
    assert reasons == {"left": "install_scripts", "right": "licences.blocked"}
    assert {c["key"]: c["loosens"] for c in answer["changes"]} == {
        "licences.tiers.AGPL-3.0-only": True, "licences.tiers.GPL-3.0-only": False,
        "install_scripts": False,
    }  # fmt: skip
    same = house.database.rows("SELECT id, status, rulings::text FROM package_status ORDER BY id")
    assert same == before


def test_a_licence_becomes_looser_once_another_admin_asks_for_the_same(house: House) -> None:
    admin, other = house.people.admin, second_admin(house)
    listed = admin("GET", "/api/admin/licenses").get_json()["licenses"]
    sspl = next(entry for entry in listed if entry["identifier"] == "SSPL-1.0")
    path = f"/api/admin/licenses/{sspl['id']}"

    def put(by: Caller, status: str) -> tuple[int, Any]:
        body = {"name": sspl["name"], "identifier": "SSPL-1.0", "status": status}
        answer = by("PUT", path, json=body)
        return answer.status_code, answer.get_json().get("code")

    assert put(admin, "avoid") == (409, "second-admin-needed")
    assert put(admin, "avoid") == (409, "second-admin-needed")
    assert put(other, "allowed") == (409, "second-admin-needed")
    waiting = other("GET", "/api/admin/licenses/proposals").get_json()["proposals"]
    assert [(p["was"], p["status"]) for p in waiting] == [
        ("blocked", "avoid"),
        ("blocked", "allowed"),
    ]
    assert admin("GET", path).get_json()["status"] == "blocked"
    assert put(other, "avoid") == (200, None)
    assert put(other, "blocked") == (200, None)
    assert put(other, "avoid") == (409, "second-admin-needed")

    propose(house, "licences: {tiers: {SSPL-1.0: blocked, MIT: avoid}}")
    assert put(other, "always_allowed") == (409, "licence-in-policy")
