"""Workers that die between any two statements, or freeze and wake up too late."""

import pytest

from tests.chaos.fleet import ChaosWorker
from tests.chaos.stage import TTL, Stage, eventually
from tests.chaos.workload import CRATES

TURN = ("turn:before", "turn:after")
COMMIT = ("commit:before", "commit:after", "commit:before-COMMIT", "commit:after-COMMIT")
SETTLE = ("settle:before", "settle:after", "settle:before-COMMIT", "settle:after-COMMIT")
REAP = ("reaper_lock:after", "reap:before", "reap:after", "reap:before-COMMIT")
REAPED = ("reap:after-COMMIT",)


def kill_at(stage: Stage, points: tuple[str, ...]) -> list[ChaosWorker]:
    """One worker for each point, all at once; each is dead when this returns."""
    victims = [
        stage.fleet.start(traps=[{"point": point, "act": "kill"}], concurrency=2)
        for point in points
    ]
    for victim, point in zip(victims, points, strict=True):
        assert victim.wait_hit(point).act == "kill"
        victim.process.wait(10)
    return victims


@pytest.mark.chaos
def test_a_worker_killed_between_any_two_statements_loses_and_doubles_nothing(
    stage: Stage,
) -> None:
    stage.add(300)
    stage.add(40, queue=CRATES)
    kill_at(stage, (*TURN, *COMMIT, *SETTLE))
    with stage.paused():  # what the others left behind is reaped, and not claimed to die again
        kill_at(stage, REAP)
        kill_at(stage, REAPED)  # last: it leaves nothing behind that others would reap

    stage.start(2)
    stage.rest()
    assert stage.outcomes()["stalled"] > 0


@pytest.mark.chaos
def test_a_worker_that_wakes_up_past_its_lease_writes_nothing_and_works_on(stage: Stage) -> None:
    stage.add(8, kind="slow")
    (zombie,) = stage.start()
    lost = stage.holding(zombie)
    zombie.stop()
    zombie.wait_stopped()
    stage.start()
    eventually(lambda: not lost & stage.held(zombie))
    zombie.cont()

    stage.add(100)
    stage.rest()
    assert zombie.alive
    assert stage.outcomes(row_id for _, row_id, _ in lost)["stalled"] == len(lost)


@pytest.mark.slow
def test_a_worker_frozen_between_fence_and_commit_pins_its_row_for_one_lease_time_at_most(
    stage: Stage,
) -> None:
    (row_id,) = stage.add()
    (frozen,) = stage.start(traps=[{"point": "commit:after", "act": "stop"}])
    frozen.wait_hit("commit:after")
    frozen.wait_stopped()

    assert stage.wait_for_lock(row_id, within=TTL + 2) <= TTL + 1
    stage.start()
    stage.rest()
    frozen.cont()
    stage.add(20)
    stage.rest()
    assert frozen.alive


@pytest.mark.chaos
def test_a_killed_workers_rows_are_ready_again_within_twenty_seconds_at_the_default_lease(
    stage: Stage,
) -> None:
    stage.add(12, kind="slow")
    victim, _survivor = stage.start(2, ttl=12.0)
    lost = stage.holding(victim)
    victim.kill()

    eventually(lambda: not lost & stage.held(victim), within=20)


@pytest.mark.chaos
@pytest.mark.parametrize("reapers", [2, 5])
def test_several_reapers_at_once_reap_each_row_once_whatever_their_clocks_say(
    stage: Stage, reapers: int
) -> None:
    stage.add(12, kind="slow")
    victims = stage.start(2)
    lost = set[tuple[str, int, str]]().union(*(stage.holding(victim) for victim in victims))
    for victim in victims:
        victim.stop()
        victim.wait_stopped()
    for hours in range(reapers):  # wrong by up to three hours either way
        stage.fleet.start(name="reaper", clock_ahead=3600.0 * (-hours if hours % 2 else hours))

    stage.rest()
    stalled = stage.column("SELECT (row_id, token)::text FROM attempts WHERE outcome = 'stalled'")
    assert {f"({row_id},{token})" for _, row_id, token in lost} <= set(stalled)
    assert len(stalled) == len(set(stalled))
