"""HTTP/1.1 connections to addresses that were checked, with a deadline on every byte."""

import io
import socket
import ssl
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from threading import Lock
from typing import Any, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from backend.outbound.sites import Site

CHUNK = 64 * 1024
_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 30.0
_IDLE_PER_ADDRESS = 16


class Deadline:
    """The moment by which a whole request must have ended."""

    def __init__(self, timeout: timedelta) -> None:
        self._ends = time.monotonic() + timeout.total_seconds()

    def at_most(self, seconds: float) -> float:
        """The time one wait may take, in seconds.

        Raises:
            TimeoutError: the deadline has passed.
        """
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return min(left, seconds)


class _TimedSocket:
    """A socket whose every wait ends at the deadline.

    A plain socket time-out starts anew with each byte, so a registry that drips one byte a second
    (in its headers, its chunk sizes or its body) would hold a thread for hours.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._stream: io.BufferedReader | None = None
        self.deadline = deadline

    def limit(self) -> None:
        self._sock.settimeout(self.deadline.at_most(_SILENCE_SECONDS))

    def settimeout(self, _seconds: float | None) -> None:
        """Ignored: the deadline decides."""

    def sendall(self, data: bytes) -> None:
        self.limit()
        self._sock.sendall(data)

    def makefile(self, *_mode: Any, **_options: Any) -> io.BufferedReader:
        reader = _TimedReader(self, self._sock.makefile("rb", buffering=0))
        self._stream = io.BufferedReader(reader, CHUNK)
        return self._stream

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def abort(self) -> None:
        """Close at once: a stream that was made, and that nobody reads, would keep it open."""
        if self._stream is not None:
            self._stream.close()
        self._sock.close()


class _TimedReader(io.RawIOBase):
    def __init__(self, timed: _TimedSocket, raw: io.RawIOBase) -> None:
        self._timed = timed
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._timed.limit()
        return cast("int | None", self._raw.readinto(buffer))

    def close(self) -> None:
        self._raw.close()
        super().close()


class Exchange:
    """One answer, not yet read."""

    def __init__(
        self, response: BaseHTTPResponse, connection: HTTPConnection, idle: list[HTTPConnection]
    ) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._connection = connection
        self._idle = idle
        self._complete = False

    def read(self) -> bytes:
        """What has arrived, at most ``CHUNK`` bytes and as sent; empty = the body is complete."""
        data = self._response.read1(CHUNK, decode_content=False)
        self._complete = not data
        return data

    def close(self) -> None:
        """Keep the connection where the body was read to its end, else drop it."""
        connection = self._connection
        keep = self._complete and not connection.is_closed
        if keep and len(self._idle) < _IDLE_PER_ADDRESS:
            self._idle.append(connection)
        else:
            self._response.close()
            connection.close()


class Connections:
    """Opens connections and keeps the idle ones. Safe to share between threads."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._lock = Lock()
        self._idle: dict[tuple[Site, str], list[HTTPConnection]] = defaultdict(list)

    def ask(
        self,
        site: Site,
        addresses: Sequence[str],
        target: str,
        headers: Mapping[str, str],
        deadline: Deadline,
        *,
        method: str = "GET",
        body: Iterable[bytes] | None = None,
    ) -> Exchange:
        """Ask one of ``addresses``, resolved and checked before, for ``target`` (path and query).

        Args:
            body: may be iterated twice; its length stands in ``headers``.

        Raises:
            OSError, http.client.HTTPException, urllib3.exceptions.HTTPError: the network failed.
        """
        for address in addresses:
            kept = self._take_idle(site, address, deadline)
            if kept is None:
                continue
            try:
                return self._ask(kept, site, address, (method, target), headers, body)
            except (ConnectionError, ssl.SSLError):  # the registry closed it between two requests
                kept.close()
                break
        address, fresh = self._connect(site, addresses, deadline)
        return self._ask(fresh, site, address, (method, target), headers, body)

    def close(self) -> None:
        with self._lock:
            kept = [connection for idle in self._idle.values() for connection in idle]
            self._idle.clear()
        for connection in kept:
            connection.close()

    def _take_idle(self, site: Site, address: str, deadline: Deadline) -> HTTPConnection | None:
        with self._lock:
            idle = self._idle[site, address]
        while True:
            try:
                connection = idle.pop()
            except IndexError:
                return None
            if connection.is_connected:
                cast("_TimedSocket", connection.sock).deadline = deadline
                return connection
            connection.close()

    def _connect(
        self, site: Site, addresses: Sequence[str], deadline: Deadline
    ) -> tuple[str, HTTPConnection]:
        failure: Exception = OSError("the name has no address")
        for address in addresses:
            connection = self._new(site, address, deadline.at_most(_CONNECT_SECONDS))
            try:
                connection.connect()
            except (HTTPError, OSError) as error:
                connection.close()
                failure = error
                continue
            timed = _TimedSocket(cast("socket.socket", connection.sock), deadline)
            connection.sock = cast("socket.socket", timed)
            return address, connection
        raise failure

    def _new(self, site: Site, address: str, seconds: float) -> HTTPConnection:
        if site.scheme == "http":
            return HTTPConnection(address, site.port, timeout=seconds)
        return HTTPSConnection(
            address,
            site.port,
            timeout=seconds,
            ssl_context=self._tls,  # verifies the certificate against server_hostname
            server_hostname=site.host,
        )

    def _ask(
        self,
        connection: HTTPConnection,
        site: Site,
        address: str,
        line: tuple[str, str],
        headers: Mapping[str, str],
        body: Iterable[bytes] | None,
    ) -> Exchange:
        sock = cast("_TimedSocket", connection.sock)
        try:
            # Who refuses a body may hang up before its end: the answer is there all the same.
            with suppress(BrokenPipeError):
                connection.request(*line, body=body, headers=headers, preload_content=False)
            response = connection.getresponse()
        except BaseException:
            connection.close()
            sock.abort()
            raise
        with self._lock:
            idle = self._idle[site, address]
        return Exchange(response, connection, idle)
