"""An npm registry for tests: the real protocol over real sockets on 127.0.0.1, scriptable per path.

It speaks HTTP by hand, so that it can also be told to speak it wrongly.
"""

import base64
import gzip
import hashlib
import io
import json
import socket
import ssl
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Event, Lock, Thread
from typing import Any, Self
from urllib.parse import quote

PUBLISHED_AT = "2020-02-03T04:05:06.000Z"
_NOT_FOUND = json.dumps({"error": "Not found"}).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server sends for one request.

    ``length`` is the Content-Length that it claims; None leaves the header out and ends the body by
    closing the connection. ``raw`` replaces the whole answer. ``drip`` sends byte by byte with that
    many seconds between; ``silent`` sends nothing at all; ``closes`` hangs up afterwards. A body is
    gzipped only where ``gzip`` is set and the client accepts it.
    """

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    length: int | str | None = "true"
    chunked: bool = False
    gzip: bool = False
    raw: bytes | None = None
    drip: float | None = None
    silent: bool = False
    closes: bool = False

    @classmethod
    def json(cls, document: Any, status: int = 200) -> "Answer":
        headers = (("Content-Type", "application/json"),)
        return cls(status, json.dumps(document).encode(), headers, gzip=True)

    @classmethod
    def redirect(cls, location: str, status: int = 302) -> "Answer":
        return cls(status, b"moved", (("Location", location),))

    def wire(self, accepts_gzip: bool) -> bytes:
        if self.raw is not None:
            return self.raw
        body, headers = self.body, list(self.headers)
        if self.gzip and accepts_gzip:
            body = gzip.compress(body)
            headers.append(("Content-Encoding", "gzip"))
        if self.chunked:
            headers.append(("Transfer-Encoding", "chunked"))
            body = b"".join(_chunks(body))
        elif self.length is not None:
            headers.append(
                ("Content-Length", str(len(body) if self.length == "true" else self.length))
            )
        head = [f"HTTP/1.1 {self.status} {_reason(self.status)}"]
        head += [f"{name}: {value}" for name, value in headers]
        return "\r\n".join([*head, "", ""]).encode("latin-1") + body

    @property
    def hangs_up(self) -> bool:
        unframed = self.length is None and not self.chunked
        lying = self.length not in {"true", None}
        return self.closes or self.raw is not None or unframed or lying


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    connection: int
    body: bytes = b""


@dataclass
class RegistryServer:
    """Use as a context manager. ``answer`` scripts a path; ``publish`` serves a whole package.

    ``instead`` of anything else, while it is set, is what every path answers.
    """

    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    port: int = 0
    """0 = any that is free."""
    instead: Answer | None = None
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._script: dict[str, list[Answer]] = defaultdict(list)
        self._packages: dict[str, dict[str, Any]] = {}
        self._lock = Lock()
        self._stopping = Event()
        self._open: set[socket.socket] = set()
        self._threads: list[Thread] = []
        self._connections = 0
        self._listener = socket.create_server((self.host, self.port))
        self.port = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        _hang_up(self._listener)
        with self._lock:
            still_open = list(self._open)
        for connection in still_open:
            _hang_up(connection)
        for thread in self._threads:
            thread.join()

    def answer(self, path: str, *answers: Answer) -> None:
        """Script the answers of a path (as it stands in the request line); the last one repeats."""
        with self._lock:
            self._script[path] = list(answers)

    def once(self, path: str, answer: Answer) -> None:
        """Answer so one time, then as before."""
        with self._lock:
            self._script[path].insert(0, answer)

    def requested(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(request.path == path for request in self.requests)

    def publish(self, name: str, version: str, tarball: bytes, **manifest: Any) -> bytes:
        """Serve one version: both documents and the tarball, which is returned."""
        escaped, path = quote(name, safe="@"), tarball_path(name, version)
        document = {
            "name": name,
            "version": version,
            **manifest,
            "dist": {**dist(tarball), "tarball": f"{self.url}{path}", **manifest.get("dist", {})},
        }
        package = self._packages.setdefault(
            name, {"name": name, "dist-tags": {}, "versions": {}, "time": {}}
        )
        package["versions"][version] = document
        package["dist-tags"]["latest"] = version
        package["time"][version] = PUBLISHED_AT
        self.answer(f"/{escaped}", Answer.json(package))
        self.answer(f"/{escaped}/{version}", Answer.json(document))
        self.answer(path, Answer(body=tarball))
        return tarball

    def _start(self, run: Any, *arguments: Any) -> None:
        thread = Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections += 1
                self._open.add(connection)
            if self._stopping.is_set():
                _hang_up(connection)
                return
            self._start(self._serve, connection, self._connections)

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            with self._wrapped(connection) as sock, sock.makefile("rb") as stream:
                while (request := _read_request(stream, number)) is not None:
                    if not self._reply(sock, request):
                        break
        except OSError:
            pass  # the client hung up, or did not like our certificate
        finally:
            with self._lock:
                self._open.discard(connection)
            _hang_up(connection)

    def _wrapped(self, connection: socket.socket) -> socket.socket:
        if self.tls is None:
            return connection
        wrapped = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open.add(wrapped)
        wrapped.do_handshake()
        return wrapped

    def _reply(self, sock: socket.socket, request: Request) -> bool:
        with self._lock:
            self.requests.append(request)
            script = self._script.get(request.path, [])
            scripted = script.pop(0) if len(script) > 1 else (script or [_not_found()])[0]
            answer = self.instead or scripted
        wire = answer.wire("gzip" in request.headers.get("accept-encoding", ""))
        if answer.silent:
            self._stopping.wait()
            return False
        if answer.drip is None:
            sock.sendall(wire)
        else:
            for index in range(len(wire)):
                sock.sendall(wire[index : index + 1])
                if self._stopping.wait(answer.drip):
                    return False
        return not answer.hangs_up


def npm_tarball(files: Mapping[str, str | bytes], *, root: str = "package") -> bytes:
    """Pack files as npm does, below ``package/``; the same files give the same bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(f"{root}/{path}")
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(packed.getvalue(), mtime=0)


