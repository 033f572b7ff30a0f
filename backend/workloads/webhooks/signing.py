"""What receivers check: that a delivery is ours, whole, and of now. Pure.

A webhook's secret is stored nowhere. It follows from a random salt, which lies in the database, and
a key that only the processes have: a copy of the database signs nothing.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from uuid import UUID

SALT_BYTES: Final = 32
WINDOW: Final = 300  # seconds around now in which receivers should take a timestamp
VERSION: Final = "v1"

ID: Final = "Lockkeeper-Id"
TIMESTAMP: Final = "Lockkeeper-Timestamp"
SIGNATURE: Final = "Lockkeeper-Signature"
EVENT: Final = "Lockkeeper-Event"

_PURPOSE: Final = b"lockkeeper webhook secret\0"
_CHECK_BYTES: Final = 8


def secret_of(key: str, salt: bytes) -> str:
    """The secret that an admin gives to the receiver; its characters are the HMAC's key."""
    derived = hmac.new(key.encode(), _PURPOSE + salt, hashlib.sha256)
    return f"lkwh_{derived.hexdigest()}"


def check_of(secret: str) -> bytes:
    """Tells whether a secret is the one that was shown, and not what it is."""
    return hashlib.sha256(secret.encode()).digest()[:_CHECK_BYTES]


def signature(secret: str, timestamp: int, uid: UUID, body: bytes) -> str:
    """HMAC-SHA256 over ``timestamp.id.body``, as the header has it: ``v1=`` and 64 hex digits."""
    message = f"{timestamp}.{uid}.".encode() + body
    return f"{VERSION}={hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()}"


def headers(secret: str, timestamp: int, uid: UUID, kind: str, body: bytes) -> Mapping[str, str]:
    """All headers of one delivery; ``timestamp`` is in seconds since 1970."""
    return {
        "Content-Type": "application/json",
        ID: str(uid),
        TIMESTAMP: str(timestamp),
        EVENT: kind,
        SIGNATURE: signature(secret, timestamp, uid, body),
    }
