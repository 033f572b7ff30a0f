"""The application with everything this release brings: workloads, health checks, metrics."""

from datetime import timedelta
from functools import partial
from typing import Final

from flask import Flask
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from backend.db import make_sessions
from backend.migrations.run import head
from backend.queue import fleet
from backend.queue.wake import Notifier
from backend.settings import Settings
from backend.web import queue_metrics
from backend.web.app import create_app
from backend.web.health import Probes, schema_is
from backend.web.queues import Work
from backend.workloads import erase, owned, parts, queues

FROZEN: Final = timedelta(seconds=60)
"""How long a statement of the API may take, and a transaction of a process that hangs."""


def assemble(settings: Settings, engine: Engine) -> Flask:
    """The whole API of this release.

    Raises:
        SettingsError: the secret that signs tokens is missing or weak.
    """
    return create_app(
        settings,
        make_sessions(engine, limit=FROZEN),
        blueprints=[blueprint for part in parts("api") for blueprint in part.BLUEPRINTS],
        probes=Probes(
            checks={"schema": schema_is(head), "workers": a_worker_lives},
            metrics=partial(queue_metrics.families, queues=tuple(queues())),
        ),
        ready=Notifier(engine).ready,
        work=Work(queues=tuple(queues()), owned=owned, erase=erase),
    )


def a_worker_lives(session: Session) -> bool:
    return bool(fleet.alive(session))
