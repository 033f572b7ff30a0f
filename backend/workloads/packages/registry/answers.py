"""What a registry's answer means before its body is read. Pure."""

from collections.abc import Container, Mapping
from http import HTTPStatus

from backend.outbound.patience import retry_after
from backend.workloads.packages.registry.errors import RegistryPermanent, RegistryTransient
from backend.workloads.packages.registry.sites import REGISTRY

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