def npm_package(
    name: str, version: str, files: Mapping[str, str | bytes] = {}, **manifest: Any
) -> bytes:
    """A tarball with a ``package.json`` of these fields, and further files."""
    document = json.dumps({"name": name, "version": version, **manifest})
    return npm_tarball({"package.json": document, **files})


def dist(tarball: bytes) -> dict[str, str]:
    """The ``dist`` hashes that npm computes for a tarball."""
    return {"integrity": integrity(tarball), "shasum": hashlib.sha1(tarball).hexdigest()}


def integrity(content: bytes, algorithm: str = "sha512") -> str:
    digest = hashlib.new(algorithm, content).digest()
    return f"{algorithm}-{base64.b64encode(digest).decode()}"


def tarball_path(name: str, version: str) -> str:
    return f"/{quote(name, safe='@/')}/-/{name.rpartition('/')[2]}-{version}.tgz"


def _not_found() -> Answer:
    return Answer(404, _NOT_FOUND, (("Content-Type", "application/json"),))


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"


def _chunks(body: bytes, size: int = 1000) -> Iterable[bytes]:
    for start in range(0, len(body), size):
        piece = body[start : start + size]
        yield b"%x\r\n%s\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def _read_request(stream: Any, number: int) -> Request | None:
    words = stream.readline().decode("latin-1").split()
    if len(words) != 3:
        return None  # the client hung up, or does not speak HTTP
    method, path, _ = words
    headers: dict[str, str] = {}
    while (header := stream.readline().strip()) != b"":
        name, _, value = header.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", 0)))
    return Request(method, path, headers, number, body)


def _hang_up(sock: socket.socket) -> None:
    with suppress(OSError):
        # Not the TLS one: this must also wake a thread that waits inside a read.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    sock.close()
