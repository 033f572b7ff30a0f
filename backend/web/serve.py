"""The production server: granian's WSGI workers, each with its own engine and application."""

import sys

from flask import Flask
from granian import Granian
from granian.constants import HTTPModes, Interfaces

from backend import logs
from backend.db import make_engine, make_sessions
from backend.settings import Settings, SettingsError
from backend.web.app import create_app

BACKLOG = 1024  # connections that wait to be accepted


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
    return create_app(settings, make_sessions(engine))


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was begun and return.

    The workers read the environment, not ``settings``: it decides only where and how many.
    """
    logs.configure(level=settings.log_level, log_format=settings.log_format)
    Granian(
        "backend.web.serve:application",
        factory=True,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        websockets=False,
        address=settings.api_host,
        port=settings.api_port,
        workers=settings.api_processes,
        blocking_threads=settings.api_threads,
        backlog=BACKLOG,
        workers_kill_timeout=10,  # seconds
        log_enabled=False,
    ).serve()


def main() -> int:
    try:
        settings = Settings.load()
        application()  # refuse bad settings here, in one line, and not in every worker
    except SettingsError as error:
        sys.stderr.write(f"lockkeeper: {error}\n")
        return 2
    serve(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
