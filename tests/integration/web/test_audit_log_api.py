"""GET /api/audit-log: who may read it, its filters and pages, its head; and who was erased."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from backend.audit import sealing
from backend.audit.verification import verify
from backend.audit.walking import Walk
from backend.db import Sessions
from backend.identity import audit
from backend.identity.roles import Role
from tests.callers import PASSWORD, AddUser, Caller, SignIn

Log = Callable[..., dict[str, Any]]
LOG = "/api/audit-log"


@pytest.fixture
def log(add_user: AddUser, sign_in: SignIn, sessions: Sessions) -> Log:
    """What an approver is shown; the log holds some deeds of `ann` and of a part of the system."""
    add_user("boss", Role.APPROVER)
    boss = sign_in("boss")
    with sessions.begin() as session:
        for n in range(3):
            audit.record(session, "publisher", "thing.done", f"thing:{n}", n=n)

    def read(**query: Any) -> dict[str, Any]:
        answer = boss("GET", LOG, query_string=query)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.get_json()
        return body

    return read


def subjects(answer: dict[str, Any]) -> list[str]:
    return [entry["subject"] for entry in answer["entries"]]


def test_users_may_not_read_it_and_strangers_neither(user: Caller, client: FlaskClient) -> None:
    for path in (LOG, f"{LOG}/head"):
        assert user("GET", path).status_code == 403
        assert client.get(path).status_code == 401


def test_entries_come_newest_first_by_name_page_and_filter(log: Log, admin: Caller) -> None:
    admin("POST", "/api/admin/users", json={"username": "ann", "password": PASSWORD})
    everything = log()
    newest = everything["entries"][0]
    mark = everything["entries"][1]["at"]

    assert everything["next"] is None
    assert newest.items() >= {
        "actor": "root", "actor_id": admin.id, "action": "user.created", "detail": {"role": "user"},
    }.items()  # fmt: skip
    assert log(actor="ROOT")["entries"] == [newest]
    assert subjects(log(actor="publisher")) == ["thing:2", "thing:1", "thing:0"]
    assert subjects(log(action="thing.done", limit=1)) == ["thing:2"]
    assert log(action="thing.done", limit=1, before=newest["id"])["next"] is not None
    assert subjects(log(subject="thing:1")) == ["thing:1"]
    assert log(actor="nobody")["entries"] == []
    since, until = log(since=mark)["entries"], log(until=mark)["entries"]
    assert since == everything["entries"][:2]
    assert until == everything["entries"][2:]


def test_pages_follow_each_other_without_a_gap(log: Log) -> None:
    seen: list[dict[str, Any]] = []
    before: dict[str, int] = {}
    while True:
        page = log(limit=2, **before)
        seen += page["entries"]
        if page["next"] is None:
            break
        before = {"before": page["next"]}

    assert seen == log()["entries"]


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 501}, {"before": 0}, {"since": "yesterday"}, {"actor": ""},
              {"since": "2026-01-01T00:00:00"}, {"action": "x\0"}],
)  # fmt: skip
def test_a_wrong_filter_is_a_problem_that_names_it(admin: Caller, query: dict[str, Any]) -> None:
    answer = admin("GET", LOG, query_string=query)

    assert answer.status_code == 400
    assert next(iter(query)) in answer.get_json()["error"]


def test_the_head_is_the_newest_seal(log: Log, admin: Caller, sessions: Sessions) -> None:
    before = admin("GET", f"{LOG}/head").get_json()
    with sessions.begin() as session:
        seal = sealing.seal(session, None)
        assert seal is not None
        head = seal.head.hex()

    after = admin("GET", f"{LOG}/head").get_json()

    assert before == {"seal": None, "checkpoint": None}
    assert (after["seal"]["head"], after["seal"]["signature"]) == (head, None)


def test_who_is_erased_is_a_pseudonym_everywhere_and_no_entry_changes(
    admin: Caller, add_user: AddUser, sign_in: SignIn, sessions: Sessions, client: FlaskClient
) -> None:
    ann = add_user("Ann.Personal", Role.APPROVER)
    caller = sign_in("Ann.Personal")
    caller("POST", "/api/auth/keys", json={"name": "k", "scopes": ["read"], "expires_in_days": 1})
    with sessions.begin() as session:
        sealing.seal(session, None)

    first = admin("DELETE", f"/api/admin/users/{ann}")
    again = admin("DELETE", f"/api/admin/users/{ann}")

    assert (first.status_code, again.status_code) == (204, 204)
    assert caller("GET", "/api/auth/userinfo").status_code == 401
    account = admin("GET", f"/api/admin/users/{ann}").get_json()
    assert account["username"].startswith("erased-")
    assert (account["active"], account["role"]) == (False, "user")
    whole = admin("GET", LOG)
    assert "Personal" not in whole.text
    entries = whole.get_json()["entries"]
    by_ann = [entry for entry in entries if entry["actor_id"] == ann]
    assert [(e["actor"], e["action"]) for e in by_ann] == [(account["username"], "key.created")]
    assert [e["action"] for e in entries].count("user.erased") == 1
    assert client.post(
        "/api/auth/login", json={"username": account["username"], "password": "!"}
    ).status_code == 401  # fmt: skip
    walk = Walk()
    with sessions() as session:
        verify(session, walk)
    assert (walk.faults, walk.seals) == ([], 1)


def test_the_last_admin_is_not_erased_and_only_admins_erase(
    admin: Caller, user: Caller, sessions: Sessions
) -> None:
    mine = admin("DELETE", f"/api/admin/users/{admin.id}")

    assert (mine.status_code, mine.get_json()["code"]) == (409, "last-admin")
    assert admin("GET", LOG, query_string={"actor": "root"}).status_code == 200
    assert user("DELETE", f"/api/admin/users/{admin.id}").status_code == 403
    assert admin("DELETE", "/api/admin/users/4711").status_code == 404
