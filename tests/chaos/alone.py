"""One suspect row of the synthetic workload: ``python -m … URL OPTIONS QUEUE TOKEN NAME``.

What ``workers.alone`` is to the product; the worker of this workload starts it.
"""

import os
import sys
from uuid import UUID

from backend import logs
from backend.db import make_engine
from tests.chaos.points import Points
from tests.chaos.worker import Options
from tests.chaos.workload import QUEUES, pipelines
from workers.alone import run_alone, told_to_stop
from workers.assignment import Assignment


def main(url: str, said: str, queue: str, token: str, name: str) -> None:
    stop = told_to_stop()
    logs.configure()
    engine = make_engine(url, pool_size=4, application_name=name)
    points = Points(QUEUES, lambda _point, _act: None)  # for the proxy: it sets no trap
    points.install(engine)
    points.install_at_turns()
    (found,) = [pipeline for pipeline in pipelines() if pipeline.queue.name == queue]
    policy = Options.model_validate_json(said).policy()
    run_alone(engine, Assignment(found), policy, name=name, token=UUID(token), stop=stop)


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)
