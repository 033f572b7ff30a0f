"""What a registry's answer means before its body is read. Pure."""

from collections.abc import Container, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from backend.workloads.packages.registry.errors import RegistryPermanent, RegistryTransient
from backend.workloads.packages.registry.sites import REGISTRY

LONGEST_RETRY_AFTER = timedelta(hours=1)
REDIRECTS = frozenset({301, 302, 303, 307, 308})
READ = frozenset({HTTPStatus.OK})
WRITTEN = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED})
_PERMANENT = {
    HTTPStatus.UNAUTHORIZED: ("registry-denied", "denied access"),
    HTTPStatus.FORBIDDEN: ("registry-denied", "denied access"),
    HTTPStatus.NOT_FOUND: ("not-found", "does not have it"),
    HTTPStatus.METHOD_NOT_ALLOWED: ("not-supported", "does not support the request"),
    HTTPStatus.GONE: ("not-found", "no longer has it"),
}
_TRANSIENT = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)


def failure(
    status: int,
    headers: Mapping[str, str],
    *,
    url: str,
    expected: Container[int] = READ,
    server: str = REGISTRY,
) -> RegistryTransient | RegistryPermanent | None:
    """Judge a status that is not a redirect; None = as expected, the body may be read.

    ``url`` appears in the message: give it without user-info and query. So does ``server``, which
    is what the one who answered is called.
    """
    if status in expected:
        return None
    if status in _PERMANENT:
        code, meaning = _PERMANENT[HTTPStatus(status)]
        return RegistryPermanent(f"{server} {meaning}: {url} answered {status}", code, status)
    if 400 <= status < 500 and status not in _TRANSIENT:  # noqa: PLR2004 - HTTP's own classes
        return RegistryPermanent(
            f"{server} refused the request: {url} answered {status}",
            "registry-refused",
            status,
        )
    return RegistryTransient(
        f"{server} could not answer: {url} answered {status}", retry_after(headers)
    )


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
