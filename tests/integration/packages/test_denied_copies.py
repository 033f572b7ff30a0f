"""Denials of what lies inside other packages, and what happens while one is under way."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from backend.identity.roles import Principal, Role
from backend.workloads.packages import denial
from tests.integration.packages.deciding import approve, approved, codes, publish, status
from tests.integration.packages.house import House, lock_of, wait_until


def deny(house: House, purl: str) -> dict[str, Any]:
    body = {"purl": purl, "reason": "CVE-1"}
    answer = house.people.approver("POST", "/api/packages/denied", json=body)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.get_json()
    return document


def row(house: House, row_id: int) -> Any:
    query = "SELECT status, recall, failure, error FROM package_status WHERE id = :id"
    (found,) = house.database.rows(query, id=row_id)
    return tuple(found)


def bundles(house: House, name: str, inner: str) -> dict[str, Any]:
    """Publish ``name`` with a copy of ``deep`` inside; its entry in a lock."""
    manifest = json.dumps({"name": "deep", "version": inner, "license": "MIT"})
    files = {"node_modules/deep/package.json": manifest}
    return house.entry(name, tarball=house.publish(name, files=files))


def test_a_denied_copy_inside_another_package_is_denied_too(house: House) -> None:
    olds = ("waiting", "free", "public")
    entries = {name: bundles(house, name, "0.9.0") for name in olds}
    entries["other"] = bundles(house, "other", "1.0.0")
    by = {p["name"]: p for p in house.vet(lock_of(entries))["packages"]}
    approved(house, by["free"], by["public"])
    publish(house, by["public"]["id"])
    again = f"/api/packages/{by['other']['id']}/security-scan/trigger"

    answer = deny(house, "pkg:npm/deep@<1.0.0-0")

    assert answer["rejected"] == sorted([by["waiting"]["id"], by["free"]["id"]])
    assert answer["recalled"] == [by["public"]["id"]]
    why = "denied: it bundles deep@0.9.0 in node_modules/deep: CVE-1"
    for name in ("waiting", "free"):
        assert row(house, by[name]["id"]) == ("Rejected", None, "policy", why)
    assert row(house, by["public"]["id"])[:2] == ("Approved", "asked")
    query = "SELECT reason FROM decisions WHERE decision = 'recall' ORDER BY id DESC LIMIT 1"
    assert house.database.one(query) == why
    assert house.people.approver("POST", again).status_code == 202
    house.worker.run()
    assert status(house, by["other"]["id"]) == "Pending Approval"

    # What is uploaded later is refused once its tarball was read, and again whenever it is looked
    # at; once the word is lifted, it is judged anew when it is asked for.
    lock = lock_of({"late": bundles(house, "late", "0.9.9")})
    late = house.vet_one(lock)
    assert (late["status"], late["failure"]) == ("Rejected", "policy")
    assert late["error"] == why.replace("0.9.0", "0.9.9")
    assert house.vet_one(lock)["error"] == late["error"]
    dora = house.people("dora", Role.ADMIN)
    assert dora("DELETE", f"/api/packages/denied/{answer['id']}").status_code == 204
    late = house.vet_one(lock)
    assert late["status"] == "Pending Approval"
    again = house.vet(lock_of({name: entries[name] for name in olds}))["packages"]
    assert {package["name"]: package["status"] for package in again} == {
        "waiting": "Pending Approval", "free": "Pending Approval", "public": "Recalled",
    }  # fmt: skip

    # What slipped past a denial is not approved.
    house.database.run("UPDATE denied_packages SET lifted_at = NULL, lifted_by = NULL")
    assert codes(approve(house, late, by=dora)) == {late["id"]: "denied"}


def test_a_denial_is_one_with_its_sweep_and_what_comes_meanwhile_waits_for_it(
    house: House,
) -> None:
    """The sweep does not see the row of what comes, and its worker not yet the word."""
    waiting = house.vet_one(lock_of({"early": bundles(house, "early", "0.9.0")}))["id"]
    by = Principal(house.people.approver.id, "carol", Role.APPROVER)
    denials = "SELECT count(*) FROM denied_packages"
    with ThreadPoolExecutor(1) as pool:
        with house.sessions.begin() as session:
            _, swept = denial.deny(session, denial.parse("pkg:npm/deep@<1"), by=by, reason="CVE-1")
            assert (swept.rejected, swept.recalled) == ([waiting], [])
            assert house.database.one(denials) == 0
            assert status(house, waiting) == "Pending Approval"
            request_id = house.submit(lock_of({"host": bundles(house, "host", "0.9.0")}))
            done = pool.submit(house.worker.run)
            waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            wait_until(lambda: house.database.one(waits), seconds=20, what="it waits for the word")
        assert house.database.one(denials) == 1
        assert status(house, waiting) == "Rejected"
        done.result(20)

    found = house.package(request_id)
    assert found["error"] == "denied: it bundles deep@0.9.0 in node_modules/deep: CVE-1"
