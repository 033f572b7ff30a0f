from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError

from backend.audit import reading
from backend.db import Sessions
from backend.identity.model import ApiKey, User
from backend.identity.roles import Role
from tests.callers import PASSWORD, AddUser, Caller, SignIn

USERS = "/api/admin/users"
USERINFO = "/api/auth/userinfo"


def actions(sessions: Sessions, subject: str) -> list[tuple[str, str]]:
    with sessions() as session:
        rows = reading.entries(session, reading.Filters(subject=subject), before=None, limit=100)
        return [(row.actor, row.action) for row in reversed(rows)]


def make_key(caller: Caller, *scopes: str) -> Caller:
    body = {"name": "ci", "scopes": list(scopes), "expires_in_days": 30}
    answer = caller("POST", "/api/auth/keys", json=body)
    assert answer.status_code == 201, answer.text
    return Caller(caller.client, answer.get_json()["key"], id=answer.get_json()["id"])


def test_an_admin_creates_a_user_who_can_sign_in(
    admin: Caller, sign_in: SignIn, sessions: Sessions
) -> None:
    body = {"username": "grace", "password": PASSWORD, "role": "approver"}

    answer = admin("POST", USERS, json=body)

    created = answer.get_json()
    assert answer.status_code == 201
    assert (created["username"], created["role"], created["active"]) == ("grace", "approver", True)
    assert sign_in("grace").id == created["id"]
    assert actions(sessions, f"user:{created['id']}") == [("root", "user.created")]
    assert admin("GET", f"{USERS}/{created['id']}").get_json() == created


def test_a_username_is_taken_whatever_its_case(admin: Caller) -> None:
    answer = admin("POST", USERS, json={"username": "ROOT", "password": PASSWORD})

    assert answer.status_code == 409
    assert answer.get_json()["code"] == "username-taken"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"username": "a b", "password": PASSWORD}, "body.username"),
        ({"username": "x" * 65, "password": PASSWORD}, "body.username"),
        ({"username": "grace\n", "password": PASSWORD}, "body.username"),
        ({"username": "gräce", "password": PASSWORD}, "body.username"),
        ({"username": 7, "password": PASSWORD}, "body.username"),
        ({"username": "grace", "password": "short"}, "body.password"),
        ({"username": "grace", "password": PASSWORD, "role": "king"}, "body.role"),
        ({"username": "grace", "password": PASSWORD, "rôle": "user"}, "body.rôle"),
        ({"username": "grace"}, "body.password"),
        ([], "body"),
        ("grace", "body"),
    ],
)
def test_a_bad_user_is_refused_naming_the_place(admin: Caller, body: object, place: str) -> None:
    answer = admin("POST", USERS, json=body)

    problem = answer.get_json()
    assert answer.status_code == 400
    assert problem["errors"][0]["place"] == place
    assert problem["detail"].startswith(f"{place}: ")


@pytest.mark.parametrize("user_id", ["0", "-1", "x", "9" * 5000, str(2**63), "1%00"])
def test_an_impossible_id_is_refused(admin: Caller, user_id: str) -> None:
    assert admin("GET", f"{USERS}/{user_id}").status_code == 400


def test_an_unknown_user_is_not_found(admin: Caller) -> None:
    assert admin("GET", f"{USERS}/99").status_code == 404
    assert admin("PATCH", f"{USERS}/99", json={"active": False}).status_code == 404


def test_users_are_listed_page_by_page(admin: Caller, add_user: AddUser) -> None:
    ids = [admin.id, *(add_user(f"u{number}") for number in range(4))]
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        page = admin("GET", f"{USERS}?limit=2&after={after}").get_json()
        seen += [user["id"] for user in page["users"]]
        after = page["next"]

    assert seen == ids


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=1&limit=2", "after=x", "after=%00"]
)
def test_a_bad_page_is_refused(admin: Caller, query: str) -> None:
    assert admin("GET", f"{USERS}?{query}").status_code == 400


def test_a_demotion_acts_at_once(admin: Caller, add_user: AddUser, sign_in: SignIn) -> None:
    add_user("second", Role.ADMIN)
    second = sign_in("second")
    assert second("GET", USERS).status_code == 200

    admin("PATCH", f"{USERS}/{second.id}", json={"role": "user"})

    refused = second("GET", USERS)
    assert refused.status_code == 403
    assert "admin" in refused.get_json()["error"]
    assert second("GET", USERINFO).get_json()["role"] == "user"


