"""Who calls is asked in the statement that reads or counts: none learns or uses what is not his."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

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
