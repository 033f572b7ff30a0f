"""Tokens: how secrets are made, what an access token claims, which signing secrets are accepted."""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from backend.settings import Settings, SettingsError

ALGORITHM = "HS256"
AUDIENCE = "lockkeeper-api"
CLOCK_LEEWAY = timedelta(seconds=5)  # between the clocks of API hosts
MIN_SECRET_BYTES = 32  # RFC 7518, 3.2: a key is no shorter than the hash
MIN_DISTINCT_BYTES = 8

KEY_PREFIX = "lk_"
SHOWN_CHARACTERS = len(KEY_PREFIX) + 8

ISSUED = "issued"  # microseconds since 1970 by the database's clock: "iat" has only seconds
LOGIN = "login"
REQUIRED_CLAIMS = frozenset({"iss", "aud", "exp", "iat", "jti", "sub", ISSUED, LOGIN})

_EXAMPLE_WORDS = ("change-me", "changeme", "change_me", "secret", "example", "password", "default")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def signing_secret(settings: Settings) -> str:
    """The secret that signs access tokens.

    Raises:
        SettingsError: it is missing, short, or could be guessed.
    """
    if settings.jwt_secret is None:
        raise SettingsError("JWT_SECRET is not set: give at least 32 random bytes")
    secret = settings.jwt_secret.get_secret_value()
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise SettingsError(f"JWT_SECRET is shorter than {MIN_SECRET_BYTES} bytes")
    if len(set(secret)) < MIN_DISTINCT_BYTES:
        raise SettingsError("JWT_SECRET repeats a few characters: give random ones")
    if any(word in secret.lower() for word in _EXAMPLE_WORDS):
        raise SettingsError("JWT_SECRET is an example value: give at least 32 random bytes")
    return secret


def jwt_config(settings: Settings) -> dict[str, Any]:
    """Configuration of flask-jwt-extended: one algorithm, headers only, every claim checked."""
    return {
        "JWT_SECRET_KEY": signing_secret(settings),
        "JWT_ALGORITHM": ALGORITHM,
        "JWT_DECODE_ALGORITHMS": [ALGORITHM],
        "JWT_ENCODE_ISSUER": settings.jwt_issuer,
        "JWT_DECODE_ISSUER": settings.jwt_issuer,
        "JWT_ENCODE_AUDIENCE": AUDIENCE,
        "JWT_DECODE_AUDIENCE": AUDIENCE,
        "JWT_ENCODE_NBF": False,
        "JWT_DECODE_LEEWAY": int(CLOCK_LEEWAY.total_seconds()),
        "JWT_ACCESS_TOKEN_EXPIRES": settings.access_token_ttl,
        "JWT_TOKEN_LOCATION": ["headers"],
    }


def new_refresh_token() -> str:
    return secrets.token_urlsafe(32)


def new_api_key() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(32)


def digest(secret: str) -> bytes:
    """SHA-256 (32 bytes). Enough for 256 random bits, which nobody can try out."""
    return hashlib.sha256(secret.encode()).digest()


def microseconds(moment: datetime) -> int:
    """Since 1970, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)
