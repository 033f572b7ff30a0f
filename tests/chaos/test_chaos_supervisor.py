"""Supervisors and terminals signal all processes of a worker at once."""

import os
import signal

import pytest

from backend.queue.lifecycle import SUSPECT_STALLS
from tests.chaos.fleet import held_by
from tests.chaos.stage import Stage, eventually
from tests.chaos.workload import LEDGER

pytestmark = pytest.mark.chaos


def test_a_supervisors_sigterm_to_every_process_convicts_no_row_that_runs_alone(
    stage: Stage,
) -> None:
    (row_id,) = stage.add(1, kind="slow")
    with stage.engine.begin() as connection:
        connection.execute(LEDGER.rows.update().values(stalls=SUSPECT_STALLS))
    (worker,) = stage.start(1)
    eventually(lambda: held_by(stage.engine))

    os.killpg(worker.pid, signal.SIGTERM)

    assert worker.process.wait(30) == 0
    eventually(lambda: not held_by(stage.engine))
    assert stage.outcomes([row_id]).keys() <= {"done", "released"}
    stage.start(1)
    stage.rest()
