"""Callers of the API in tests: a person who signed in, or whoever holds a token."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from backend.settings import Settings

PASSWORD = "correct horse battery staple"
SIGNING_KEY = "0123456789abcdef0123456789ABCDEF-signing"

AddUser = Callable[..., int]


def make_settings(**changes: Any) -> Settings:
    """Settings of an API under test, by their environment names."""
    return Settings(**{"JWT_SECRET": SIGNING_KEY, "LOGIN_RATE_PER_MINUTE": 100, **changes})


@dataclass(frozen=True)
class Caller:
    client: FlaskClient
    token: str
    refresh_token: str = ""
    id: int = 0

    def __call__(self, method: str, path: str, **kwargs: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.token}", **kwargs.pop("headers", {})}
        return self.client.open(path, method=method, headers=headers, **kwargs)


SignIn = Callable[..., Caller]
