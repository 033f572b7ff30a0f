"""The engine's statements are SQLAlchemy Core, whatever models their parts were taken from."""

from collections.abc import Callable
from typing import Any

import pytest

from backend.queue import sql
from tests.integration.queue.probe_workload import ERRAND, PROBE

STATEMENTS: list[Callable[..., Any]] = [
    sql.adopt, sql.claim, sql.claim_suspect, sql.commit_step, sql.end_by_person, sql.enter,
    sql.heartbeat, sql.next_due, sql.progress, sql.reap, sql.settle, sql.still_mine,
]  # fmt: skip


@pytest.mark.parametrize("queue", [PROBE, ERRAND])
@pytest.mark.parametrize("statement", STATEMENTS)
def test_no_statement_is_rewritten_by_the_orm(statement: Callable[..., Any], queue: Any) -> None:
    """A mapped column in it would make the session take an UPDATE for one of that model's rows."""
    assert not statement(queue)._propagate_attrs
