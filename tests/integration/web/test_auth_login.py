from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace

import jwt
import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, update

from backend.db import Sessions
from backend.identity import door, passwords, tokens
from backend.identity.model import AuditEntry, Login, RefreshToken, User
from backend.web.app import create_app
from tests.callers import PASSWORD, SIGNING_KEY, AddUser, Caller, SignIn, make_settings

USERINFO = "/api/auth/userinfo"


def stored_hash(sessions: Sessions, user_id: int) -> str:
    with sessions() as session:
        return session.scalars(select(User.password_hash).where(User.id == user_id)).one()


def test_a_login_answers_with_tokens_and_the_user(client: FlaskClient, add_user: AddUser) -> None:
    user_id = add_user("ada")

    answer = client.post("/api/auth/login", json={"username": "ADA", "password": PASSWORD})

    body = answer.get_json()
    assert answer.status_code == 200
    assert body["user"] == {"id": user_id, "username": "ada", "role": "user", "scopes": None}
    assert body["expires_in"] == 900
    assert Caller(client, body["token"])("GET", USERINFO).get_json() == body["user"]


@pytest.mark.parametrize(
    ("username", "password"), [("ada", "wrong horse battery staple"), ("nobody", PASSWORD)]
)
def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(
    client: FlaskClient, add_user: AddUser, username: str, password: str
) -> None:
    add_user("ada")

    answer = client.post("/api/auth/login", json={"username": username, "password": password})

    assert answer.status_code == 401
    assert answer.get_json()["code"] == "bad-credentials"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_an_unknown_user_costs_as_many_argon2_runs_as_a_known_one(
    client: FlaskClient, add_user: AddUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_user("ada")
    passwords.matches(None, "the decoy is made once")
    runs: list[str] = []
    verify = PasswordHasher.verify

    def counted(self: PasswordHasher, stored: str, password: str) -> bool:
        runs.append(stored.rpartition("$")[0].rpartition("$")[0])
        return verify(self, stored, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    for username in ("ada", "nobody"):
        client.post("/api/auth/login", json={"username": username, "password": "wrong"})

    assert len(runs) == 2
    assert runs[0] == runs[1], "the same parameters"


def test_a_deactivated_user_cannot_sign_in(
    client: FlaskClient, sessions: Sessions, add_user: AddUser
) -> None:
    add_user("ada")
    with sessions.begin() as session:
        session.execute(update(User).values(active=False))

    answer = client.post("/api/auth/login", json={"username": "ada", "password": PASSWORD})

    assert answer.status_code == 401


def test_a_hash_with_old_parameters_is_replaced_at_the_next_login(
    sessions: Sessions, add_user: AddUser, sign_in: SignIn
) -> None:
    user_id = add_user("ada")
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with sessions.begin() as session:
        session.execute(update(User).values(password_hash=old))

    sign_in("ada")

    assert not passwords.outdated(stored_hash(sessions, user_id))
    sign_in("ada")


def test_a_refresh_token_works_once_and_its_successor_works(
    client: FlaskClient, user: Caller
) -> None:
    answer = client.post("/api/auth/refresh", json={"refresh_token": user.refresh_token})

    body = answer.get_json()
    assert answer.status_code == 200
    assert body["refresh_token"] != user.refresh_token
    assert Caller(client, body["token"])("GET", USERINFO).status_code == 200
    again = client.post("/api/auth/refresh", json={"refresh_token": body["refresh_token"]})
    assert again.status_code == 200


def test_reusing_a_refresh_token_ends_the_whole_login(client: FlaskClient, user: Caller) -> None:
    heir = client.post("/api/auth/refresh", json={"refresh_token": user.refresh_token}).get_json()

    thief = client.post("/api/auth/refresh", json={"refresh_token": user.refresh_token})

    assert thief.status_code == 401
    after = client.post("/api/auth/refresh", json={"refresh_token": heir["refresh_token"]})
    assert after.status_code == 401
    assert Caller(client, heir["token"])("GET", USERINFO).status_code == 401
    assert user("GET", USERINFO).status_code == 401


def test_of_two_simultaneous_refreshes_at_most_one_succeeds(app: Flask, user: Caller) -> None:
    def refresh(_: int) -> int:
        body = {"refresh_token": user.refresh_token}
        return app.test_client().post("/api/auth/refresh", json=body).status_code

    with ThreadPoolExecutor(4) as pool:
        statuses = sorted(pool.map(refresh, range(4)))

    assert statuses == [200, 401, 401, 401]


def test_an_expired_refresh_token_is_refused(
    client: FlaskClient, sessions: Sessions, user: Caller
) -> None:
    with sessions.begin() as session:
        session.execute(update(RefreshToken).values(expires_at=func.now()))

    answer = client.post("/api/auth/refresh", json={"refresh_token": user.refresh_token})

    assert answer.status_code == 401


def test_an_unknown_refresh_token_is_refused(client: FlaskClient) -> None:
    answer = client.post("/api/auth/refresh", json={"refresh_token": "made-up"})

    assert answer.status_code == 401


def test_logging_out_ends_this_login_and_no_other(
    client: FlaskClient, add_user: AddUser, sign_in: SignIn
) -> None:
    add_user("ada")
    here, there = sign_in("ada"), sign_in("ada")

    assert here("POST", "/api/auth/logout").status_code == 204

    assert here("GET", USERINFO).status_code == 401
    refreshed = client.post("/api/auth/refresh", json={"refresh_token": here.refresh_token})
    assert refreshed.status_code == 401
    assert there("GET", USERINFO).status_code == 200


def test_a_changed_password_ends_every_login_and_the_next_one_works_at_once(
    user: Caller, sign_in: SignIn, sessions: Sessions
) -> None:
    new = "another horse, another battery"

    answer = user(
        "POST", "/api/auth/password", json={"old_password": PASSWORD, "new_password": new}
    )

    assert answer.status_code == 204
    assert user("GET", USERINFO).status_code == 401
    assert sign_in("ada", new)("GET", USERINFO).status_code == 200
    with sessions() as session:
        assert "password.changed" in session.scalars(select(AuditEntry.action)).all()


def test_a_password_is_not_changed_without_the_old_one(user: Caller, sign_in: SignIn) -> None:
    body = {"old_password": "wrong", "new_password": "another horse, another battery"}

    assert user("POST", "/api/auth/password", json=body).status_code == 401
    sign_in("ada")


@pytest.mark.parametrize(("length", "status"), [(11, 400), (12, 204), (1024, 204), (1025, 400)])
def test_a_password_has_12_to_1024_characters(user: Caller, length: int, status: int) -> None:
    body = {"old_password": PASSWORD, "new_password": "x" * length}

    assert user("POST", "/api/auth/password", json=body).status_code == status


def test_expired_logins_are_forgotten_at_the_next_one(
    sessions: Sessions, user: Caller, sign_in: SignIn
) -> None:
    with sessions.begin() as session:
        session.execute(update(Login).values(expires_at=func.now() - timedelta(seconds=1)))

    sign_in("ada")

    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Login)) == 1


