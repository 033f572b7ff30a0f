"""Times, lengths of time and errors as parts of sentences."""

from datetime import UTC, datetime
from typing import Final

_UNITS: Final = (("days", 86_400, 2), ("h", 3600, 2), ("min", 60, 2))
"""Name, seconds, and from how many on it is used."""


def when(at: datetime) -> str:
    """To the second, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def span(seconds: float) -> str:
    """``42 s``, ``5 min``, ``3 h``, ``4 days``; the sign is dropped."""
    size = abs(seconds)
    for name, unit, least in _UNITS:
        if size >= least * unit:
            return f"{size / unit:.0f} {name}"
    return f"{size:.0f} s"


def said(error: str | None) -> str:
    """An error as a part of a sentence."""
    return (error or "no reason was recorded").rstrip(". ")
