"""Counts for metrics: right, and by way of the partial indexes."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from backend.db import Sessions
from backend.queue import gauges, leases
from backend.queue.gauges import NOTHING
from backend.queue.retry import Died
from tests.integration.queue.ledger import Rows, ago
from tests.integration.queue.probe_workload import PROBE, PUBLISH


def test_held_rows_are_counted_by_status_with_the_age_of_their_oldest_progress(
    rows: Rows, sessions: Sessions
) -> None:
    slow, *_ = rows.add(count=3)
    rows.claim()
    rows.change(slow, progressed_at=ago("100 seconds"), heartbeat_at=ago("0 seconds"))
    with sessions.begin() as session:
        held = gauges.holding(session, PROBE)

    assert held["working"].rows == 3
    assert 100 <= held["working"].oldest_progress < 160
    assert {status: held[status] for status in ("halfway", "finishing")} == {
        "halfway": NOTHING, "finishing": NOTHING,
    }  # fmt: skip


def test_suspects_and_dead_rows_are_counted_for_their_own_queue(
    rows: Rows, sessions: Sessions
) -> None:
    rows.add(count=2, stalls=2)
    rows.add(stalls=1)
    broken: dict[str, Any] = {"status": "broken", "completed_at": ago("0 seconds")}
    rows.add(count=3, failure="poison", failed_from="waiting", stalls=3, **broken)
    rows.add(failure="timeout", failed_from="waiting", **broken)
    rows.add(failure="policy", failed_from="waiting", **broken)
    rows.add(failure="poison", failed_from="approved", **broken)
    with sessions.begin() as session:
        assert gauges.suspects(session, PROBE) == 2
        assert gauges.suspects(session, PUBLISH) == 0
        found = {queue.name: gauges.dead(session, queue) for queue in (PROBE, PUBLISH)}

    nothing = {"permanent": 0, "exhausted": 0, "timeout": 0, "poison": 0}
    assert found == {
        "probe": {**nothing, "poison": 3, "timeout": 1},
        "probe_publish": {**nothing, "poison": 1},
    }


def test_what_was_claimed_under_a_token_is_found_in_history_by_how_it_ended(
    rows: Rows, sessions: Sessions
) -> None:
    rows.add(count=2)
    mine, others = uuid4(), uuid4()
    rows.settle(leases.done(rows.claim_one(token=others)))
    rows.settle(leases.after_error(rows.claim_one(token=mine), Died("a signal")))
    with sessions.begin() as session:
        found = gauges.ended_under(session, mine, within=timedelta(minutes=1))
        late = gauges.ended_under(session, mine, within=timedelta(0))

    assert [tuple(row) for row in found] == [("died", None)]
    assert late == []
