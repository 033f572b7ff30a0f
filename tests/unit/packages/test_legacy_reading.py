"""A predecessor's row by itself: which word it gets here, and what is not believed."""

import json
from base64 import b64decode
from typing import Any

import pytest

from backend.workloads.packages.legacy import columns, reading
from backend.workloads.packages.legacy.columns import LeftOut
from backend.workloads.packages.legacy.words import known, standing


@pytest.mark.parametrize(
    ("there", "facts", "here"),
    [
        ("Checking Licence", {}, ("Requested", None)),
        ("checking license", {}, ("Requested", None)),
        ("Publishing", {"published": True}, ("Requested", None)),
        ("Pending Approval", {}, ("Pending Approval", None)),
        ("Approved", {}, ("Approved", None)),
        ("Approved", {"published": True}, ("Published", None)),
        ("Rejected", {}, ("Rejected", "policy")),
        ("Rejected", {"by_person": True}, ("Rejected", "human")),
        ("Rejected", {"failure": "timeout", "by_person": True}, ("Rejected", "timeout")),
        ("Download Failed", {}, ("Rejected", "permanent")),
        ("no such word", {}, ("Requested", None)),
    ],
)
def test_every_word_has_its_place(there: str, facts: dict[str, Any], here: tuple[str, Any]) -> None:
    given = {"failure": None, "by_person": False, "published": False, **facts}

    assert standing(there, **given) == here


def test_a_word_that_nobody_knows_is_told() -> None:
    assert known("License Checked")
    assert not known("no such word")


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("2024-05-06T07:08:09.5", "2024-05-06T07:08:09.500000+00:00"),
        ("2024-05-06T07:08:09+02:00", "2024-05-06T05:08:09+00:00"),
        ("infinity", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        (7, None),
        (None, None),
    ],
)
def test_a_moment_without_a_zone_is_utc(value: Any, read: str | None) -> None:
    assert columns.moment(value) == read


@pytest.mark.parametrize(
    ("row", "name", "role"),
    [
        ({"username": "ada", "role": "approver"}, "ada", "approver"),
        ({"username": "ada l.", "role": "ROOT"}, "ada-l.", "user"),
        ({"username": "\u0430da", "is_admin": True}, "da", "admin"),
        ({"email": "ada@example.test"}, "ada@example.test", "user"),
        ({"username": "..."}, "user-4", "user"),
    ],
)
def test_a_user_has_a_name_and_a_role_of_ours(row: dict[str, Any], name: str, role: str) -> None:
    user = reading.user({"id": 4, **row})

    assert (user["username"], user["role"]) == (name, role)


def test_no_password_of_another_kind_lets_anybody_in() -> None:
    ours = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"

    assert reading.user({"id": 1, "username": "a", "password": "secret"})["password_hash"] == "none"
    assert reading.user({"id": 1, "username": "a", "password_hash": ours})["password_hash"] == ours


@pytest.mark.parametrize("name", ["../up", "", "a b", "node_modules", "x" * 300])
def test_a_name_that_npm_would_not_take_has_no_place(name: str) -> None:
    with pytest.raises(LeftOut, match="npm allows no such name"):
        reading.package({"id": 1, "name": name, "version": "1.0.0"})


def test_secrets_in_urls_are_kept_nowhere() -> None:
    url = "https://me:pass@npm.example.test/a.tgz?token=pass"
    lock = reading.request({"id": 1, "raw_request_blob": json.dumps({"a": url})})
    text = reading.request({"id": 1, "raw_request_blob": f"not JSON {url}"})
    entry = reading.audit_entry({"id": 1, "resource_type": "Package", "details": url})
    refused = reading.status({"status": "Rejected", "error": url}, None)

    for told in (lock["lock"], text["lock"], entry["details"], refused["error"]):
        assert "pass" not in str(told)
        assert "cGFzc" not in str(told)  # base64 of it


