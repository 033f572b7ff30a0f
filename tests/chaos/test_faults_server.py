"""A database that dies, comes back, dies while it comes back, or throws workers out."""

from collections.abc import Callable
from functools import partial

import pytest

from tests.chaos.server import Server
from tests.chaos.stage import TTL, Stage, eventually, quiet_for
from tests.chaos.workload import CRATES

pytestmark = pytest.mark.chaos


def crash(server: Server) -> None:
    server.crash()
    server.start()


def crash_again_in_recovery(server: Server) -> None:
    server.crash_in_recovery()
    server.start()


BREAKS: dict[str, Callable[[Server], None]] = {
    "crash": crash,
    "restart": Server.restart,
    "crash in recovery": crash_again_in_recovery,
}


def more_effects(stage: Stage, *, than: int) -> bool:
    return stage.effects() > than


def test_a_server_that_crashes_or_restarts_loses_and_doubles_nothing(stage: Stage) -> None:
    stage.start(2)
    for name, breaks in BREAKS.items():
        before = stage.effects()
        stage.add(150)
        stage.add(10, queue=CRATES)
        eventually(partial(more_effects, stage, than=before + 30))
        breaks(stage.server)

        stage.rest()
        assert all(worker.alive for worker in stage.fleet), name


def test_an_outage_longer_than_the_lease_is_nobodys_stall(stage: Stage) -> None:
    stage.add(12, kind="slow")
    workers = stage.start(2)
    for worker in workers:
        stage.holding(worker)
    stage.server.crash()
    quiet_for(1.5 * TTL)
    stage.server.start()

    stage.rest()
    assert stage.outcomes()["stalled"] == 0


def test_a_server_that_freezes_for_longer_than_the_lease_is_nobodys_stall(stage: Stage) -> None:
    stage.add(12, kind="slow")
    workers = stage.start(2)
    for worker in workers:
        stage.holding(worker)
    stage.server.freeze()
    quiet_for(1.5 * TTL)
    stage.server.thaw()

    stage.rest()
    assert stage.outcomes()["stalled"] == 0


@pytest.mark.parametrize("point", ["commit:after", "settle:after", "progress:after"])
def test_a_backend_terminated_amid_a_transaction_costs_nothing(stage: Stage, point: str) -> None:
    stage.add(30)
    (worker,) = stage.start(traps=[{"point": point, "act": "stop"}])
    worker.wait_hit(point)
    worker.wait_stopped()
    assert stage.server.terminate_backend(worker.name) > 0
    worker.cont()

    stage.rest()
    assert stage.outcomes() == {"done": 30}
