"""Connections that are kept for single statements are not missing where sessions need them."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from flask import Blueprint
from sqlalchemy import Engine

from backend.db import make_engine, make_sessions
from backend.identity.guard import Role, requires
from backend.operations import operation, transaction
from backend.web.app import create_app
from tests.callers import Caller, make_settings

THREADS = 4


def test_each_thread_has_a_session_where_twice_the_pool_has_one_for_each(
    engine: Engine, user: Caller
) -> None:
    pool = make_engine(engine.url.render_as_string(hide_password=False), pool_size=THREADS // 2)
    together = Barrier(THREADS, timeout=5)
    bp = Blueprint("trial", __name__)

    @bp.get("/together")
    @requires(Role.USER)
    @operation()
    def view() -> None:
        with transaction() as session:
            session.connection()
            together.wait()

    settings = make_settings(DATABASE_POOL_SIZE=THREADS // 2, API_THREADS=THREADS)
    app = create_app(settings, make_sessions(pool), blueprints=[bp])

    def call(_: int) -> int:
        return Caller(app.test_client(), user.token)("GET", "/together").status_code

    with ThreadPoolExecutor(THREADS) as threads:
        answers = list(threads.map(call, range(THREADS)))
    pool.dispose()

    assert answers == [204] * THREADS
