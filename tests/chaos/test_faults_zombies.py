"""Stale writes of every kind; ``./scripts/chaos --zombies N`` tries as many as one likes."""

import pytest

from backend.queue import sql
from tests.chaos.stage import Stage
from tests.chaos.workload import LEDGER
from tests.chaos.zombies import run


@pytest.mark.slow
def test_none_of_thousands_of_stale_writes_lands(stage: Stage) -> None:
    report = run(stage.server.url, 8000, seed=1)

    assert report.tried.total() == 8000
    assert len(report.lost) == 5
    assert report.ok, "\n".join(report.lines())


def test_a_stale_write_that_lands_is_reported(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the silence of the other test means something: a heartbeat without its fence."""
    rows = LEDGER.rows
    unfenced = rows.update().where(rows.c.lease_token.is_not(None)).values(progressed_at=None)
    monkeypatch.setattr(sql, "heartbeat", lambda _queue: unfenced.returning(rows.c.id))

    report = run(stage.server.url, 1000, seed=1)

    assert report.landed.keys() == {"heartbeat"}
    assert {change.split(" by ")[1] for change in report.changed} == {
        "heartbeat",
        "worker's heartbeat",
    }
