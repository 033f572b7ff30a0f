"""Advisories imported into a house that knows packages: who is flagged, and who sees it."""

import json
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from backend.workloads.packages.advisories import importing, reading, rechecking_sql
from backend.workloads.packages.scanning.osv import AdvisoriesError
from tests.integration.packages.house import House, lock_of
from tests.registry_server import Answer, npm_package

Record = dict[str, Any]


def advisory(identifier: str, name: str, *events: Mapping[str, str], **fields: Any) -> Record:
    ranges = [{"type": "SEMVER", "events": list(events) or [{"introduced": "0"}]}]
    return {
        "id": identifier,
        "modified": "2026-01-02T03:04:05Z",
        "summary": f"{name} is broken",
        "database_specific": {"severity": "HIGH"},
        "affected": [{"package": {"ecosystem": "npm", "name": name}, "ranges": ranges}],
        **fields,
    }


def import_into(house: House, *records: Record, folder: str = "feed") -> importing.Imported:
    directory = house.folder / folder
    directory.mkdir(exist_ok=True)
    for number, record in enumerate(records):
        (directory / f"{number}.json").write_text(json.dumps(record))
    with reading.from_path(directory) as read, house.sessions.begin() as session:
        return importing.store(session, read)


def approve_by_hand(house: House) -> None:
    house.database.run(
        "INSERT INTO decisions (artifact_id, decision, decided_by, verdict_digest)"
        " SELECT artifact_id, 'approve', :approver, verdict_digest FROM package_status",
        approver=house.people.approver.id,
    )
    house.database.run(
        "UPDATE package_status SET status = 'Approved', completed_at = NULL, attempts = 0"
    )


def publish_by_hand(house: House) -> None:
    approve_by_hand(house)
    house.database.run("UPDATE package_status SET status = 'Published', completed_at = now()")


