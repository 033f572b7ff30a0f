"""Being told to stop: once, twice, or without being asked."""

import signal
import time

from tests.chaos.stage import Stage, eventually

STOPPED_AT_ONCE = 128 + signal.SIGTERM


def test_a_drain_hands_back_what_has_not_begun_within_a_second_and_burns_no_attempt(
    stage: Stage,
) -> None:
    added = stage.add(30, kind="slow")
    (worker,) = stage.start(concurrency=2)
    held = stage.holding(worker)
    worker.terminate()
    began = time.monotonic()

    eventually(lambda: len(stage.held(worker)) <= 2, within=1)
    released = time.monotonic() - began
    assert worker.process.wait(5) == 0
    assert released < 1
    outcomes = stage.outcomes(added)
    assert set(outcomes) <= {"released", "done"}
    assert outcomes["released"] >= len(held) - 2
    assert set(stage.column("SELECT attempts FROM chaos_ledger WHERE status = 'posted'")) == {0}


def test_a_second_signal_stops_a_draining_worker_at_once(stage: Stage) -> None:
    stage.add(30, kind="slow")
    (worker,) = stage.start(grace=60.0)
    stage.holding(worker)
    worker.stop()
    worker.wait_stopped()
    worker.terminate()
    worker.cont()
    eventually(lambda: "released" in stage.outcomes())
    worker.terminate()

    assert worker.process.wait(5) == STOPPED_AT_ONCE
