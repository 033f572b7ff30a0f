"""Values of a predecessor's row, whatever its columns are called: of several names the first.

Moments without a time zone are UTC, as they were written.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from backend.workloads.packages.lockfile.urls import redact_text

Row = Mapping[str, Any]


class LeftOut(Exception):
    """A row that has no place here; the message says why, the same for all of its kind."""


def moment(value: Any) -> str | None:
    """A moment as RFC 3339; None where nothing usable was kept."""
    try:
        read = datetime.fromisoformat(value)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (TypeError, ValueError, OverflowError):
        return None


def first(row: Row, *names: str) -> Any:
    """What the first of these columns holds that is there and not null."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def text(row: Row, *names: str) -> str | None:
    """None for an empty one, too."""
    value = first(row, *names)
    return str(value) if value not in (None, "") else None


def prose(row: Row, *names: str) -> str | None:
    """Text that people wrote, less what could be a secret in a URL."""
    said = text(row, *names)
    return said and redact_text(said)


def reference(row: Row, *names: str) -> int | None:
    """The number of another row; None for what is no number of a row."""
    value = first(row, *names)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value < 2**63 else None


def own_number(row: Row) -> int:
    """Raises LeftOut where the row has none."""
    number = reference(row, "id")
    if number is None:
        raise LeftOut("it has no number")
    return number


def score(value: Any) -> int | None:
    """From 0 to 100."""
    return value if type(value) is int and value in range(101) else None


def document(value: Any) -> Any:
    """What a column of JSON holds, whether it came as text; None for what nobody can read."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None
