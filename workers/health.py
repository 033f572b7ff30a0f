"""What a worker tells its operator over HTTP: is it alive, is it ready, how is it doing."""

import hmac
import ipaddress
import json
import math
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from backend.settings import Settings, SettingsError
from workers.daemon import Daemon

log = structlog.get_logger(__name__)

CONNECTIONS: Final = 8  # at once; further ones are closed unanswered
LOOK: Final = 0.2  # seconds between two looks at what is overdue
DEADLINE: Final = 10.0  # seconds for a whole connection, however slowly its bytes arrive
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    status: HTTPStatus
    body: bytes
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probes:
    """What the server asks of the worker, each time anew.

    ``alive``: no thread that must live has died. ``checks``: by name "ok" or what is wanting;
    ready is who has nothing but "ok". ``token``: what a scraper must bear, nothing where None.
    """

    alive: Callable[[], bool]
    checks: Callable[[], Mapping[str, str]]
    registry: CollectorRegistry
    token: str | None = None

    def answer(self, path: str, authorization: str) -> Answer:
        match path:
            case "/health":
                alive = self.alive()
                return _json(alive, {"status": "ok" if alive else "broken"})
            case "/ready":
                checks = dict(self.checks())
                ready = all(said == "ok" for said in checks.values())
                return _json(ready, {"status": "ok" if ready else "unavailable", "checks": checks})
            case "/metrics":
                return self._metrics(authorization)
        return Answer(HTTPStatus.NOT_FOUND, b'{"status": "not found"}')

    def _metrics(self, authorization: str) -> Answer:
        if self.token is not None and not _same(authorization, f"Bearer {self.token}"):
            challenge = {"WWW-Authenticate": "Bearer"}
            return Answer(HTTPStatus.UNAUTHORIZED, b'{"status": "unauthorized"}', JSON, challenge)
        return Answer(HTTPStatus.OK, generate_latest(self.registry), CONTENT_TYPE_LATEST)


def _json(fine: bool, document: Mapping[str, Any]) -> Answer:
    status = HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(status, json.dumps(document).encode())


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())


def probes_of(daemon: Daemon, *, lease: timedelta, token: str | None) -> Probes:
    """Ready is a worker that reached the database within the last ``lease``, and claims."""

    def checks() -> dict[str, str]:
        silence = daemon.silence
        reached = "never reached" if math.isinf(silence) else f"not reached for {silence:.0f} s"
        return {
            "threads": "ok" if daemon.healthy else "a thread died",
            "database": "ok" if silence <= lease.total_seconds() else reached,
            "claiming": claiming(),
        }

    def claiming() -> str:
        if daemon.draining:
            return "draining"
        held_up = daemon.held_up
        return f"held up: {', '.join(held_up)}" if held_up else "ok"

    return Probes(lambda: daemon.healthy, checks, daemon.metrics.registry, token)


@contextmanager
def watched(daemon: Daemon, settings: Settings) -> Iterator[None]:
    """Answer for ``daemon`` inside the block, where the settings name a port.

    Raises:
        SettingsError: nobody can listen there, or metrics would be open to other hosts.
    """
    if settings.worker_metrics_port is None:
        yield
        return
    token = settings.metrics_token.get_secret_value() if settings.metrics_token else None
    probes = probes_of(daemon, lease=settings.lease_ttl, token=token)
    server = HealthServer(settings.worker_metrics_host, settings.worker_metrics_port, probes)
    log.info("health.serving", host=settings.worker_metrics_host, port=server.port)
    server.start()
    try:
        yield
    finally:
        server.close()


class HealthServer:
    """Answers GET on a thread of its own until :meth:`close`; the address is bound at once.

    Raises:
        SettingsError: nobody can listen there, or metrics would be open to other hosts.
    """

    def __init__(self, host: str, port: int, probes: Probes) -> None:
        if probes.token is None and not _is_loopback(host):
            raise SettingsError(
                f"WORKER_METRICS_HOST is {host}: set METRICS_TOKEN, or listen on a loopback address"
            )
        try:
            self._server = _Server(host, port, probes)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise SettingsError(
                f"WORKER_METRICS_HOST, WORKER_METRICS_PORT: {host}:{port}: {why}"
            ) from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(LOOK,), name="health", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A thread for each of a few connections. None of them can stay."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64
    # A second worker on this port would take half of the scrapes.
    allow_reuse_port = False

    def __init__(self, host: str, port: int, probes: Probes) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.probes = probes
        self._open: dict[socket.socket, float] = {}
        self._changed = threading.Lock()
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            room = len(self._open) < CONNECTIONS
            if room:
                self._open[request] = time.monotonic() + DEADLINE
        if room:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        with self._changed:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Between two looks at the port: end who is overdue. Its thread then reads the end."""
        now = time.monotonic()
        with self._changed:
            overdue = [request for request, until in self._open.items() if until < now]
        for request in overdue:
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_whose: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # who went away, or was ended, is no event
            log.error("health.failed", exc_info=True)  # noqa: LOG014 - called while it is handled


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = DEADLINE
    server_version = "lockkeeper"
    sys_version = ""
    error_content_type = "text/plain"
    error_message_format = "%(code)d\n"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        answer = self.server.probes.answer(path, self.headers.get("Authorization", ""))
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.media_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_what: Any) -> None:
        """A scrape is no event."""
