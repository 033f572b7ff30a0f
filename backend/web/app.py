"""The application factory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from flask import Blueprint, Flask, g, request
from flask_jwt_extended import JWTManager
from prometheus_client import Metric
from werkzeug.middleware.proxy_fix import ProxyFix

from backend.autocommit import Autocommit
from backend.db import Sessions
from backend.identity import door, guard, joining, tokens
from backend.settings import Settings
from backend.web import audit_log, auth, docs, hardening, health, metrics, problems, queues
from backend.web.dispatch import Dispatcher

TOKENS: Final = 4096
"""Access tokens whose signature a process remembers to have checked."""


@dataclass(frozen=True, slots=True)
class Host:
    """What the views of one application share: ``current_app.extensions["lockkeeper"]``."""

    settings: Settings
    sessions: Sessions
    probes: health.Probes
    ready: Callable[[str], None]
    """Tell workers, after a commit, that rows of a queue became ready."""
    work: queues.Work
    requests: metrics.Requests
    counts: metrics.Shared[list[Metric]]
    """What the database says for metrics, between two looks."""


def create_app(
    settings: Settings,
    sessions: Sessions,
    *,
    blueprints: Sequence[Blueprint] = (),
    probes: health.Probes = health.NO_PROBES,
    ready: Callable[[str], None] = lambda _queue: None,
    work: queues.Work = queues.NO_WORK,
) -> Flask:
    """The API with the given workloads' blueprints.

    Raises:
        SettingsError: the secret that signs tokens is missing or weak.
        RuntimeError: a view does not say who may call it, or a blueprint has hooks.
    """
    app = Dispatcher(__name__)
    app.config.update(tokens.jwt_config(settings))
    app.config.update(MAX_CONTENT_LENGTH=settings.max_content_length, PROPAGATE_EXCEPTIONS=False)
    requests = metrics.Requests()
    app.extensions["lockkeeper"] = Host(
        settings, sessions, probes, ready, work, requests, metrics.Shared()
    )
    JWTManager(app)
    hardening.register(app, cors_origins=settings.cors_origins)
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]  # Flask's documented way
    problems.register(app)
    app.after_request(requests.count)

    statements = Autocommit(sessions.kw["bind"], keep=_kept(settings))
    claims_of = lru_cache(maxsize=TOKENS)(door.verified)
    entrance = door.Door(app, statements, claims_of, joining.Recent())

    @app.before_request
    def admit() -> None:
        # Each use of a proxy looks its object up anew: once is enough.
        asked, kept = _behind(request), _behind(g)
        kept.sessions, kept.statements = sessions, statements
        admitted = entrance.admit(asked)
        kept.principal, kept.found = admitted.principal, admitted.found
        kept.joint = admitted.joint

    ours = (health.bp, docs.bp, auth.bp, auth.admin_bp, audit_log.bp, queues.bp)
    for blueprint in (*ours, *blueprints):
        app.register_blueprint(blueprint)
    guard.refuse_unmarked(app)
    app.refuse_hooks()
    return app


def _behind(proxy: Any) -> Any:
    return proxy._get_current_object()  # noqa: SLF001 - its documented way


def _kept(settings: Settings) -> int:
    """Connections kept for single statements: what they hold, sessions cannot have.

    At a peak each thread finds a connection even so, where twice the pool has one for each.
    """
    size = settings.database_pool_size
    return max(0, min(size // 2, 2 * size - settings.api_threads))
