"""A worker process to be killed: ``python -m … URL``; its steps take a moment each."""

import sys
import threading
from datetime import timedelta

from backend.db import make_engine
from backend.queue.pipeline import Done, Pipeline, Step
from tests.integration.queue.probe_workload import PROBE, save
from workers.daemon import Assignment, Daemon, Policy
from workers.main import Signals

TTL = timedelta(seconds=2)


def run(_row_id: int, moment: threading.Event) -> Done:
    moment.wait(0.03)
    return Done({})


def pipeline() -> Pipeline:
    steps = (Step("first", run, save=save), Step("second", run, save=save))
    return Pipeline(
        queue=PROBE, steps=steps, load=lambda _session, row_id: row_id, tools=threading.Event()
    )


def main() -> None:
    engine = make_engine(sys.argv[1], application_name="victim")
    signals = Signals()
    daemon = Daemon(engine, engine, [Assignment(pipeline())], Policy(ttl=TTL, concurrency=4))
    daemon.start()
    signals.stop.wait()
    daemon.drain()


if __name__ == "__main__":
    main()