def test_guessing_is_slowed_down_for_one_name_but_not_for_another(
    sessions: Sessions, add_user: AddUser
) -> None:
    client = create_app(make_settings(LOGIN_RATE_PER_MINUTE=2), sessions).test_client()
    add_user("ada")
    add_user("bob")
    attempts = [
        client.post("/api/auth/login", json={"username": name, "password": "wrong"})
        for name in ("ada", "Ada", "ADA", "bob")
    ]

    assert [attempt.status_code for attempt in attempts] == [401, 401, 429, 401]
    problem = attempts[2].get_json()
    assert problem["code"] == "too-many-requests"
    assert attempts[2].headers["Retry-After"] == str(problem["retry_after"])
    assert 1 <= problem["retry_after"] <= 30


def test_a_name_in_another_alphabet_is_no_further_attempt_at_somebodys_password(
    client: FlaskClient, add_user: AddUser
) -> None:
    add_user("admin2")
    other = {"username": "adm\u0130n2", "password": PASSWORD}  # the database's lower case: an i

    assert client.post("/api/auth/login", json=other).status_code == 401


@pytest.fixture
def claims(user: Caller) -> dict[str, object]:
    return jwt.decode(user.token, SIGNING_KEY, algorithms=["HS256"], audience=tokens.AUDIENCE)


def test_a_token_has_the_required_claims_and_no_role(claims: dict[str, object]) -> None:
    assert claims.keys() >= tokens.REQUIRED_CLAIMS
    assert claims["exp"] - claims["iat"] <= 900  # type: ignore[operator]  # both are seconds
    assert "role" not in claims


@pytest.mark.parametrize("claim", sorted(tokens.REQUIRED_CLAIMS))
def test_a_token_without_a_required_claim_is_refused(
    client: FlaskClient, claims: dict[str, object], claim: str
) -> None:
    whole = jwt.encode(claims, SIGNING_KEY, "HS256")
    assert Caller(client, whole)("GET", USERINFO).status_code == 200
    del claims[claim]

    lacking = jwt.encode(claims, SIGNING_KEY, "HS256")

    assert Caller(client, lacking)("GET", USERINFO).status_code == 401


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("iss", "somebody-else"),
        ("aud", "another-api"),
        ("exp", 1_600_000_000),
        ("type", "refresh"),
        ("sub", "not a number"),
        ("sub", "9" * 5000),
        ("sub", "99999999999999999999"),
        ("login", "not a uuid"),
        ("login", 7),
        ("issued", 1),
        ("issued", None),
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(
    client: FlaskClient, claims: dict[str, object], claim: str, value: object
) -> None:
    forged = jwt.encode({**claims, claim: value}, SIGNING_KEY, "HS256")

    assert Caller(client, forged)("GET", USERINFO).status_code == 401


def test_a_token_that_was_accepted_is_refused_once_it_has_expired(
    user: Caller, claims: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert user("GET", USERINFO).status_code == 200
    clock = SimpleNamespace(time=lambda: claims["exp"] + tokens.CLOCK_LEEWAY.total_seconds())  # type: ignore[operator]  # seconds

    monkeypatch.setattr(door, "time", clock)

    refused = user("GET", USERINFO)
    assert (refused.status_code, refused.get_json()["code"]) == (401, "token-invalid")


def test_a_token_of_another_algorithm_or_key_is_refused(
    client: FlaskClient, claims: dict[str, object]
) -> None:
    forged = [
        jwt.encode(claims, SIGNING_KEY + "x" * 32, "HS512"),
        jwt.encode(claims, SIGNING_KEY + "x" * 32, "HS256"),
        jwt.encode(claims, "", "none"),
    ]

    assert [Caller(client, token)("GET", USERINFO).status_code for token in forged] == [401] * 3


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer é", "Bearer a b c", "lk_x"]
)
def test_a_request_without_a_usable_token_gets_401(client: FlaskClient, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}

    answer = client.get(USERINFO, headers=headers)

    assert answer.status_code == 401
    assert answer.mimetype == "application/problem+json"
