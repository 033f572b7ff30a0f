from datetime import UTC, datetime, timedelta

import pytest

from backend.identity import tokens
from backend.settings import Settings, SettingsError


def settings(secret: str | None) -> Settings:
    return Settings.load(JWT_SECRET=secret)


@pytest.mark.parametrize(
    "secret",
    [
        None,
        "",
        "Zk3v9Qw7Lx2Tb8Yp5Nd1Rf6Hs4Jg0Mc",  # 31 bytes
        "a" * 64,
        "abc" * 20,
        "change-me-change-me-change-me-0123456789",
        "CHANGEME_0123456789_0123456789_abcdef",
        "my-super-secret-key-that-is-long-enough",
        "this-is-an-example-key-0123456789abcdef",
        "password0123456789abcdefghijklmnopqrstuv",
    ],
)
def test_a_missing_short_or_guessable_secret_is_refused(secret: str | None) -> None:
    with pytest.raises(SettingsError) as refused:
        tokens.signing_secret(settings(secret))

    assert "JWT_SECRET" in str(refused.value)
    assert not secret or secret not in str(refused.value)


def test_a_random_secret_is_accepted() -> None:
    secret = "Zk3v9Qw7Lx2Tb8Yp5Nd1Rf6Hs4Jg0McA"

    assert tokens.signing_secret(settings(secret)) == secret


def test_a_moment_becomes_exact_microseconds() -> None:
    moment = datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)

    assert tokens.microseconds(moment + timedelta(microseconds=1)) == 1_767_225_600_000_002


def test_an_api_key_is_marked_and_hardly_guessable() -> None:
    keys = {tokens.new_api_key() for _ in range(100)}

    assert len(keys) == 100
    assert all(key.startswith("lk_") and len(key) == 46 for key in keys)
