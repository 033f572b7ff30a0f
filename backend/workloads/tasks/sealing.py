"""Parameters that nobody reads in the database: Fernet under a key that follows from TASK_KEY."""

import base64
import hmac
import json
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from backend.problems import Unavailable
from backend.settings import Settings

PURPOSE: Final = b"lockkeeper task parameters"
DIGESTS: Final = b"lockkeeper task digests"


class Unsealable(Exception):
    """They were sealed under another TASK_KEY."""


def seal(settings: Settings, parameters: dict[str, Any]) -> bytes:
    """What is stored instead of ``parameters``.

    Raises:
        Unavailable: code ``task-key-missing``: TASK_KEY is not set.
    """
    return _fernet(settings).encrypt(json.dumps(parameters).encode())


def unseal(settings: Settings, sealed: bytes) -> dict[str, Any]:
    """The parameters again.

    Raises:
        Unavailable: as :func:`seal`.
        Unsealable: this is not the key that they were sealed under.
    """
    try:
        parameters: dict[str, Any] = json.loads(_fernet(settings).decrypt(sealed))
    except InvalidToken:
        raise Unsealable("sealed under another TASK_KEY than this process's") from None
    return parameters


def keyed_digest(settings: Settings, text: bytes) -> bytes:
    """32 bytes by which the same ``text`` is known again, and which nobody can make by guessing.

    Raises:
        Unavailable: as :func:`seal`.
    """
    return hmac.digest(_derived(settings, DIGESTS), text, "sha256")


def _fernet(settings: Settings) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(_derived(settings, PURPOSE)))


def _derived(settings: Settings, purpose: bytes) -> bytes:
    if settings.task_key is None:
        raise Unavailable(
            "TASK_KEY is not set: an operator must give one before such tasks can be submitted.",
            code="task-key-missing",
        )
    return HKDF(SHA256(), 32, salt=None, info=purpose).derive(
        settings.task_key.get_secret_value().encode()
    )