def test_a_promotion_acts_at_once(admin: Caller, user: Caller) -> None:
    admin("PATCH", f"{USERS}/{user.id}", json={"role": "admin"})

    assert user("GET", USERS).status_code == 200


def test_deactivating_ends_tokens_and_keys_even_after_reactivation(
    admin: Caller, user: Caller, sessions: Sessions
) -> None:
    key = make_key(user, "read")

    admin("PATCH", f"{USERS}/{user.id}", json={"active": False})
    assert [user("GET", USERINFO).status_code, key("GET", USERINFO).status_code] == [401, 401]
    admin("PATCH", f"{USERS}/{user.id}", json={"active": True})

    assert [user("GET", USERINFO).status_code, key("GET", USERINFO).status_code] == [401, 401]
    assert actions(sessions, f"user:{user.id}")[1:] == [("root", "user.changed")] * 2


def test_revoking_a_users_tokens_lets_him_sign_in_again(
    admin: Caller, user: Caller, sign_in: SignIn
) -> None:
    key = make_key(user, "read")

    admin("PATCH", f"{USERS}/{user.id}", json={"revoke_tokens": True})

    assert [user("GET", USERINFO).status_code, key("GET", USERINFO).status_code] == [401, 401]
    assert sign_in("ada")("GET", USERINFO).status_code == 200


@pytest.mark.parametrize("change", [{"role": "user"}, {"active": False}, {"role": "approver"}])
def test_the_last_active_admin_stays(
    admin: Caller, change: dict[str, object], sessions: Sessions, add_user: AddUser
) -> None:
    asleep = add_user("asleep", Role.ADMIN)
    with sessions.begin() as session:
        session.execute(update(User).where(User.id == asleep).values(active=False))

    answer = admin("PATCH", f"{USERS}/{admin.id}", json=change)

    assert answer.status_code == 409
    assert answer.get_json()["code"] == "last-admin"
    assert admin("GET", USERS).status_code == 200


def test_of_admins_who_demote_each_other_at_once_one_stays(
    app: Flask, sessions: Sessions, add_user: AddUser, sign_in: SignIn
) -> None:
    names = ["a", "b", "c", "d"]
    for name in names:
        add_user(name, Role.ADMIN)
    admins = [sign_in(name) for name in names]

    def demote(number: int) -> int:
        caller, other = admins[number], admins[(number + 1) % len(admins)]
        return Caller(app.test_client(), caller.token)(
            "PATCH", f"{USERS}/{other.id}", json={"role": "user"}
        ).status_code

    with ThreadPoolExecutor(4) as pool:
        statuses = set(pool.map(demote, range(4)))

    assert statuses <= {200, 403, 409}
    with sessions() as session:
        left = session.scalar(select(func.count()).where(User.role == "admin", User.active))
    assert left is not None
    assert left >= 1


def test_a_demotion_that_waited_sees_that_it_would_remove_the_last_admin(
    admin: Caller, app: Flask, sessions: Sessions, add_user: AddUser
) -> None:
    other = add_user("other", Role.ADMIN)
    with ThreadPoolExecutor(1) as pool, sessions.begin() as session:
        session.execute(update(User).where(User.id == other).values(role="user"))
        waiting = pool.submit(
            Caller(app.test_client(), admin.token),
            "PATCH",
            f"{USERS}/{admin.id}",
            json={"role": "user"},
        )
        _wait_for_a_lock(sessions)
        session.commit()
        assert waiting.result(timeout=30).status_code == 409


def _wait_for_a_lock(sessions: Sessions) -> None:
    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    for _ in range(2000):
        with sessions() as session:
            if session.scalar(query):
                return
    pytest.fail("nobody waits for a lock")


