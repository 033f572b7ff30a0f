"""Is it alive, is it ready, how is it doing."""

import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from flask import Blueprint, Response, current_app
from prometheus_client import CONTENT_TYPE_LATEST, Metric
from prometheus_client.core import GaugeMetricFamily
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.identity.guard import Role, Scope, public, requires
from backend.operations import operation, settings, transaction
from backend.problems import Unavailable
from backend.web.metrics import exposition, release

bp = Blueprint("health", __name__)
log = structlog.get_logger(__name__)

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
def ready() -> Ready:
    """Readiness: the database, its schema and the workers; 503 where one of them is wanting.

    The problem document, too, has the member `checks`.
    """
    checks = _results(current_app.extensions["lockkeeper"].probes.checks)
    wanting = [name for name, result in checks.items() if result != "ok"]
    if wanting:
        raise Unavailable(f"Not ready: {', '.join(wanting)}.", code="not-ready", checks=checks)
    return Ready(status="ok", checks=checks)


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
    host = current_app.extensions["lockkeeper"]
    counted = host.counts.get(lambda: _counts(host.probes))
    families = [release(), *counted, *host.requests.collect()]
    return Response(exposition(families), content_type=CONTENT_TYPE_LATEST)


def _counts(probes: Probes) -> list[Metric]:
    """What the database says, and whether it says anything: its loss must not blind the scraper."""
    up = GaugeMetricFamily("lockkeeper_database_up", "1 where the database answered.")
    try:
        with transaction() as session:
            session.execute(text("SELECT 1"))
            found = list(probes.metrics(session))
    except SQLAlchemyError as error:
        log.warning("metrics.without_database", error=type(error).__name__)
        up.add_metric([], 0)
        return [up]
    up.add_metric([], 1)
    return [up, *found]
