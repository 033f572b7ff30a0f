"""A TCP proxy between one worker and the server that misbehaves on command.

It reads the frontend's messages (one byte of type, four of length, then the body; psycopg2 sends
its statements as ``Q``), so that it can cut a connection at one statement of the engine, which the
worker marks with a comment (see ``points.marker``).
"""

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Self

CHUNK: Final = 65536
LENGTH: Final = struct.Struct(">I")
NEGOTIATIONS: Final = (80877103, 80877104)  # SSLRequest and GSSENCRequest, answered by one byte
READY_FOR_QUERY: Final = b"Z\x00\x00\x00\x05"
COMMIT: Final = b"COMMIT"
LISTEN: Final = b"LISTEN "
GLANCE: Final = 0.02  # seconds


class Flow(Enum):
    """What becomes of the bytes of a connection."""

    FORWARD = "forward"
    HOLD = "hold"
    """Kept, and delivered late: a network that repeats what it lost."""
    SWALLOW = "swallow"


@dataclass(eq=False)
class _Cut:
    """Where a connection is to be cut, once."""

    marker: bytes
    nth: int
    at_commit: bool
    answer_lost: bool
    happened: threading.Event = field(default_factory=threading.Event)


@dataclass(eq=False)
class _Link:
    client: socket.socket
    server: socket.socket
    flow: Flow = Flow.FORWARD
    deaf: bool = False
    listens: bool = False
    started: bool = False
    unparsed: bytearray = field(default_factory=bytearray)
    transaction: bytearray = field(default_factory=bytearray)
    kept: list[tuple[socket.socket, bytes]] = field(default_factory=list)
    dying: _Cut | None = None
    answer: bytes = b""


