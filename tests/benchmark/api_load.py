"""A client that is never the bottleneck: keep-alive connections in one epoll loop, a process.

Standard input holds one :class:`Load` as JSON; the last line of standard output is a :class:`Told`.
"""

import json
import resource
import selectors
import socket
import sys
import time
from dataclasses import asdict, dataclass
from itertools import count
from typing import Final

SERIAL: Final = b"0000000000"
"""Ten digits of a template that become the number of the request, so that no two are alike."""

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\ncontent-length: "


@dataclass(frozen=True, slots=True)
class Load:
    """What to send. ``templates`` are whole requests, one for each connection (latin-1)."""

    port: int
    status: int
    """The one that every answer must have."""
    seconds: float
    templates: list[str]
    first: int = 0
    """Number of the first request."""


@dataclass(frozen=True, slots=True)
class Told:
    """``cpu_share`` is the part of one processor that this client took."""

    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_share: float


class _Line:
    """One connection: a request is sent when the answer to the last has come."""

    def __init__(self, load: Load, template: str) -> None:
        self._expected = b"HTTP/1.1 %d" % load.status
        self._pieces = template.encode("latin-1").split(SERIAL)
        self.socket = socket.create_connection(("127.0.0.1", load.port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answer = b""
        self._sent = 0.0

    def send(self, number: int) -> None:
        self._sent = time.perf_counter()
        self.socket.sendall((b"%010d" % number).join(self._pieces))

    def receive(self) -> float | None:
        """Seconds from request to answer; None while the answer is not whole."""
        arrived = self.socket.recv(65536)
        if not arrived:
            raise ConnectionError(f"closed after {self._answer[:300]!r}")
        self._answer += arrived
        head, end, body = self._answer.partition(_HEAD_END)
        if not end:
            return None
        _, _, length = head.lower().partition(_LENGTH)
        if len(body) < int(length.partition(b"\r\n")[0]):
            return None
        if not head.startswith(self._expected):
            raise ConnectionError(f"answered {self._answer[:600]!r}")
        self._answer = b""
        return time.perf_counter() - self._sent


def drive(load: Load) -> Told:
    """Send as fast as answers come, for the given time.

    Raises:
        ConnectionError: a connection was closed, or an answer had another status.
    """
    numbers, took = count(load.first), []
    lines = [_Line(load, template) for template in load.templates]
    began, cpu = time.perf_counter(), _cpu_seconds()
    with selectors.DefaultSelector() as selector:
        for line in lines:
            selector.register(line.socket, selectors.EVENT_READ, line)
            line.send(next(numbers))
        while time.perf_counter() - began < load.seconds:
            for key, _ in selector.select(30):
                seconds = key.data.receive()
                if seconds is not None:
                    took.append(seconds)
                    key.data.send(next(numbers))
    elapsed, used = time.perf_counter() - began, _cpu_seconds() - cpu
    for line in lines:
        line.socket.close()
    return _told(took, elapsed, used)


def _told(took: list[float], elapsed: float, used: float) -> Told:
    ordered = sorted(took)
    return Told(
        requests=len(ordered),
        requests_per_s=len(ordered) / elapsed,
        p50_ms=1000 * ordered[len(ordered) // 2],
        p99_ms=1000 * ordered[int(len(ordered) * 0.99)],
        cpu_share=used / elapsed,
    )


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(drive(Load(**json.load(sys.stdin))))) + "\n")
