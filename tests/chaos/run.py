"""A random schedule of faults against the synthetic workload: ``./scripts/chaos``.

Exit codes: 0 every promise was kept, 1 one was broken, 2 wrong arguments.
"""

import argparse
import json
import secrets
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
from sqlalchemy import Engine

from backend.db import make_engine
from tests.chaos import invariants, zombies
from tests.chaos.fleet import Fleet
from tests.chaos.harness import Harness
from tests.chaos.injection import inject
from tests.chaos.producer import Producer
from tests.chaos.report import Report, tally
from tests.chaos.schedule import Fault, schedule
from tests.chaos.server import Server
from tests.conftest import open_directory

TTL: Final = 2.0  # seconds: the lease time of all workers
CREW: Final = 3  # workers at the start
ROWS_PER_SECOND: Final = 10.0
TICK: Final = 0.1  # seconds
REST: Final = 60.0  # seconds, once the faults are over, within which one more row must end
LAST_KILLER: Final = 15.0  # seconds before the end of the faults


def play(server: Server, seconds: float, seed: int, logs: Path, *, every: float = 2.0) -> Report:
    """``seconds`` of faults at ``server``, which is prepared and empty; then rest and judgement.

    Args:
        logs: a folder for the workers' logs and the list of what was done to them.
        every: seconds from one fault to the next, on average.
    """
    engine = make_engine(server.url, application_name="chaos-harness")
    producer = Producer(server.url, seed, rows_per_second=ROWS_PER_SECOND)
    with Fleet(server, logs) as fleet, (logs / "faults.log").open("w", buffering=1) as diary:
        harness = Harness(server, fleet, engine, diary, crew=CREW, ttl=TTL)
        harness.tend()
        for worker in fleet:
            worker.wait_ready()
        producer.start()
        _disturb(server, harness, producer, schedule(seed, seconds, every=every, ttl=TTL), seconds)
        rest = _come_to_rest(engine, harness)
        harness.end_fleet()
    broken = [*harness.violations, *invariants.violations(engine, producer.accepted)]
    report = Report(
        seed=seed, seconds=seconds, faults=dict(harness.injected), spared=dict(harness.spared),
        missed=dict(harness.missed), deaths_by_row=harness.deaths_by_row, rest=rest,
        violations=broken, **tally(engine, producer.accepted, harness.recoveries.took),
    )  # fmt: skip
    engine.dispose()
    return report


def _disturb(
    server: Server, harness: Harness, producer: Producer, faults: Sequence[Fault], seconds: float
) -> None:
    """One fault after the other, while rows arrive; none begins while the server is away."""
    began, waiting = time.monotonic(), deque(faults)
    while (now := time.monotonic() - began) < seconds:
        harness.tend()
        if now > seconds - LAST_KILLER:
            producer.no_more_killers()
        if server.up and waiting and waiting[0].at <= now:
            inject(harness, waiting.popleft())
        time.sleep(TICK)
    harness.cease()
    while not harness.quiet:
        harness.tend()
        time.sleep(TICK)
    producer.finish()


def _come_to_rest(engine: Engine, harness: Harness) -> float:
    """Until every row has ended, or none has for :data:`REST`: what is left is stuck; seconds."""
    began = moved = time.monotonic()
    left = sum(invariants.unrest(engine).values())
    while left and time.monotonic() < moved + REST:
        harness.tend()
        time.sleep(TICK)
        before, left = left, sum(invariants.unrest(engine).values())
        moved = time.monotonic() if left < before else moved
    return time.monotonic() - began


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="chaos", description="Faults of every kind against workers and their database."
    )
    parser.add_argument("--seconds", type=_positive, help="how long faults are injected")
    parser.add_argument("--seed", type=int, help="makes the same schedule again; chosen otherwise")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two faults")
    parser.add_argument("--zombies", type=_positive, help="force that many stale writes")
    parser.add_argument("--logs", type=Path, help="a folder for what workers say; kept")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    asked = parser.parse_args(given)
    if asked.seconds is None and asked.zombies is None:
        parser.error("say --seconds N, --zombies N, or both")
    if asked.seed is None:
        asked.seed = secrets.randbelow(10**6)
    return asked


def _positive(said: str) -> int:
    number = int(said)
    if number <= 0:
        raise ValueError(said)
    return number


def _show(asked: argparse.Namespace, played: Report | None, haunted: zombies.Report | None) -> None:
    if asked.json:
        found = {
            "chaos": played and played.json(),
            "zombies": haunted and {**asdict(haunted), "ok": haunted.ok},
        }
        click.echo(json.dumps(found, indent=2))
        return
    lines = [line for report in (played, haunted) if report for line in report.lines()]
    click.echo("\n".join(lines))


def main(given: Sequence[str] | None = None) -> int:
    asked = _arguments(given)
    played = haunted = None
    logs = asked.logs or Path(tempfile.mkdtemp(prefix="lockkeeper-chaos-"))
    logs.mkdir(parents=True, exist_ok=True)
    with open_directory() as folder, Server(folder) as server:
        server.prepare()
        if asked.seconds:
            played = play(server, asked.seconds, asked.seed, logs, every=asked.every)
        if asked.zombies:
            haunted = zombies.run(server.another("zombies"), asked.zombies, asked.seed)
    _show(asked, played, haunted)
    if played and played.violations:
        click.echo(f"chaos: the logs of this run are in {logs}", err=True)
        return 1
    if not asked.logs:
        shutil.rmtree(logs, ignore_errors=True)
    return 0 if haunted is None or haunted.ok else 1


if __name__ == "__main__":
    sys.exit(main())
