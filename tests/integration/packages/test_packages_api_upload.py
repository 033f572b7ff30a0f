"""What an upload refuses, and how: a problem document, and nothing stored."""

import json
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
import structlog

from tests.integration.packages.house import House, lock_of
from tests.registry_server import integrity

SECRET = "s3cr3t-t0ken"
PLAIN = lock_of({"left": {"version": "1.0.0"}})
BIG = 50_001


def raw(**changes: Any) -> bytes:
    return json.dumps({**PLAIN, **changes}).encode()


def with_version(text: str) -> bytes:
    """A lock whose version number is written out as given."""
    return json.dumps({**PLAIN, "lockfileVersion": "@"}).encode().replace(b'"@"', text.encode())


def nested(depth: int) -> bytes:
    tree: dict[str, Any] = {"version": "1.0.0"}
    for _ in range(depth):
        tree = {"version": "1.0.0", "dependencies": {"a": tree}}
    return json.dumps({"lockfileVersion": 1, "dependencies": {"a": tree}}).encode()


REFUSED = {
    "empty": (b"", 400, "not-a-lock-file"),
    "not-json": (b"left@1.0.0", 400, "malformed-json"),
    "a-yarn-lock": (b"# yarn lockfile v1\n", 400, "not-a-lock-file"),
    "a-package-json": (b'{"name": "a", "scripts": {}}', 400, "not-a-lock-file"),
    "not-an-object": (b"[1, 2]", 400, "not-a-lock-file"),
    "not-utf-8": (b'{"lockfileVersion": "\xff"}', 400, "malformed-json"),
    "unknown-version": (raw(lockfileVersion=99), 422, "unsupported-lock-version"),
    "deep": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400, "malformed-json"),
    "deep-dependencies": (nested(40), 400, "malformed-json"),
    "duplicate-keys": (b'{"lockfileVersion": 3, "packages": {}, "packages": {}}', 400,
                       "malformed-json"),
    "nul": (raw(name="a\0b"), 400, "malformed-json"),
    "lone-surrogate": (raw(name="a\ud800b"), 400, "malformed-json"),
    "5000-digit-number": (with_version("9" * 5000), 400, "malformed-json"),
    "infinite-number": (with_version("1e999"), 400, "malformed-json"),
    "nan": (with_version("NaN"), 400, "malformed-json"),
    "packages-is-a-list": (raw(packages=[]), 400, "malformed-lock"),
    "too-many-entries": (
        raw(packages={f"node_modules/p{n}": {"version": "1.0.0"} for n in range(BIG)}), 413,
        "too-many-entries",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_upload_that_is_no_usable_lock_is_refused_with_one_sentence_and_stores_nothing(
    house: House, name: str
) -> None:
    data, status, code = REFUSED[name]
    answer = house.upload(data)

    problem = answer.get_json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert answer.mimetype == "application/problem+json"
    assert problem["error"] == problem["detail"]
    assert 10 < len(problem["error"]) < 400
    assert "\n" not in problem["error"]
    assert house.database.one("SELECT count(*) FROM requests") == 0
    assert house.database.one("SELECT count(*) FROM packages") == 0


@pytest.mark.parametrize("over", [1, 30 * 1024 * 1024])
def test_a_file_over_the_limit_is_refused_and_stores_nothing(house: House, over: int) -> None:
    house.changes["MAX_CONTENT_LENGTH"] = limit = 100_000
    answer = house.upload(json.dumps(PLAIN).encode() + b" " * (limit + over))

    assert answer.status_code == 413
    assert "100000 bytes" in answer.get_json()["error"]
    assert house.database.one("SELECT count(*) FROM requests") == 0


def test_a_form_without_a_file_is_refused(house: House) -> None:
    answer = house.people.user("POST", "/api/packages/upload", data={"priority": "5"})

    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid")


@pytest.mark.parametrize("priority", ["0", "11", "high", "9" * 5000])
def test_a_priority_out_of_range_is_refused(house: House, priority: str) -> None:
    assert house.upload(PLAIN, priority=priority).status_code == 400


@pytest.mark.parametrize("filename", ["a\0b.json", "../../etc/passwd", "x" * 5000, "\u202e.json"])
def test_a_files_name_means_nothing(house: House, filename: str) -> None:
    form = {"file": (BytesIO(b"{}"), filename)}
    answer = house.people.user("POST", "/api/packages/upload", data=form)

    assert answer.status_code == 400
    assert len(answer.get_json()["error"]) < 400


def test_the_largest_lock_that_is_allowed_is_stored_whole(house: House) -> None:
    entries = {f"p{n}": {"version": "1.0.0", "integrity": integrity(b"")} for n in range(5_000)}
    answer = house.upload(lock_of(entries))

    assert answer.status_code == 202
    assert answer.get_json()["packages"] == 5_000
    assert house.database.one("SELECT count(*) FROM package_status") == 5_000


def test_a_lock_without_any_package_is_done_at_once_and_never_called_clean(house: House) -> None:
    detail = house.vet(lock_of({"git": {"version": "1.0.0", "resolved": "git://host.test/a"}}))

    assert detail["request"]["completion_percentage"] == 100.0
    assert detail["request"]["status"] == "rejected"
    assert [excluded["reason"] for excluded in detail["excluded"]] == ["git"]


def test_a_lock_that_names_nothing_is_done_at_once(house: House) -> None:
    request = house.vet(lock_of({}))["request"]

    assert (request["status"], request["completion_percentage"]) == ("approved", 100.0)
    assert (request["entries"], request["total_packages"]) == (0, 0)


def test_a_secret_in_a_lock_is_neither_stored_nor_logged(house: House) -> None:
    tarball = house.publish("left")
    urls = {
        "left": f"http://ada:{SECRET}@127.0.0.1:{house.registry.port}/left/-/left-1.0.0.tgz",
        "query": f"https://registry.example.test/a/-/a-1.0.0.tgz?token={SECRET}",
        "fragment": f"https://registry.example.test/b/-/b-1.0.0.tgz#{SECRET}",
        "git": f"git+https://ada:{SECRET}@host.test/a/b.git",
        f"https://ada:{SECRET}@host.test/c": "https://registry.example.test/c/-/c-1.0.0.tgz",
    }
    entries = {
        name: {"version": "1.0.0", "integrity": integrity(tarball), "resolved": url}
        for name, url in urls.items()
    }
    lock = lock_of(entries)
    lock["packages"][""]["_authToken"] = SECRET
    with structlog.testing.capture_logs() as logged:
        house.vet(lock)

    assert logged
    assert SECRET not in repr(logged)
    stored = list(house.database.texts())
    assert any(place == "requests.lock" and "left-1.0.0.tgz" in text for place, text in stored)
    assert [place for place, text in stored if SECRET in text] == []


def test_uploads_are_limited_for_each_user_and_say_when_to_come_back(house: House) -> None:
    house.changes["UPLOAD_RATE_PER_MINUTE"] = 2
    answers = [house.upload(PLAIN) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert 0 < int(answers[2].headers["Retry-After"]) <= 60
    assert answers[2].get_json()["code"] == "too-many-requests"
    assert house.upload(PLAIN, by=house.people.other).status_code == 202


def test_an_upload_that_is_forbidden_uses_up_nothing_and_one_that_is_malformed_does(
    house: House,
) -> None:
    house.changes["UPLOAD_RATE_PER_MINUTE"] = 1
    ada = house.people.user
    wish = {"name": "ci", "scopes": ["read"], "expires_in_days": 1}
    key = ada("POST", "/api/auth/keys", json=wish).get_json()["key"]

    forbidden = house.upload(PLAIN, by=replace(ada, token=key))
    answers = [house.upload(b"no lock"), house.upload(PLAIN)]

    assert (forbidden.status_code, forbidden.get_json()["code"]) == (403, "missing-scope")
    assert [answer.status_code for answer in answers] == [400, 429]


def test_an_upload_answers_what_was_queued_and_what_was_not(house: House) -> None:
    lock = house.lock("left", "right")
    lock["packages"]["node_modules/git"] = {"resolved": "git://host.test/a", "version": "1.0.0"}
    answer = house.upload(lock)

    said = answer.get_json()
    assert answer.status_code == 202
    assert (said["status"], said["packages"]) == ("queued", 2)
    assert said["application"] == {"name": "shop", "version": "1.2.3"}
    assert [(e["entry"], e["reason"]) for e in said["excluded"]] == [("node_modules/git", "git")]