def test_a_key_works_within_its_scopes(admin: Caller) -> None:
    reader, writer = make_key(admin, "read"), make_key(admin, "admin")
    body = {"username": "grace", "password": PASSWORD}

    assert reader("GET", USERS).status_code == 200
    assert writer("GET", USERS).get_json()["code"] == "missing-scope"
    assert reader("POST", USERS, json=body).get_json()["code"] == "missing-scope"
    assert writer("POST", USERS, json=body).status_code == 201
    assert reader("GET", USERINFO).get_json()["scopes"] == ["read"]


def test_a_key_never_exceeds_its_owners_role(user: Caller) -> None:
    key = make_key(user, "read", "submit", "decide", "admin")

    assert key("GET", USERS).status_code == 403


def test_a_key_cannot_make_keys_or_change_the_password(user: Caller) -> None:
    key = make_key(user, "read", "submit", "decide", "admin")

    for path in ("/api/auth/keys", "/api/auth/password", "/api/auth/logout"):
        assert key("POST", path).get_json()["code"] == "no-api-keys"


def test_a_key_is_stored_as_a_hash_and_listed_without_its_secret(
    user: Caller, sessions: Sessions
) -> None:
    key = make_key(user, "read")

    [listed] = user("GET", "/api/auth/keys").get_json()["keys"]
    assert key.token.startswith("lk_")
    assert key.token.startswith(listed["prefix"])
    assert len(listed["prefix"]) == 11
    assert "key" not in listed
    with sessions() as session:
        row = session.execute(text("SELECT api_keys::text FROM api_keys")).scalar_one()
    assert key.token not in row


def test_a_keys_use_is_noted(user: Caller) -> None:
    key = make_key(user, "read")
    assert user("GET", "/api/auth/keys").get_json()["keys"][0]["last_used_at"] is None

    key("GET", USERINFO)

    used = user("GET", "/api/auth/keys").get_json()["keys"][0]["last_used_at"]
    key("GET", USERINFO)
    assert used.endswith("Z")
    assert user("GET", "/api/auth/keys").get_json()["keys"][0]["last_used_at"] == used


def test_a_revoked_key_stops_at_once_and_revoking_is_idempotent(
    user: Caller, sessions: Sessions
) -> None:
    key = make_key(user, "read")

    statuses = [user("DELETE", f"/api/auth/keys/{key.id}").status_code for _ in range(2)]

    assert statuses == [204, 204]
    assert key("GET", USERINFO).status_code == 401
    assert actions(sessions, f"key:{key.id}") == [("ada", "key.created"), ("ada", "key.revoked")]


def test_somebody_elses_key_is_not_found(user: Caller, admin: Caller) -> None:
    key = make_key(user, "read")

    assert admin("DELETE", f"/api/auth/keys/{key.id}").status_code == 404
    assert key("GET", USERINFO).status_code == 200


def test_an_expired_key_is_refused(user: Caller, sessions: Sessions) -> None:
    key = make_key(user, "read")
    with sessions.begin() as session:
        session.execute(update(ApiKey).values(expires_at=func.now()))

    assert key("GET", USERINFO).status_code == 401


@pytest.mark.parametrize(
    "change",
    [{"scopes": []}, {"scopes": ["fly"]}, {"expires_in_days": 366}, {"expires_in_days": 0},
     {"expires_in_days": True}, {"name": ""}],
)  # fmt: skip
def test_a_bad_key_is_refused(user: Caller, change: dict[str, object]) -> None:
    body = {"name": "ci", "scopes": ["read"], "expires_in_days": 1, **change}

    assert user("POST", "/api/auth/keys", json=body).status_code == 400


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE users SET role = 'king'",
        "UPDATE users SET username = 'a b'",
        "UPDATE api_keys SET scopes = '{}'",
        "UPDATE api_keys SET scopes = '{fly}'",
        "UPDATE api_keys SET expires_at = now() + interval '2 years'",
        "UPDATE api_keys SET sha256 = ''",
    ],
)
def test_the_database_refuses_what_may_not_be(
    user: Caller, sessions: Sessions, statement: str
) -> None:
    make_key(user, "read")

    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.execute(text(statement))


def test_two_users_whose_names_differ_by_case_cannot_be_stored(
    add_user: AddUser, sessions: Sessions, client: FlaskClient
) -> None:
    add_user("ada")
    row = "INSERT INTO users (username, password_hash, role) VALUES ('ADA', 'x', 'user')"

    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.execute(text(row))
