"""Who calls is asked in the statement that reads or counts: none learns or uses what is not his."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from backend.autocommit import Autocommit
from tests.callers import Caller
from tests.integration.packages.house import House, lock_of, multipart

UPLOAD = "/api/packages/upload"
LOCK = lock_of({"left": {"version": "1.0.0"}})
STOPPED = {
    "deactivated": ("UPDATE users SET active = false", 401),
    "revoked": ("UPDATE logins SET revoked_at = now()", 401),
    "tokens of before": ("UPDATE users SET tokens_valid_after = clock_timestamp()", 401),
    "key without the scope": ("UPDATE api_keys SET scopes = '{decide}'", 403),
    "key that has expired": ("UPDATE api_keys SET expires_at = now() - interval '1 s'", 401),
    "key that is revoked": ("UPDATE api_keys SET revoked_at = now()", 401),
    "owner of the key deactivated": ("UPDATE users SET active = false", 401),
}


def upload(caller: Caller) -> Any:
    return caller("POST", UPLOAD, **multipart(LOCK))


def with_key(caller: Caller) -> Caller:
    wish = {"name": "ci", "scopes": ["read", "submit"], "expires_in_days": 1}
    return replace(caller, token=caller("POST", "/api/auth/keys", json=wish).get_json()["key"])


@pytest.mark.parametrize("how", STOPPED)
def test_a_caller_who_was_stopped_reads_nothing_and_takes_no_use(house: House, how: str) -> None:
    change, status = STOPPED[how]
    caller = with_key(house.people.user) if "key" in how else house.people.user
    path = f"/api/packages/requests/{upload(caller).get_json()['request_id']}"
    assert caller("GET", path).status_code == 200
    uses = house.database.rows("SELECT * FROM rate_limits")
    house.database.run(change)

    answers = [caller("GET", path), caller("GET", f"{path}/status"), upload(caller)]

    assert [answer.status_code for answer in answers] == [status] * 3
    assert not [answer for answer in answers if "left" in answer.text]
    assert house.database.rows("SELECT * FROM rate_limits") == uses


def test_a_users_keys_and_threads_share_one_rate_and_each_refusal_names_the_user(
    house: House,
) -> None:
    house.changes["UPLOAD_RATE_PER_MINUTE"] = 3
    callers = [house.people.user, with_key(house.people.user), with_key(house.people.user)]
    with capture_logs() as logged, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(upload, callers * 4))

    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(202), statuses.count(429)) == (3, 9)
    served = [line["user_id"] for line in logged if line["event"] == "request.served"]
    assert served == [house.people.user.id] * 12


def test_a_rate_holds_also_where_its_bucket_was_swept_meanwhile(house: House) -> None:
    house.changes["UPLOAD_RATE_PER_MINUTE"] = 1
    before = [upload(house.people.user).status_code for _ in range(2)]
    house.database.run("DELETE FROM rate_limits")

    after = [upload(house.people.user).status_code for _ in range(2)]

    assert (before, after) == ([202, 429], [202, 429])


def test_times_are_utc_whatever_the_zone_of_the_database(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Kolkata")  # of each connection from here on
    house.engine.dispose()
    path = f"/api/packages/requests/{upload(house.people.user).get_json()['request_id']}"

    detail = house.people.user("GET", path).get_json()
    recent = house.people.user("GET", "/api/packages/processing/status").get_json()

    times = [
        detail["request"]["created_at"], detail["packages"][0]["updated_at"],
        recent["recent_activity"][0]["updated_at"],
    ]  # fmt: skip
    assert [time[-1] for time in times] == ["Z"] * 3


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each message of single statements."""
    sent: list[int] = []
    together = Autocommit.together

    def counted(self: Autocommit, statements: Any, params: Any) -> list[Any]:
        sent.append(len(statements))
        return together(self, statements, params)

    monkeypatch.setattr(Autocommit, "together", counted)
    return sent


@pytest.mark.parametrize("key", [False, True])
def test_who_was_just_admitted_uploads_in_one_message(
    house: House, messages: list[int], key: bool
) -> None:
    caller = with_key(house.people.user) if key else house.people.user
    upload(caller)  # their bucket is new
    house.database.run("TRUNCATE packages CASCADE")
    messages.clear()

    answer = upload(caller)

    assert (answer.status_code, len(messages)) == (202, 1)
    assert answer.get_json()["message"].startswith("1 packages queued: 1 new")
    assert house.database.one("SELECT actor_id FROM audit_log ORDER BY id DESC LIMIT 1") == (
        house.people.user.id
    )


def test_a_caller_who_was_stopped_learns_nothing_of_what_is_wrong_with_a_body(
    house: House,
) -> None:
    caller = house.people.user
    assert upload(caller).status_code == 202
    house.database.run("UPDATE logins SET revoked_at = now()")

    answers = [caller("POST", UPLOAD, **multipart(b"no lock")) for _ in range(2)]

    assert [answer.get_json()["code"] for answer in answers] == ["token-revoked"] * 2


@pytest.mark.parametrize("wrong", ["body", "deed"])
def test_a_use_is_counted_also_where_nothing_comes_of_it(house: House, wrong: str) -> None:
    house.changes["UPLOAD_RATE_PER_MINUTE"] = 2
    caller = house.people.user
    assert upload(caller).status_code == 202
    before = house.database.one("SELECT count(*) FROM requests")
    lock, status = (b"no lock", 400) if wrong == "body" else (LOCK, 500)

    house.database.run("ALTER TABLE requests ADD CONSTRAINT no_more CHECK (false) NOT VALID")
    try:
        answers = [caller("POST", UPLOAD, **multipart(lock)) for _ in range(2)]
    finally:
        house.database.run("ALTER TABLE requests DROP CONSTRAINT no_more")

    assert [answer.status_code for answer in answers] == [status, 429]
    assert house.database.one("SELECT count(*) FROM requests") == before


def test_an_empty_lock_of_somebody_over_their_rate_is_not_stored(house: House) -> None:
    house.changes["UPLOAD_RATE_PER_MINUTE"] = 1
    caller, empty = house.people.user, multipart(lock_of({}))

    statuses = [caller("POST", UPLOAD, **empty).status_code for _ in range(3)]

    assert statuses == [202, 429, 429]
    assert house.database.one("SELECT count(*) FROM requests") == 1
