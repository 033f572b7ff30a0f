"""How long another side asks to be left alone. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER = timedelta(hours=1)


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Read ``Retry-After`` (RFC 9110, 10.2.3): seconds or a date, cut to 0 … 1 hour.

    A date is compared with the answer's own ``Date`` where it has one, so that our clock does not
    matter. None = absent or unreadable.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        # nine digits are 31 years; more would only overflow
        return min(timedelta(seconds=int(value[:9])), LONGEST_RETRY_AFTER)
    until = _http_date(value)
    if until is None:
        return None
    wait = until - (_http_date(headers.get("Date", "")) or datetime.now(UTC))
    return max(timedelta(0), min(wait, LONGEST_RETRY_AFTER))


def _http_date(value: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
