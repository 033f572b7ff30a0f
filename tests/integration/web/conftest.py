"""An API on a database of its own, and people who call it."""

from functools import cache

import pytest
from flask import Flask
from flask.testing import FlaskClient

from backend.db import Sessions
from backend.identity import passwords, service
from backend.identity.roles import Role
from backend.web.app import create_app
from tests.callers import PASSWORD, AddUser, Caller, SignIn, make_settings

hashed = cache(passwords.hashed)


@pytest.fixture
def app(sessions: Sessions) -> Flask:
    return create_app(make_settings(), sessions)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def add_user(sessions: Sessions) -> AddUser:
    def add(username: str, role: Role = Role.USER, password: str = PASSWORD) -> int:
        with sessions.begin() as session:
            return service.create_user(
                session, "test", username=username, password_hash=hashed(password), role=role
            ).id

    return add


@pytest.fixture
def sign_in(client: FlaskClient) -> SignIn:
    def enter(username: str, password: str = PASSWORD) -> Caller:
        answer = client.post("/api/auth/login", json={"username": username, "password": password})
        assert answer.status_code == 200, answer.text
        body = answer.get_json()
        return Caller(client, body["token"], body["refresh_token"], body["user"]["id"])

    return enter


@pytest.fixture
def admin(add_user: AddUser, sign_in: SignIn) -> Caller:
    add_user("root", Role.ADMIN)
    return sign_in("root")


@pytest.fixture
def user(add_user: AddUser, sign_in: SignIn) -> Caller:
    add_user("ada")
    return sign_in("ada")