def flags(house: House, query: str = "") -> list[dict[str, Any]]:
    answer = house.people.approver("GET", f"/api/advisories/flags{query}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.get_json()["flags"]
    return found


def test_a_new_advisory_flags_what_is_known_and_its_withdrawal_lifts_the_flag(
    house: House,
) -> None:
    parent = npm_package(
        "raft", "2.0.0",
        {"node_modules/oar/package.json": json.dumps({"name": "oar", "version": "0.9.0"})},
        license="MIT",
    )  # fmt: skip
    house.publish("raft", "2.0.0", tarball=parent)
    lock = house.lock("oar", "keel")
    lock["packages"]["node_modules/raft"] = house.entry("raft", "2.0.0", parent)
    detail = house.vet(lock)
    request_id = detail["request"]["id"]
    publish_by_hand(house)

    first = import_into(house, advisory("GHSA-1", "oar", {"introduced": "0"}, {"fixed": "1.0.1"}))
    assert (first.added, first.raised, first.lifted, first.checked) == (1, 2, 0, 3)
    again = import_into(house, advisory("GHSA-1", "oar", {"introduced": "0"}, {"fixed": "1.0.1"}))
    assert (again.added, again.changed, again.raised, again.lifted) == (0, 0, 0, 0)

    shown = {flag["name"]: flag for flag in flags(house)}
    assert shown.keys() == {"oar", "raft"}
    assert shown["raft"]["component"] == "pkg:npm/oar@0.9.0"
    assert shown["oar"]["fixed"] == ["1.0.1"]
    assert shown["oar"]["recall"] == f"/api/packages/{shown['oar']['package_id']}/recall"
    seen = house.people.user("GET", f"/api/packages/requests/{request_id}").get_json()
    assert {p["name"]: [f["advisory"] for f in p["flags"]] for p in seen["packages"]} == {
        "keel": [], "oar": ["GHSA-1"], "raft": ["GHSA-1"],
    }  # fmt: skip
    house.detail(request_id)  # its JSON fits the schema
    assert house.people.user("GET", "/api/advisories/flags").status_code == 403

    withdrawn = advisory("GHSA-1", "oar", modified="2026-02-02T03:04:05Z", withdrawn="2026-02-02")
    lifted = import_into(house, withdrawn)
    assert (lifted.changed, lifted.raised, lifted.lifted) == (1, 0, 2)
    assert flags(house) == []
    assert {flag["lifted_because"] for flag in flags(house, "?lifted=true")} == {"withdrawn"}
    older = import_into(house, advisory("GHSA-1", "oar"))
    assert (older.changed, older.raised) == (0, 0)


def test_what_waits_is_judged_anew_and_an_approval_not_acted_upon_is_void(house: House) -> None:
    waiting = house.vet(house.lock("oar"))["request"]["id"]
    before = house.database.one("SELECT verdict_digest FROM package_status")
    import_into(house, advisory("GHSA-other", "keel"))
    hit = advisory("GHSA-1", "oar", database_specific={"severity": "MODERATE"})

    first = import_into(house, hit)
    assert (first.raised, first.reopened) == (1, 1)
    assert house.package(waiting)["status"] == "Requested"
    house.worker.run()

    package = house.package(waiting)
    assert package["status"] == "Pending Approval"
    assert [(f["id"], f["severity"], f["source"]) for f in package["findings"]] == [
        ("GHSA-1", "medium", "imported")
    ]
    assert package["flags"] == []  # the verdict tells of it now
    assert house.database.one("SELECT verdict_digest FROM package_status") != before
    again = import_into(house, hit)
    assert (again.raised, again.lifted, again.reopened) == (0, 1, 0)
    assert flags(house) == []

    approve_by_hand(house)
    worse = advisory(
        "GHSA-1", "oar", modified="2026-03-03T03:04:05Z", database_specific={"severity": "CRITICAL"}
    )
    assert (import_into(house, worse).reopened, len(flags(house))) == (1, 1)
    house.worker.run()
    package = house.package(waiting)
    assert (package["status"], package["failure"]) == ("Rejected", "policy")
    assert "GHSA-1" in package["error"]
    voided = house.database.rows("SELECT subject FROM audit_log WHERE action = 'approval.voided'")
    assert [row.subject for row in voided] == [f"package:{package['id']}"]


def test_bundled_packages_are_vetted_against_what_was_imported(house: House) -> None:
    import_into(house, advisory("MAL-1", "oar", {"introduced": "0"}))
    inner = {"node_modules/oar/package.json": json.dumps({"name": "oar", "version": "0.9.0"})}
    raft = house.publish("raft", files=inner)

    package = house.vet_one(lock_of({"raft": house.entry("raft", tarball=raft)}))

    assert (package["status"], package["error"]) == ("Rejected", "known malware: MAL-1")
    assert [found["component"] for found in package["findings"]] == ["pkg:npm/oar@0.9.0"]


def test_an_undetermined_range_flags_and_a_broken_file_imports_nothing(house: House) -> None:
    house.vet(house.lock("oar"))
    publish_by_hand(house)
    open_question = advisory("GHSA-1", "oar", {"introduced": "no version"})

    assert import_into(house, open_question).raised == 1
    assert [flag["kind"] for flag in flags(house)] == ["undetermined"]

    (house.folder / "feed" / "broken.json").write_text("{")
    with pytest.raises(reading.BrokenRecords, match=r"broken\.json: it is not JSON"):
        import_into(house, advisory("GHSA-2", "oar"))
    assert house.database.rows("SELECT id FROM advisories") == [("GHSA-1",)]
    decided = advisory("GHSA-1", "oar", modified="2026-03-03T03:04:05Z")
    assert import_into(house, decided, folder="next").raised == 1
    assert [flag["kind"] for flag in flags(house)] == ["vulnerability"]
    assert [flag["lifted_because"] for flag in flags(house, "?lifted=true")] == [None, "changed"]


def test_an_import_that_fails_late_leaves_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.vet(house.lock("oar"))
    monkeypatch.setattr(rechecking_sql, "CHECKED", "SELECT 1 / 0")
    with pytest.raises(DBAPIError):
        import_into(house, advisory("GHSA-1", "oar"))
    counted = "SELECT count(*) FROM"
    for table in ("advisories", "advisory_packages", "advisory_imports", "advisory_flags"):
        assert house.database.one(f"{counted} {table}") == 0
    assert house.database.one("SELECT status FROM package_status") == "Pending Approval"


def test_what_was_vetted_while_an_import_looked_cannot_be_approved_and_is_found_next(
    house: House,
) -> None:
    house.vet(house.lock("oar"))
    import_into(house, advisory("GHSA-1", "oar"))
    house.database.run(  # by a worker that had read the package before
        "UPDATE package_status SET status = 'Pending Approval', completed_at = now()"
    )
    ((row, digest),) = house.database.rows("SELECT id, verdict_digest FROM package_status")

    body = {"package_ids": [row], "verdict_digests": {str(row): digest}}
    path = "/api/approver/packages/batch-approve"
    answer = house.people.approver("POST", path, json=body).get_json()

    assert [failed["code"] for failed in answer["failed_packages"]] == ["advisory-flagged"]
    again = import_into(house, advisory("GHSA-1", "oar"))
    assert (again.raised, again.reopened) == (0, 1)


def test_imports_at_once_raise_each_flag_once(house: House) -> None:
    house.vet(house.lock("oar"))
    publish_by_hand(house)
    together = threading.Barrier(3)

    def at_once(number: int) -> int:
        together.wait()
        return import_into(house, advisory("GHSA-1", "oar"), folder=f"feed-{number}").raised

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(at_once, range(3))) == [0, 0, 1]
    assert len(flags(house)) == 1


