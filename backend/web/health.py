"""Is it alive, is it ready, how is it doing."""

import hmac
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, current_app, g
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.identity.guard import Role, Scope, public, requires
from backend.operations import JSON, operation, settings, transaction

bp = Blueprint("health", __name__)

Check = Callable[[Session], bool]


@dataclass(frozen=True, slots=True)
class Probes:
    """What the host asks of those who know.

    ``checks`` by name, asked in order with a session, each True where all is well; ``metrics``
    returns Prometheus metric families.
    """

    checks: dict[str, Check] = field(default_factory=dict)
    metrics: Callable[[Session], Iterable[Metric]] = lambda _session: ()


NO_PROBES = Probes()


class Alive(BaseModel):
    status: str


class Ready(BaseModel):
    """``checks`` says "ok" or what is wrong, for the database and each further check."""

    status: str
    checks: dict[str, str]


@bp.get("/health")
@public
@operation()
def health() -> Alive:
    """Liveness: this process answers. Asks nothing of the database."""
    return Alive(status="ok")


@bp.get("/ready")
@public
@operation()
def ready() -> Ready | Response:
    """Readiness: the database, its schema and the workers; 503 where one of them is wanting."""
    checks = _results(current_app.extensions["lockkeeper"].probes.checks)
    fine = all(result == "ok" for result in checks.values())
    answer = Ready(status="ok" if fine else "unavailable", checks=checks)
    if fine:
        return answer
    response = Response(answer.model_dump_json(), HTTPStatus.SERVICE_UNAVAILABLE, mimetype=JSON)
    response.headers["Retry-After"] = "5"
    return response


def _results(checks: dict[str, Check]) -> dict[str, str]:
    results = {"database": _ask(lambda session: session.scalar(text("SELECT 1")) == 1)}
    if results["database"] != "ok":
        return results | dict.fromkeys(checks, "not asked: no database")
    return results | {name: _ask(check) for name, check in checks.items()}


def _ask(check: Check) -> str:
    try:
        with transaction() as session:
            return "ok" if check(session) else "failed"
    except SQLAlchemyError as error:
        return f"failed: {type(error).__name__}"


def schema_is(head: Callable[[], str]) -> Check:
    """A check that the database's revision is ``head()`` or newer: schemas are expanded first."""

    def check(session: Session) -> bool:
        stored = session.scalars(text("SELECT version_num FROM alembic_version"))
        return [revision >= head() for revision in stored] == [True]

    return check


def _scraper(bearer: str) -> bool:
    expected = settings().metrics_token
    return expected is not None and hmac.compare_digest(
        expected.get_secret_value().encode(), bearer.encode()
    )


@bp.get("/metrics")
@requires(Role.ADMIN, scope=Scope.READ, otherwise=_scraper)
@operation(media_type="text/plain")
def metrics() -> Response:
    """Prometheus metrics, for an admin or with the METRICS_TOKEN."""
    probes: Probes = current_app.extensions["lockkeeper"].probes
    with g.sessions.begin() as session:
        families = list(probes.metrics(session))
    registry = CollectorRegistry()
    registry.register(_Once(families))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _Once(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Any]:
        return iter(self._families)
