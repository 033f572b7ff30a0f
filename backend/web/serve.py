"""The production server: granian's WSGI workers, each with its own engine and application."""

import errno
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any, Final

import structlog
from flask import Flask
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.server.common import AbstractServer

from backend import collector, logs
from backend.db import make_engine
from backend.settings import PortTaken, Settings, SettingsError, of_a_broker
from backend.web.assembly import assemble
from backend.web.metrics import counted_together

BACKLOG = 1024  # connections that wait to be accepted
FINISH: Final = 10  # seconds for a worker to finish what it began

log = structlog.get_logger(__name__)


def application() -> Flask:
    """The application of one worker process, from the environment.

    Raises:
        SettingsError: something that the API needs is missing or wrong.
    """
    settings = Settings.load()
    logs.configure(level=settings.log_level, log_format=settings.log_format)
    engine = make_engine(
        settings.require_database_url(),
        pool_size=settings.database_pool_size,
        application_name="lockkeeper-api",
    )
    _end_with_parent()
    app = assemble(settings, engine)
    collector.settle()
    return app


def free_port(host: str, port: int) -> int:
    """``port``, or any that is free for 0.

    Raises:
        PortTaken: the server itself would not notice: it shares its port, so that its workers can,
            and half of the requests would go to somebody else.
        SettingsError: there is no such host, or the port is not ours to take.
    """
    try:
        with socket.create_server((host, port)) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        refusal = PortTaken if error.errno == errno.EADDRINUSE else SettingsError
        raise refusal(f"API_HOST, API_PORT: {host}:{port}: {error.strerror}") from None


@contextmanager
def claimed(host: str, port: int) -> Iterator[None]:
    """On Linux: of two that found the same port free at the same moment, one alone serves.

    Raises:
        PortTaken: another one is about to serve there, or does.
    """
    if sys.platform != "linux":
        yield
        return
    with socket.socket(socket.AF_UNIX) as claim:
        try:
            claim.bind(f"\0lockkeeper-api-{host}-{port}")  # gone with its process
        except OSError as error:
            raise PortTaken(f"API_HOST, API_PORT: {host}:{port}: {error.strerror}") from None
        yield


def server_of(factory: str, settings: Settings, port: int) -> AbstractServer[Any]:
    """The server, as it serves ``factory``'s application: "module:function"."""
    return Granian(
        factory,
        factory=True,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        websockets=False,
        address=settings.api_host,
        port=port,
        workers=settings.api_processes,
        blocking_threads=settings.api_threads,
        backlog=BACKLOG,
        respawn_failed_workers=True,  # one that keeps failing ends the server
        workers_kill_timeout=FINISH,
        log_enabled=False,
    )


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was begun and return.

    The workers read the environment, not ``settings``: it decides only where and how many.

    Raises:
        SettingsError: see :func:`free_port` and :func:`claimed`.
    """
    logs.configure(level=settings.log_level, log_format=settings.log_format)
    port = free_port(settings.api_host, settings.api_port)
    server = server_of("backend.web.serve:application", settings, port)
    with claimed(settings.api_host, port), counted_together():
        log.info("api.serving", url=f"http://{settings.api_host}:{port}")
        if unread := of_a_broker(os.environ):
            log.warning("settings.ignored", variables=unread, reason="the database is the queue")
        server.serve()


def main() -> int:
    try:
        settings = Settings.load()
        application()  # refuse bad settings here, in one line, and not in every worker
        serve(settings)
    except SettingsError as error:
        sys.stderr.write(f"lockkeeper: {error}\n")
        return error.exit_code
    return 0


def _end_with_parent() -> None:
    """A worker whose server was killed would go on and hold the port."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    log.info("api.process_started", pid=os.getpid())  # one more at times: another was killed

    def watch() -> None:
        parent.join()
        for _ in range(FINISH):  # while it starts, it does not hear
            os.kill(os.getpid(), signal.SIGTERM)
            Event().wait(1)
        os._exit(1)

    Thread(target=watch, name="end-with-parent", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