def test_who_wants_to_hear_of_hits_is_told_once(house: House) -> None:
    house.vet(house.lock("oar"))
    publish_by_hand(house)
    house.database.run(
        "INSERT INTO webhooks (url, events, salt, secret_check, created_by) VALUES"
        " ('https://hook.example.test/', '{advisory.hit}', sha256('a'),"
        " substring(sha256('b') FOR 8), :admin)",
        admin=house.people.admin.id,
    )
    for _ in range(2):
        import_into(house, advisory("GHSA-1", "oar"))

    ((kind, subject, detail),) = house.database.rows("SELECT kind, subject, detail FROM events")
    flag = flags(house)[0]
    assert (kind, subject) == ("advisory.hit", f"package:{flag['package_id']}")
    assert (detail["name"], detail["status"]) == ("oar", "Published")
    assert [hit["id"] for hit in detail["advisories"]] == ["GHSA-1"]


def test_status_tells_age_and_coverage_and_lists_are_paged(house: House) -> None:
    approver, path = house.people.approver, "/api/advisories"
    empty = approver("GET", path).get_json()
    assert (empty["records"], empty["age_seconds"], empty["imports"]) == (0, None, [])

    house.vet(house.lock("oar", "keel"))
    publish_by_hand(house)
    import_into(
        house,
        advisory("MAL-1", "oar"),
        advisory("GHSA-2", "keel", modified="2026-01-01T00:00:00Z"),
        advisory("GHSA-3", "sail", modified="2200-01-01T00:00:00Z", withdrawn="2026-01-01"),
        {"id": "PYSEC-1", "affected": [{"package": {"ecosystem": "PyPI", "name": "oar"}}]},
    )
    house.submit(house.lock("sail"))

    found = approver("GET", path).get_json()
    assert {name: found[name] for name in ("records", "withdrawn", "malware", "packages")} == {
        "records": 2, "withdrawn": 1, "malware": 1, "packages": 3,
    }  # fmt: skip
    assert found["newest"] == "2026-01-02T03:04:05Z"
    assert found["age_seconds"] > 0
    assert (found["artifacts"], found["unchecked"], found["flagged"]) == (3, 1, 2)
    assert (found["imports"][0]["read"], found["imports"][0]["raised"]) == (4, 2)

    first = approver("GET", f"{path}/flags?limit=1").get_json()
    second = approver("GET", f"{path}/flags?limit=1&before={first['next']}").get_json()
    assert {page["flags"][0]["advisory"] for page in (first, second)} == {"MAL-1", "GHSA-2"}
    assert second["next"] is None
    one = second["flags"][0]
    assert flags(house, f"?package_id={one['package_id']}") == [one]
    assert house.people.user("GET", path).status_code == 403


def test_records_are_fetched_from_a_url_under_the_rules_of_downloads(house: House) -> None:
    record = json.dumps(advisory("GHSA-1", "oar")).encode()
    house.registry.answer("/feed?key=secret", Answer(body=record))
    house.registry.answer("/away", Answer.redirect("http://localhost:1/feed"))
    house.registry.answer("/html", Answer(body=b"<html>"))
    at = house.registry.url

    settings = house.reopened(ADVISORIES_URL=f"{at}/feed?key=secret").settings
    with reading.from_url(settings) as records, house.sessions.begin() as session:
        done = importing.store(session, records)
    assert (done.source, done.added) == (f"{at}/feed", 1)

    refused = {
        "/away": "neither the server of ADVISORIES_URL nor a listed CDN",
        "/html": "it is not JSON",
        "/nothing": f"the server of ADVISORIES_URL does not have it: {at}/nothing answered 404",
    }
    for path, said in refused.items():
        settings = house.reopened(ADVISORIES_URL=f"{at}{path}").settings
        with pytest.raises(AdvisoriesError, match=said) as error, reading.from_url(settings):
            pass
        assert "registry" not in str(error.value)
