"""Who may see and do what with requests, and the shapes that callers rely on."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from backend.identity.roles import Role
from tests.callers import Caller
from tests.integration.packages.house import House, lock_of
from tests.registry_server import Answer

REASON = {"include_rejected": True, "reason": "the advisory was wrong"}


def failing(house: House, name: str = "left") -> int:
    """A request whose one package failed in processing, and would succeed now."""
    lock = house.lock(name)
    well = house.registry._script[f"/{name}/1.0.0"]
    house.registry.answer(f"/{name}/1.0.0", Answer(403))
    request_id = house.submit(lock)
    house.worker.run()
    assert house.package(request_id)["failure"] == "permanent"
    house.registry.answer(f"/{name}/1.0.0", *well)
    return request_id


def refused(house: House) -> int:
    """A request whose one package policy refused."""
    request_id = house.submit(house.lock("left", licence="AGPL-3.0-only"))
    house.worker.run()
    assert house.package(request_id)["failure"] == "policy"
    return request_id


def retry(caller: Caller, request_id: int | None, /, **body: Any) -> tuple[int, dict[str, Any]]:
    path = f"requests/{request_id}" if request_id else "processing"
    answer = caller("POST", f"/api/packages/{path}/retry", json=body)
    return answer.status_code, answer.get_json()


# Ownership


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""), ("GET", "/processing-status"), ("GET", "/status"),
        ("POST", "/retry"), ("POST", "/withdraw"),
    ],
)  # fmt: skip
def test_a_foreign_request_is_not_found_by_users_and_seen_by_approvers_and_admins(
    house: House, method: str, path: str
) -> None:
    path = f"/api/packages/requests/{house.submit(house.lock('left'))}{path}"
    foreign = house.people.other(method, path)
    missing = house.people.other(method, path.replace("/1", "/999"))

    assert foreign.status_code == missing.status_code == 404
    assert foreign.get_json()["error"] == "There is no request 1."
    assert house.people.user(method, path).status_code == 200
    assert house.people.admin(method, path).status_code == 200
    allowed = 200 if method == "GET" else 403
    assert house.people.approver(method, path).status_code == allowed


def test_a_foreign_request_named_in_a_body_is_not_found_either(house: House) -> None:
    status, _ = retry(house.people.other, None, request_id=failing(house))
    assert status == 404


def test_users_list_their_own_requests_and_approvers_and_admins_all(house: House) -> None:
    mine = house.submit(house.lock("left"))
    theirs = house.submit(house.lock("left"), by=house.people.other)

    def listed(caller: Caller) -> list[int]:
        requests = caller("GET", "/api/packages/requests").get_json()["requests"]
        return [request["id"] for request in requests]

    assert listed(house.people.user) == [mine]
    assert listed(house.people.other) == [theirs]
    assert listed(house.people.approver) == listed(house.people.admin) == [theirs, mine]


def test_requests_are_paged_newest_first_without_gap_or_double(house: House) -> None:
    made = [house.submit(lock_of({"left": {"version": "1.0.0"}})) for _ in range(7)]
    seen: list[int] = []
    before = ""
    while True:
        page = house.people.user("GET", f"/api/packages/requests?limit=3{before}").get_json()
        seen += [request["id"] for request in page["requests"]]
        if page["next"] is None:
            break
        before = f"&before={page['next']}"

    assert seen == made[::-1]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "before=0", "before=x", "limit=1&limit=2"]
)
def test_a_page_out_of_range_is_refused(house: House, query: str) -> None:
    assert house.people.user("GET", f"/api/packages/requests?{query}").status_code == 400


@pytest.mark.parametrize("id_", ["0", "-1", "x", "9" * 5000, "1.5", "%00"])
def test_an_id_that_is_none_is_refused(house: House, id_: str) -> None:
    assert house.people.user("GET", f"/api/packages/requests/{id_}").status_code == 400


# Retry


def test_the_owner_retries_what_failed_in_processing(house: House) -> None:
    request_id = failing(house)
    assert house.detail(request_id)["request"]["status"] == "failed"

    status, said = retry(house.people.user, request_id)
    house.worker.run()

    assert (status, said["retried"], said["request_id"]) == (200, 1, request_id)
    assert house.package(request_id)["status"] == "Pending Approval"
    assert retry(house.people.user, request_id)[1]["retried"] == 0


def test_an_admin_retries_every_request_and_nobody_else_does(house: House) -> None:
    failing(house, "left")
    failing(house, "right")

    assert retry(house.people.user, None)[0] == 403
    assert retry(house.people.approver, None)[0] == 403
    assert retry(house.people.admin, None)[1]["retried"] == 2


def test_a_retry_never_touches_what_policy_refused(house: House) -> None:
    request_id = refused(house)

    assert retry(house.people.user, request_id)[1]["retried"] == 0
    assert retry(house.people.admin, None)[1]["retried"] == 0
    assert house.package(request_id)["failure"] == "policy"


def test_refused_packages_are_vetted_anew_by_an_approver_with_a_reason(house: House) -> None:
    request_id = refused(house)

    assert retry(house.people.user, request_id, **REASON)[0] == 403
    status, said = retry(house.people.approver, request_id, include_rejected=True)
    assert (status, said["code"]) == (400, "reason-missing")
    assert retry(house.people.approver, request_id, **{**REASON, "reason": "  "})[0] == 400
    status, said = retry(house.people.approver, request_id, **REASON)
    assert (status, said["retried"]) == (200, 1)
    noted = house.database.one(
        "SELECT detail->>'reason' FROM audit_log WHERE action = 'packages.retried'"
    )
    assert noted == REASON["reason"]


def test_nobody_has_vetted_anew_what_they_requested_themselves(house: House) -> None:
    house.people("carol", Role.APPROVER)
    request_id = house.submit(house.lock("left", licence="AGPL-3.0-only"), by=house.people.approver)
    house.submit(house.lock("left", licence="AGPL-3.0-only"), by=house.people.other)
    house.worker.run()

    status, said = retry(house.people.approver, request_id, **REASON)
    assert (status, said["code"]) == (403, "four-eyes")
    assert retry(house.people.approver, None, **REASON)[1]["retried"] == 0
    assert retry(house.people.approver, request_id + 1, **REASON)[1]["retried"] == 0
    assert retry(house.people.admin, request_id, **REASON)[1]["retried"] == 1


@pytest.mark.parametrize(
    "body", [{"include_rejected": "perhaps"}, {"request_ids": [1]}, {"request_id": 0}, [1]]
)
def test_a_malformed_retry_is_refused(house: House, body: Any) -> None:
    answer = house.people.admin("POST", "/api/packages/processing/retry", json=body)
    assert answer.status_code == 400


# Shapes


def test_an_api_key_reads_its_owners_requests_and_no_others(house: House) -> None:
    mine = house.submit(house.lock("left"))
    theirs = house.submit(house.lock("right"), by=house.people.other)
    wish = {"name": "ci", "scopes": ["read"], "expires_in_days": 1}
    key = house.people.user("POST", "/api/auth/keys", json=wish).get_json()["key"]
    reader = replace(house.people.user, token=key)

    answers = [
        reader("GET", f"/api/packages/requests/{request}{what}").status_code
        for request in (mine, theirs)
        for what in ("", "/status")
    ]

    assert answers == [200, 200, 404, 404]


def test_progress_of_a_request_has_the_fields_that_callers_rely_on(house: House) -> None:
    request_id = house.submit(house.lock("left", "right"))
    before = house.people.user("GET", f"/api/packages/requests/{request_id}/status").get_json()
    house.worker.run()
    path = f"/api/packages/requests/{request_id}/processing-status"
    after = house.people.user("GET", path).get_json()

    assert (before["completed_packages"], before["progress_percentage"]) == (0, 0.0)
    assert before["status"] == "processing"
    timestamp = datetime.fromisoformat(after.pop("timestamp"))
    assert timestamp.utcoffset() is not None
    packages = after.pop("packages")
    assert after == {
        "request_id": request_id, "application_name": "shop", "application_version": "1.2.3",
        "status": "pending_approval", "total_packages": 2, "completed_packages": 2,
        "progress_percentage": 100.0, "status_counts": {"Pending Approval": 2},
    }  # fmt: skip
    assert [(p["name"], p["version"], p["status"]) for p in packages] == [
        ("left", "1.0.0", "Pending Approval"), ("right", "1.0.0", "Pending Approval"),
    ]  # fmt: skip


def test_the_queues_status_counts_all_and_names_only_what_the_caller_may_see(
    house: House,
) -> None:
    house.vet(house.lock("left"))
    house.submit(house.lock("right"), by=house.people.other)
    said = house.people.user("GET", "/api/packages/processing/status").get_json()
    seen_by_admin = house.people.admin("GET", "/api/packages/processing/status").get_json()

    assert said["status_counts"] == {"Pending Approval": 1, "Requested": 1}
    assert said["total_requests"] == 2
    assert [a["package_name"] for a in said["recent_activity"]] == ["left"]
    assert {a["package_name"] for a in seen_by_admin["recent_activity"]} == {"left", "right"}
    assert said["recent_activity"][0].keys() == {
        "package_name", "package_version", "status", "updated_at",
    }  # fmt: skip
    assert (said["queue"]["depth"], said["queue"]["workers"]) == (1, 0)
    assert said["queue"]["oldest_wait_seconds"] >= 0


def test_recent_activity_is_the_ten_latest_at_most(house: House) -> None:
    house.submit(lock_of({f"p{n}": {"version": "1.0.0"} for n in range(15)}))
    said = house.people.user("GET", "/api/packages/processing/status").get_json()

    assert len(said["recent_activity"]) == 10


# Licences and configuration


def licences(house: House) -> dict[str, dict[str, Any]]:
    found = house.people.user("GET", "/api/admin/licenses").get_json()["licenses"]
    return {entry["identifier"]: entry for entry in found}


def put(house: House, **entry: Any) -> tuple[int, dict[str, Any]]:
    """Change the licence with this id, or add one."""
    id_ = entry.pop("id", None)
    path = f"/api/admin/licenses/{id_}" if id_ else "/api/admin/licenses"
    method = "PUT" if id_ else "POST"
    answer = house.people.admin(method, path, json=entry)
    if answer.get_json().get("code") == "second-admin-needed":
        answer = house.people("toor", Role.ADMIN)(method, path, json=entry)
    return answer.status_code, answer.get_json()


def test_an_admin_adds_changes_and_removes_a_licence(house: House) -> None:
    acme = {"name": "Acme", "identifier": "LicenseRef-Acme", "status": "allowed"}
    status, added = put(house, **acme)
    path = f"/api/admin/licenses/{added['id']}"

    assert (status, licences(house)["LicenseRef-Acme"]["status"]) == (201, "allowed")
    assert put(house, **acme)[0] == 409
    assert put(house, id=added["id"], **{**acme, "status": "blocked"})[0] == 200
    assert house.people.user("GET", path).get_json()["status"] == "blocked"
    refused = house.people.admin("DELETE", path)  # blocked is stricter than unknown
    assert refused.get_json()["code"] == "second-admin-needed"
    assert house.people("toor", Role.ADMIN)("DELETE", path).status_code == 204
    assert house.people.user("GET", path).status_code == 404
    assert house.people.admin("DELETE", path).status_code == 404
    assert put(house, id=added["id"], **acme)[0] == 404


def test_a_licence_may_not_take_the_identifier_of_another(house: House) -> None:
    known = licences(house)["0BSD"]
    status, said = put(house, id=known["id"], name="x", identifier="MIT", status="allowed")

    assert (status, said["code"]) == (409, "licence-exists")
    assert licences(house)["0BSD"] == known


@pytest.mark.parametrize(
    ("used", "identifier"),
    [
        ("MIT", "MIT"),
        ("(ISC OR MIT) AND MPL-2.0", "ISC"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only"),
        ("GPL-2.0", "GPL-2.0-only"),
        ("GPL-2.0-only", "GPL-2.0"),
    ],
)
def test_a_licence_that_a_verdict_rests_on_is_neither_removed_nor_renamed(
    house: House, used: str, identifier: str
) -> None:
    known = licences(house)[identifier]
    house.vet(house.lock("left", licence=used))

    answer = house.people.admin("DELETE", f"/api/admin/licenses/{known['id']}")
    assert (answer.status_code, answer.get_json()["code"]) == (409, "licence-in-use")
    renamed = {"id": known["id"], "name": "x", "identifier": "LicenseRef-x", "status": "blocked"}
    assert put(house, **renamed)[0] == 409
    assert licences(house)[identifier] == known


@pytest.mark.parametrize(
    "change",
    [{"status": "fine"}, {"identifier": ""}, {"identifier": "a\nb"}, {"name": ""}, {"x": 1}],
)
def test_a_malformed_licence_is_refused(house: House, change: dict[str, Any]) -> None:
    acme = {"name": "Acme", "identifier": "LicenseRef-Acme", "status": "allowed"}
    assert put(house, **{**acme, **change})[0] == 400


def test_only_an_admin_changes_licences_or_sees_the_configuration(house: House) -> None:
    for caller in (house.people.user, house.people.approver):
        for method, path in (
            ("POST", "/api/admin/licenses"), ("PUT", "/api/admin/licenses/1"),
            ("DELETE", "/api/admin/licenses/1"), ("GET", "/api/admin/config"),
        ):  # fmt: skip
            assert caller(method, path).status_code == 403


def test_the_configuration_shows_what_is_set_and_missing_and_no_secret(house: House) -> None:
    house.changes |= {
        "OSV_API_URL": "https://ada:s3cr3t@osv.example.test/v1?key=s3cr3t#s3cr3t",
        "SOURCE_TOKEN": "s3cr3t", "METRICS_TOKEN": "s3cr3t-s3cr3t-s3cr3t",
    }  # fmt: skip
    answer = house.people.admin("GET", "/api/admin/config")

    said = answer.get_json()
    assert "s3cr3t" not in answer.text
    assert house.database_url.rpartition("@")[2] not in answer.text
    assert said["configured"]["DATABASE_URL"] == said["configured"]["SOURCE_TOKEN"] == "***"
    assert said["configured"]["SOURCE_REPOSITORY_URL"] == house.registry.url
    assert said["configured"]["OSV_API_URL"] == "https://osv.example.test/v1"
    assert said["configured"]["DOWNLOAD_TIMEOUT"] == 5.0
    assert "TRIVY_BINARY" in said["missing"]
