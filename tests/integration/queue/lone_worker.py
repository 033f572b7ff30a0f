"""The process for one suspect of the probe workload: ``python -m … URL QUEUE TOKEN NAME``.

The row's payload says what its first step does: ``kill`` or ``exit`` this process, make it ``deaf``
to whatever it is told, ``wait`` until it is told to stop, or nothing of the kind.
"""

import os
import signal
import sys
import threading
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.db import make_engine
from backend.queue.pipeline import Done, Pipeline, Reject, Step
from tests.integration.queue.probe_workload import PROBE, Probe, save
from workers.alone import run_alone
from workers.assignment import Assignment, Policy
from workers.main import Signals

POLICY = Policy(ttl=timedelta(seconds=2), grace=timedelta(milliseconds=200))


def first(payload: str, _tools: None) -> Done | Reject:
    if payload == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if payload == "deaf":
        os.kill(os.getpid(), signal.SIGSTOP)
    if payload == "exit":
        os._exit(3)
    if payload == "wait":
        threading.Event().wait()
    if payload == "refuse":
        return Reject("not this one")
    return Done({})


def second(_payload: str, _tools: None) -> Done:
    return Done({})


def load(session: Session, row_id: int) -> str | None:
    return session.scalar(select(Probe.payload).where(Probe.id == row_id))


PIPELINE = Pipeline(
    queue=PROBE, load=load, steps=(Step("first", first, save=save), Step("second", second, save))
)


def main() -> None:
    url, queue, token, name = sys.argv[1:]
    assert queue == PROBE.name
    signals = Signals()
    engine = make_engine(url, pool_size=4, application_name=name)
    run_alone(engine, Assignment(PIPELINE), POLICY, name=name, token=UUID(token), stop=signals.stop)
    os._exit(0)


if __name__ == "__main__":
    main()
