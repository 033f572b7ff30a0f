"""A worker of the synthetic workload: ``python -m tests.chaos.worker URL [--options JSON]``.

It is the real daemon with a short lease. Lines of JSON on its standard input are commands:
``{"arm": {"point": …, "act": "kill" | "stop" | "report", "nth": 1}}`` sets a trap at a fault point
(see ``points``), ``{"disarm": true}`` takes all away. Lines of JSON on its standard output are
events: ``{"event": "ready"}`` once it works, ``{"event": "hit", "point": …, "act": …}`` when a
trap is sprung.
"""

import argparse
import datetime as dt
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from workers.assignment import Policy


class Options(BaseModel):
    """What a worker is told at its start. Times in seconds."""

    name: str | None = None
    ttl: float = 2.0
    grace: float = 3.0
    interval: float = 0.5
    concurrency: int = 4
    children: int = 1
    clock_ahead: float = 0.0
    """How far this process's own clock is wrong."""
    traps: list[dict[str, Any]] = Field(default_factory=list)

    def policy(self) -> "Policy":
        from workers.assignment import Policy

        return Policy(
            concurrency=self.concurrency, children=self.children,
            interval=dt.timedelta(seconds=self.interval), grace=dt.timedelta(seconds=self.grace),
            ttl=dt.timedelta(seconds=self.ttl),
        )  # fmt: skip


def shift_clock(seconds: float) -> None:
    """Every clock that Python offers in this process is wrong by ``seconds``, but for monotonic."""
    true_time = time.time

    class Clock(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, TRUE_DATETIME)

    class Shifted(TRUE_DATETIME, metaclass=Clock):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return TRUE_DATETIME.fromtimestamp(time.time(), tz)

        @classmethod
        def utcnow(cls) -> Any:
            return TRUE_DATETIME.fromtimestamp(time.time(), dt.UTC).replace(tzinfo=None)

    time.time = lambda: true_time() + seconds
    time.time_ns = lambda: int(time.time() * 1_000_000_000)
    dt.datetime = Shifted  # type: ignore[misc] # that is the point


TRUE_DATETIME = dt.datetime


def commands() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def serve(url: str, options: Options) -> int:
    """Everything else is imported late: whoever asks the time is to see the wrong clock."""
    from backend import logs
    from backend.db import make_engine
    from tests.chaos.points import Points, Trap
    from tests.chaos.workload import QUEUES, pipelines
    from workers.daemon import Assignment, Daemon, worker_name
    from workers.main import Signals, _serve

    # A copy that no other process inherits: its end is the end of this one.
    events, speaking = os.fdopen(os.dup(1), "w", buffering=1), threading.Lock()
    os.dup2(2, 1)

    def say(**said: Any) -> None:
        with speaking:
            events.write(json.dumps(said) + "\n")

    logs.configure()
    signals = Signals()
    name = worker_name(options.name)
    engine = make_engine(url, pool_size=4, application_name=name)
    listening = make_engine(url, pool_size=1, application_name=f"{name}-listen")
    beating = make_engine(url, pool_size=1, application_name=f"{name}-beat")
    alone = [sys.executable, "-m", "tests.chaos.alone", url, options.model_dump_json()]
    assignments = [Assignment(pipeline) for pipeline in pipelines()]
    daemon = Daemon(
        engine, listening, assignments, options.policy(), name=name, alone=alone,
        beat_engine=beating,
    )  # fmt: skip
    points = Points(QUEUES, lambda point, act: say(event="hit", point=point, act=act))
    for watched in (engine, beating):
        points.install(watched)
    points.install_at_turns()
    for trap in options.traps:
        points.arm(Trap(**trap))

    def obey() -> None:
        for command in commands():
            if trap := command.get("arm"):
                points.arm(Trap(**trap))
            else:
                points.disarm()

    threading.Thread(target=obey, name="commands", daemon=True).start()
    say(event="ready", name=name)
    return _serve(daemon, signals)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--options", type=Options.model_validate_json, default=Options())
    asked = parser.parse_args()
    if asked.options.clock_ahead:
        shift_clock(asked.options.clock_ahead)
    sys.exit(serve(asked.url, asked.options))


if __name__ == "__main__":
    main()