class Proxy:
    """Listens on ``port`` of 127.0.0.1 and forwards to ``server_port``; a context."""

    def __init__(self, server_port: int) -> None:
        self._server = ("127.0.0.1", server_port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._links: list[_Link] = []
        self._cuts: list[_Cut] = []
        self._flow = Flow.FORWARD
        self._until = 0.0
        self._lock = threading.RLock()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ, self._accept)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        self.cut()
        self._listening.close()
        self._selector.close()

    def cut(self) -> int:
        """Reset every connection; answers how many there were. New ones are welcome."""
        with self._lock:
            links, self._links = self._links, []
            for link in links:
                self._drop(link)
            return len(links)

    def blackhole(self, seconds: float) -> None:
        """Swallow all bytes for so long with the sockets open, then reset what lost some."""
        self._disturb(Flow.SWALLOW, seconds)

    def hold(self, seconds: float) -> None:
        """Keep all bytes for so long, then deliver them: a COMMIT may arrive very late."""
        self._disturb(Flow.HOLD, seconds)

    def deafen(self) -> int:
        """Leave the connections that have sent LISTEN open and silent for ever; answers how many.

        A new one, with which the worker replaces such a connection, works.
        """
        with self._lock:
            listening = [link for link in self._links if link.listens]
            for link in listening:
                link.deaf = True
            return len(listening)

    def cut_after(self, marker: bytes, nth: int = 1, *, at_commit: bool = False) -> threading.Event:
        """Let the ``nth`` message that contains ``marker`` through, swallow the answer, and reset.

        The server has carried it out, and the worker cannot know: the unknown outcome. With
        ``at_commit`` the message is the COMMIT of a transaction in which ``marker`` was sent.

        Returns:
            Set once it has happened.
        """
        return self._expect(_Cut(marker, nth, at_commit, answer_lost=True))

    def cut_before(
        self, marker: bytes, nth: int = 1, *, at_commit: bool = False
    ) -> threading.Event:
        """Reset instead of letting the ``nth`` message that contains ``marker`` through."""
        return self._expect(_Cut(marker, nth, at_commit, answer_lost=False))

    def forget_cuts(self) -> None:
        """Take back the cuts that have not happened."""
        with self._lock:
            self._cuts.clear()

    def _expect(self, cut: _Cut) -> threading.Event:
        with self._lock:
            self._cuts.append(cut)
        return cut.happened

    def _disturb(self, flow: Flow, seconds: float) -> None:
        with self._lock:
            self._flow, self._until = flow, time.monotonic() + seconds
            for link in self._links:
                link.flow = flow

    def _calm(self) -> None:
        """The disturbance is over: deliver what was held, reset what lost bytes."""
        self._flow = Flow.FORWARD
        for link in list(self._links):
            if link.flow is Flow.SWALLOW:
                self._end(link)
            elif link.flow is Flow.HOLD:
                link.flow = Flow.FORWARD
                kept, link.kept = link.kept, []
                for source, data in kept:
                    self._pass_on(link, source, data)

    def _run(self) -> None:
        while not self._closed.is_set():
            for key, _ in self._selector.select(GLANCE):
                with self._lock:
                    key.data(key.fileobj)
            with self._lock:
                if self._flow is not Flow.FORWARD and time.monotonic() >= self._until:
                    self._calm()

    def _accept(self, listening: socket.socket) -> None:
        client, _ = listening.accept()
        try:
            server = socket.create_connection(self._server, timeout=5)
        except OSError:
            client.close()
            return
        link = _Link(client, server, flow=self._flow)
        self._links.append(link)
        for source in (client, server):
            self._selector.register(source, selectors.EVENT_READ, self._reader(link))

    def _reader(self, link: _Link) -> Callable[[Any], None]:
        def read(source: socket.socket) -> None:
            if link not in self._links:
                return  # ended a moment ago
            try:
                data = source.recv(CHUNK)
            except OSError:
                data = b""
            if not data:
                self._end(link)
            elif link.flow is Flow.HOLD:
                link.kept.append((source, data))
            elif link.flow is Flow.FORWARD and not link.deaf:
                self._pass_on(link, source, data)

        return read

    def _pass_on(self, link: _Link, source: socket.socket, data: bytes) -> None:
        if source is link.client:
            link.unparsed += data
            while (message := self._message(link)) is not None:
                if not self._forward(link, message):
                    return
        elif link.dying is not None:
            link.answer += data
            if READY_FOR_QUERY in link.answer:  # carried out; nobody shall hear of it
                link.dying.happened.set()
                self._end(link)
        else:
            self._send(link, link.client, data)

    def _message(self, link: _Link) -> bytes | None:
        """The next whole message of the frontend, taken from what has arrived."""
        head = 1 if link.started else 0  # start-up messages have no type
        if len(link.unparsed) < head + LENGTH.size:
            return None
        end = head + LENGTH.unpack_from(link.unparsed, head)[0]
        if len(link.unparsed) < end:
            return None
        message = bytes(link.unparsed[:end])
        del link.unparsed[:end]
        return message

    def _forward(self, link: _Link, message: bytes) -> bool:
        """False where the link was cut instead."""
        if not link.started:
            link.started = LENGTH.unpack_from(message, LENGTH.size)[0] not in NEGOTIATIONS
            return self._send(link, link.server, message)
        link.listens = link.listens or LISTEN in message
        cut = self._due(link, message)
        if cut is not None and not cut.answer_lost:
            cut.happened.set()
            self._end(link)
            return False
        link.dying = cut or link.dying
        return self._send(link, link.server, message)

    def _due(self, link: _Link, message: bytes) -> _Cut | None:
        where = bytes(link.transaction) if message[5:].startswith(COMMIT) else b""
        if message[5:].startswith((COMMIT, b"ROLLBACK")):
            link.transaction.clear()
        elif link.transaction or message[5:].startswith(b"BEGIN"):
            link.transaction += message
        for cut in self._cuts:
            if cut.marker in (where if cut.at_commit else message):
                cut.nth -= 1
                if cut.nth == 0:
                    self._cuts.remove(cut)
                    return cut
        return None

    def _send(self, link: _Link, target: socket.socket, data: bytes) -> bool:
        try:
            target.sendall(data)
        except OSError:
            self._end(link)
            return False
        return True

    def _end(self, link: _Link) -> None:
        if link in self._links:
            self._links.remove(link)
            self._drop(link)

    def _drop(self, link: _Link) -> None:
        for side in (link.client, link.server):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(side)
            # A reset, not a goodbye.
            side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            side.close()
