"""The guarded HTTP client of one registry, to read from and to write to.

Every host name is resolved here, every address is checked, and the connection goes to that very
address. Proxies, netrc and cookies do not exist for it.
"""

import socket
import ssl
import time
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as Urllib3Timeout

from backend.outbound import addresses
from backend.outbound.connections import Connections, Deadline, Exchange
from backend.outbound.sites import Site
from backend.queue.breaker import Breakers
from backend.settings import SettingsError
from backend.workloads.packages.registry import answers
from backend.workloads.packages.registry.errors import RegistryPermanent, RegistryTransient
from backend.workloads.packages.registry.sites import REGISTRY, Boundary

MAX_REDIRECTS = 3
NAMES_KEPT = 60.0  # seconds
_DISCARD_AT_MOST = 64 * 1024
_NETWORK_FAILURES = (OSError, HTTPException, HTTPError)


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer that is no failure; ``url`` is where it came from, after redirects."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Body:
    """An answer of status 200 whose body is still to be read, once, by iterating."""

    def __init__(self, url: str, exchange: Exchange, *, max_bytes: int) -> None:
        self.url = url
        self.headers: Mapping[str, str] = exchange.headers
        self._exchange = exchange
        self._max_bytes = max_bytes
        if _said_length(self.headers) > max_bytes:
            raise _too_large(url, max_bytes)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body as it arrives.

        Raises:
            RegistryTransient: it broke off, or did not end in time.
            RegistryPermanent: it is larger than allowed (``too-large``), whatever it said.
        """
        received = 0
        while chunk := self._next():
            received += len(chunk)
            if received > self._max_bytes:
                raise _too_large(self.url, self._max_bytes)
            yield chunk
        if received == 0 and not {"Content-Length", "Transfer-Encoding"} & set(self.headers):
            # A connection that is lost inside the headers reads like an empty body.
            raise RegistryTransient(f"the connection for {self.url} broke off")

    def _next(self) -> bytes:
        try:
            return self._exchange.read()
        except _NETWORK_FAILURES as error:
            raise _transient(error, self.url) from error


class Origin:
    """A registry, and the only way to fetch from it. Safe to share between threads.

    Args:
        base_url: http or https. Its own host and port may be internal; no other host may.
        cdns: hosts that redirects may lead to: ``host[:port]`` for https, or with a scheme.
        ca_file: PEM certificates trusted besides the system's.
        token: bearer token, sent to the registry's own host and to no other.
        timeout: of one whole request, redirects and body included. Resolving a name is bounded by
            the system's resolver instead.
        resolver: has the signature of ``socket.getaddrinfo``.
        refuse: why an address other than the registry's own may not be connected to.
        breakers: one for the registry and for each CDN; what broke off counts as a failure.
        server: what errors call it, where it is something else than a registry.

    Raises:
        SettingsError: the URL, a CDN, the token or the CA file cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        cdns: tuple[str, ...] = (),
        *,
        ca_file: Path | None = None,
        token: str | None = None,
        timeout: timedelta = timedelta(seconds=120),
        resolver: Callable[..., list[Any]] = socket.getaddrinfo,
        refuse: Callable[[str], str | None] = addresses.refusal,
        breakers: Breakers | None = None,
        server: str = REGISTRY,
    ) -> None:
        try:
            self._boundary = Boundary.around(base_url, cdns, server=server)
        except ValueError as error:
            raise SettingsError(f"a registry or CDN URL cannot be used: {error}") from None
        if token is not None and not (token.isascii() and token.isprintable()):
            raise SettingsError("the registry token holds characters that a header may not hold")
        parts = urlsplit(base_url)
        self.base_url = f"{self._boundary.origin}{parts.path.rstrip('/')}"
        self._server = server
        self._token = token
        self._timeout = timeout
        self._resolver = resolver
        self._refuse = refuse
        self._breakers = breakers or Breakers()
        self._connections = Connections(_tls(ca_file, server))
        self._resolved: dict[Site, tuple[float, list[str]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections."""
        self._connections.close()

    def get(self, url: str, *, accept: str, max_bytes: int) -> Response:
        """Fetch a document; it may come gzipped, ``max_bytes`` counts what it unpacks to.

        Raises:
            RegistryTransient: the network failed, or the answer is garbled.
            RegistryPermanent: missing, denied, too large, or a redirect or address is refused.
            CircuitOpen: the host is failing and is not asked for now.
        """
        headers = {"Accept": accept, "Accept-Encoding": "gzip"}
        with self._fetch(url, headers, max_bytes) as body:
            unpacked = _unpack(body, max_bytes)
        return Response(body.url, body.headers, unpacked)

    @contextmanager
    def stream(self, url: str, *, accept: str, max_bytes: int) -> Iterator[Body]:
        """Fetch bytes exactly as the registry stores them; raises as ``get`` does."""
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        with self._fetch(url, headers, max_bytes) as body:
            yield body

    def send(
        self,
        method: str,
        url: str,
        *,
        body: Iterable[bytes] | None = None,
        length: int = 0,
        max_bytes: int,
    ) -> Response:
        """Write to the registry's own host; nothing is ever sent on to where it redirects.

        Args:
            body: JSON, in pieces of ``length`` bytes together, that may be iterated twice.
            max_bytes: of the answer.

        Raises:
            RegistryTransient, RegistryPermanent, CircuitOpen: as ``get`` does.
        """
        site = self._permit(url, None)
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        if body is not None:
            headers |= {"Content-Type": "application/json", "Content-Length": str(length)}
        deadline = Deadline(self._timeout)
        with (
            self._breakers.of(site.host_header).guard(RegistryTransient),
            closing(self._ask(site, url, headers, deadline, method=method, body=body)) as exchange,
        ):
            if exchange.status in answers.REDIRECTS:
                _discard(exchange)
                raise RegistryPermanent(f"{self._server} redirected a write", "redirect-refused")
            answer = self._body(url, exchange, max_bytes, expected=answers.WRITTEN)
            return Response(answer.url, answer.headers, _unpack(answer, max_bytes))

    @contextmanager
    def _fetch(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Iterator[Body]:
        deadline = Deadline(self._timeout)
        came_from: Site | None = None
        for _ in range(1 + MAX_REDIRECTS):
            site = self._permit(url, came_from)
            breaker = self._breakers.of(site.host_header)
            with (
                breaker.guard(RegistryTransient),
                closing(self._ask(site, url, headers, deadline)) as exchange,
            ):
                location = exchange.headers.get("Location")
                if exchange.status not in answers.REDIRECTS or location is None:
                    yield self._body(url, exchange, max_bytes)
                    return
                _discard(exchange)
            url, came_from = _join(url, location), site
        raise RegistryPermanent(
            f"{self._server} redirected more than {MAX_REDIRECTS} times", "redirect-refused"
        )

    def _permit(self, url: str, came_from: Site | None) -> Site:
        try:
            site = Site.of(url)
            reason = self._boundary.refusal(site, came_from=came_from)
        except ValueError as error:
            reason = f"its URL cannot be used: {error}"
        if reason is not None:
            kind = "a URL outside" if came_from is None else "a redirect of"
            raise RegistryPermanent(
                f"{kind} {self._server} was refused: {reason}", "redirect-refused"
            )
        return site

    def _ask(
        self,
        site: Site,
        url: str,
        headers: Mapping[str, str],
        deadline: Deadline,
        *,
        method: str = "GET",
        body: Iterable[bytes] | None = None,
    ) -> Exchange:
        sent = {"Host": site.host_header, "User-Agent": "lockkeeper", **headers}
        if self._token is not None and self._boundary.owns(site):
            sent["Authorization"] = f"Bearer {self._token}"
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            known = self._resolve(site)
            return self._connections.ask(
                site, known, target, sent, deadline, method=method, body=body
            )
        except _NETWORK_FAILURES as error:
            self._resolved.pop(site, None)  # it may have moved
            raise _transient(error, without_query(url)) from error

    def _body(
        self, url: str, exchange: Exchange, max_bytes: int, expected: Container[int] = answers.READ
    ) -> Body:
        shown = without_query(url)
        failure = answers.failure(
            exchange.status, exchange.headers, url=shown, expected=expected, server=self._server
        )
        if failure is not None:
            _discard(exchange)
            raise failure
        return Body(shown, exchange, max_bytes=max_bytes)

    def _resolve(self, site: Site) -> list[str]:
        """Addresses that may be connected to; other hosts' are checked again on every request.

        The registry's own, which may be any, are known for a minute: a resolver that loses a
        packet takes seconds.
        """
        if not self._boundary.owns(site):
            return self._checked(site, self._addresses(site))
        known = self._resolved.get(site)
        if known is None or known[0] < time.monotonic():
            known = time.monotonic() + NAMES_KEPT, self._addresses(site)
            self._resolved[site] = known
        return known[1]

    def _addresses(self, site: Site) -> list[str]:
        found = self._resolver(site.host, site.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def _checked(self, site: Site, resolved: list[str]) -> list[str]:
        for address in resolved:
            reason = self._refuse(address)
            if reason is not None:
                raise RegistryPermanent(
                    f"{site.host} was refused: it resolves to {address}, {reason}",
                    "address-refused",
                )
        return resolved


def without_query(url: str) -> str:
    """The URL as it may be logged: no user-info, no query, no fragment."""
    return f"{Site.of(url)}{urlsplit(url).path}"


def _too_large(url: str, max_bytes: int) -> RegistryPermanent:
    return RegistryPermanent(f"{url} is larger than {max_bytes} bytes", "too-large")


def _said_length(headers: Mapping[str, str]) -> int:
    """``Content-Length`` in bytes; 0 where it is absent or unreadable."""
    value = headers.get("Content-Length", "")
    return int(value[:20]) if value.isascii() and value.isdigit() else 0


def _tls(ca_file: Path | None, server: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            raise SettingsError(f"the CA file of {server} cannot be used: {error}") from None
    return context


def _join(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return location  # refused where it is permitted, with the reason


def _discard(exchange: Exchange) -> None:
    """Read a small body to its end, so that the connection can be used again."""
    if _said_length(exchange.headers) > _DISCARD_AT_MOST:
        return
    received = 0
    try:
        while (chunk := exchange.read()) and received <= _DISCARD_AT_MOST:
            received += len(chunk)
    except _NETWORK_FAILURES:
        return  # the status was what mattered


def _unpack(body: Body, max_bytes: int) -> bytes:
    encoding = body.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "identity":
        return b"".join(body)
    if encoding not in {"gzip", "x-gzip"}:
        raise RegistryTransient(f"{body.url} came in an encoding that was not asked for")
    unpacked = bytearray()
    decoder = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        for chunk in body:
            unpacked += decoder.decompress(chunk, max_bytes + 1 - len(unpacked))
            if len(unpacked) > max_bytes:
                raise _too_large(body.url, max_bytes)
    except zlib.error:
        raise RegistryTransient(f"{body.url} says gzip but is not") from None
    if not decoder.eof:
        raise RegistryTransient(f"{body.url} broke off inside its gzip stream")
    return bytes(unpacked)


def _transient(error: Exception, url: str) -> RegistryTransient:
    refused = isinstance(error, NewConnectionError)  # urllib3 counts it among the time-outs
    if isinstance(error, TimeoutError | Urllib3Timeout) and not refused:
        return RegistryTransient(f"{url} did not answer in time", code="registry-timeout")
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message
        return RegistryTransient(f"the TLS certificate for {url} was not accepted: {reason}")
    if isinstance(error, socket.gaierror):
        return RegistryTransient(f"the host name of {url} could not be resolved")
    return RegistryTransient(f"the connection for {url} failed: {type(error).__name__}")
