"""The process for one suspect of the synthetic workload: ``python -m … URL QUEUE TOKEN NAME``.

It speaks to the server itself and not through its worker's proxy: a fault of that connection would
be taken for the row's own doing, as any death of this process is.
"""

import os
import sys
from datetime import timedelta
from uuid import UUID

from backend import logs
from backend.db import make_engine
from tests.chaos.workload import pipelines
from workers.alone import run_alone
from workers.assignment import Assignment, Policy
from workers.main import Signals


def main() -> None:
    url, ttl, queue, token, name = sys.argv[1:]
    logs.configure()
    signals = Signals()
    policy = Policy(ttl=timedelta(seconds=float(ttl)), grace=timedelta(seconds=3))
    (pipeline,) = [p for p in pipelines() if p.queue.name == queue]
    engine = make_engine(url, pool_size=4, application_name=name)
    run_alone(engine, Assignment(pipeline), policy, name=name, token=UUID(token), stop=signals.stop)
    os._exit(0)


if __name__ == "__main__":
    main()