def test_what_was_done_to_people_is_told_without_their_names() -> None:
    entry = reading.audit_entry({"id": 1, "resource_type": "users", "details": "made ada"})

    assert (entry["kind"], entry["details"]) == ("user", None)


@pytest.mark.parametrize("score", [101, -1, "80", 3.5, None])
def test_a_score_out_of_range_is_none(score: Any) -> None:
    row = {"status": "Approved", "license_score": score}

    assert reading.status(row, None)["license_score"] is None


def test_the_decision_that_stands_is_the_last_one() -> None:
    row = {"package_id": 1, "approver_id": 2, "rejector_id": 3}

    def last(word: str) -> str:
        said = reading.decisions_of(reading.status({**row, "status": word}, None), "1 ")
        return str(said[-1]["decision"])

    assert last("Approved") == "approve"
    assert last("Rejected") == "reject"


@pytest.mark.parametrize("report", [None, [], "x", {"Results": 7}, {"Results": [None, {}]}])
def test_a_report_in_no_known_form_is_only_its_counts(report: Any) -> None:
    scan = reading.scan({"id": 1, "scan_result": report, "low_count": 2})

    assert scan["notes"] == ["before the move a scanner found 2 low"]


@pytest.mark.parametrize(
    "password",
    [
        "$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHQ$aGFzaA",
        "$argon2id$v=19$m=8,t=4294967295,p=1$c2FsdHNhbHQ$aGFzaA",
        "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA\n",
        "$argon2id$",
    ],
)
def test_no_hash_makes_a_sign_in_cost_more_than_a_server_has(password: str) -> None:
    user = reading.user({"id": 1, "username": "a", "password": password})

    assert user["password_hash"] == "none"


@pytest.mark.parametrize("said", [False, 0, "f", "false", "disabled", "0", {}])
def test_who_is_not_plainly_active_is_not(said: Any) -> None:
    assert not reading.user({"id": 1, "username": "a", "is_active": said})["active"]
    assert not reading.user({"id": 1, "username": "a", "deleted_at": "2024-05-06"})["active"]
    assert reading.user({"id": 1, "username": "a", "is_active": 1})["active"]


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("\\xZZ", b"\\xZZ"),
        ("\\x7b7d", b"{}"),
        ('{"lockfileVersion": true}', b'{"lockfileVersion": true}'),
        ('{"lockfileVersion": 2.0}', b'{"lockfileVersion": 2.0}'),
        (r'{"a": "https://me:pass@h.test/\ud800"}', rb'{"a": "https://h.test/\ud800"}'),
        ("[" * 20_000, b"[" * 20_000),
        (7, b"7"),
    ],
)
def test_a_lock_that_is_none_is_kept_as_text(raw: Any, kept: bytes) -> None:
    request = reading.request({"id": 1, "lock": raw})

    assert b64decode(request["lock"]) == kept
    assert request["lock_format"] == "unknown"


def test_words_that_are_looked_up_are_short() -> None:
    entry = reading.audit_entry({"id": 1, "resource_type": "x" * 9000, "action": "y" * 9000})
    request = reading.request({"id": 1, "format": "z" * 9000})

    assert max(len(entry["kind"]), len(entry["action"]), len(request["lock_format"])) < 200


def test_what_has_no_moment_has_the_first_one() -> None:
    assert reading.audit_entry({"id": 1, "created_at": "infinity"})["at"] == "epoch"
    assert reading.scan({})["scanned_at"] == "epoch"
    assert reading.user({"id": 1, "username": "a"})["created_at"] == "epoch"


def test_a_report_that_is_text_is_read_and_nonsense_is_none() -> None:
    found = {"Results": [{"Vulnerabilities": [{"VulnerabilityID": "CVE-1", "Severity": "LOW"}]}]}

    assert reading.scan({"scan_result": json.dumps(found)})["notes"][1:] == ["CVE-1 LOW"]
    assert reading.scan({"scan_result": "[" * 20_000, "high_count": {}})["notes"][1:] == []
    assert reading.status({"package_id": 1, "license_score": True}, None)["license_score"] is None
