"""The real worker on the benchmark's queue: ``python -m tests.benchmark.worker URL [options]``.

It says ``ready`` on its standard output, and drains at SIGTERM. With ``--tell`` its step says when
it began on each row, by CLOCK_MONOTONIC; with ``--profile`` it writes down what its threads did.
"""

import argparse
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from backend import logs
from backend.db import make_engine
from backend.queue.pipeline import Done, Step
from tests.benchmark import profiling
from tests.benchmark.floor import say
from tests.benchmark.workload import pipeline
from workers.daemon import Assignment, Daemon, Policy, worker_name
from workers.main import Signals, _serve


def tell(_lease: object, _tools: object) -> Done:
    say(time.monotonic())
    return Done()


def serve(url: str, listen: str, batch: int, *, telling: bool) -> int:
    logs.configure(level="WARNING")
    signals, name = Signals(), worker_name()
    work = pipeline(batch)
    if telling:
        work = replace(work, steps=(Step("run", tell),))
    daemon = Daemon(
        make_engine(url, application_name=name),
        make_engine(listen, pool_size=1, application_name=f"{name}-listen"),
        [Assignment(work)],
        Policy(),
        name=name,
        beat_engine=make_engine(url, pool_size=1, application_name=f"{name}-beat"),
    )
    say("ready")
    return _serve(daemon, signals)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--listen", help="where to listen, if the URL leads through a pooler")
    parser.add_argument("--tell", action="store_true")
    parser.add_argument("--profile", type=Path)
    asked = parser.parse_args()
    with profiling.of_all_threads(asked.profile) if asked.profile else nullcontext():
        code = serve(asked.url, asked.listen or asked.url, asked.batch, telling=asked.tell)
    sys.exit(code)


if __name__ == "__main__":
    main()
