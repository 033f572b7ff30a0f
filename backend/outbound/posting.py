"""Posting to URLs that an admin chose: to checked addresses alone, and never on to anywhere else.

Every host name is resolved here, every address is checked, and the connection goes to that very
address. Proxies, netrc, cookies and redirects do not exist for it.
"""

import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as Urllib3Timeout

from backend.outbound import addresses
from backend.outbound.connections import Connections, Deadline
from backend.outbound.sites import Site

_NETWORK_FAILURES = (OSError, HTTPException, HTTPError)


class UrlRefused(Exception):
    """The rules forbid to post to this URL; one sentence that says why."""


class Unanswered(Exception):
    """No answer came: a time-out, a lost connection, a name or certificate that is wrong."""


class InternalHosts:
    """Hosts that may have internal addresses and speak plain HTTP: ``host`` or ``host:port``."""

    def __init__(self, listed: Iterable[str]) -> None:
        self._listed = frozenset(entry.lower() for entry in listed)

    def __contains__(self, site: Site) -> bool:
        return bool({site.host, f"{site.host}:{site.port}"} & self._listed)


def permitted(url: str, internal: InternalHosts) -> Site:
    """The site of a URL that may be posted to, as far as that is known without asking for it.

    Raises:
        UrlRefused: it is no plain http or https URL, holds what may be secret (a user name, a
            query, a fragment), gives up TLS, or names an address that is refused.
    """
    try:
        site = Site.of(url)
    except ValueError as error:
        raise UrlRefused(f"The URL cannot be used: {error}.") from None
    if "?" in url or "#" in url:
        raise UrlRefused("The URL cannot be used: it has a query or a fragment.")
    if site in internal:
        return site
    if site.scheme != "https":
        raise UrlRefused(f"{site} gives up TLS: only hosts listed as internal may be asked so.")
    if _is_address(site.host):
        _check(site, [site.host], addresses.refusal)
    return site


def _is_address(host: str) -> bool:
    return addresses.refusal(host) != addresses.NO_ADDRESS


def _check(site: Site, found: Iterable[str], refuse: Callable[[str], str | None]) -> None:
    for address in found:
        reason = refuse(address)
        if reason is not None:
            raise UrlRefused(f"{site.host} was refused: it leads to {address}, {reason}.")


class Poster:
    """Sends one body to one URL at a time. Safe to share between threads.

    Args:
        internal: hosts whose addresses are not checked.
        ca_file: PEM certificates trusted besides the system's.
        timeout: of one whole exchange. Resolving a name is bounded by the system's resolver.
        resolver: has the signature of ``socket.getaddrinfo``.
        refuse: why an address may not be connected to.

    Raises:
        OSError: the CA file cannot be used.
    """

    def __init__(
        self,
        internal: InternalHosts,
        *,
        ca_file: Path | None = None,
        timeout: timedelta = timedelta(seconds=10),
        resolver: Callable[..., list[Any]] = socket.getaddrinfo,
        refuse: Callable[[str], str | None] = addresses.refusal,
    ) -> None:
        tls = ssl.create_default_context()
        if ca_file is not None:
            tls.load_verify_locations(ca_file)
        self._internal = internal
        self._timeout = timeout
        self._resolver = resolver
        self._refuse = refuse
        self._connections = Connections(tls)

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Send ``body``; answers the HTTP status, whatever it is. The answer's body is not read.

        Raises:
            UrlRefused: the URL or an address of its host is forbidden; nothing was sent.
            Unanswered: no status came; it may have been received all the same.
        """
        site = permitted(url, self._internal)
        sent = {
            "Host": site.host_header,
            "User-Agent": "lockkeeper",
            "Content-Length": str(len(body)),
            **headers,
        }
        target = urlsplit(url).path or "/"
        try:
            deadline = Deadline(self._timeout)
            exchange = self._connections.ask(
                site, self._resolve(site), target, sent, deadline, method="POST", body=[body]
            )
        except _NETWORK_FAILURES as error:
            raise Unanswered(_said(error, site)) from error
        with closing(exchange):
            return exchange.status

    def _resolve(self, site: Site) -> list[str]:
        """Asked anew each time: a name that was harmless yesterday may lead inside today."""
        entries = self._resolver(site.host, site.port, type=socket.SOCK_STREAM)
        found = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
        if site not in self._internal:
            _check(site, found, self._refuse)
        return found


def _said(error: Exception, site: Site) -> str:
    refused = isinstance(error, NewConnectionError)  # urllib3 counts it among the time-outs
    if isinstance(error, TimeoutError | Urllib3Timeout) and not refused:
        return f"{site} did not answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the TLS certificate of {site} was not accepted: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return f"the host name of {site} could not be resolved"
    return f"the connection to {site} failed: {type(error).__name__}"
