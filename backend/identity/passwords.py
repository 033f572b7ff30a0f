"""Passwords: what is accepted, how they are kept and compared."""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from backend.problems import Malformed

MIN_LENGTH = 12  # characters; length counts, composition rules do not (NIST SP 800-63B, 5.1.1.2)
MAX_LENGTH = 1024

# RFC 9106's argon2id with 46 MiB and one pass: as strong as 19 MiB and two, and half the time.
_HASHER = PasswordHasher(time_cost=1, memory_cost=46 * 1024, parallelism=1)


def hashed(password: str) -> str:
    """The argon2id hash of a new password, with its parameters and salt.

    Raises:
        Malformed: code ``weak-password``; shorter or longer than allowed, or not text.
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise Malformed(
            f"A password has {MIN_LENGTH} to {MAX_LENGTH} characters, this one {len(password)}.",
            code="weak-password",
        )
    return _HASHER.hash(password)


def matches(stored: str | None, password: str) -> bool:
    """Whether ``password`` is the one that was hashed.

    ``None`` (an unknown user) costs the same time and never matches, so that the time of an answer
    does not tell which names exist.
    """
    try:
        _HASHER.verify(stored or _decoy(), password[: MAX_LENGTH + 1])
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


def outdated(stored: str) -> bool:
    """Whether ``stored`` was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(stored)


@cache
def _decoy() -> str:
    return _HASHER.hash("nobody's password")
