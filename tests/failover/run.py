"""The primary of two servers is killed, in both modes of replication: ``./scripts/failover``.

Exit codes: 0 all that must hold did, 1 something did not, 2 wrong arguments, 77 no server programs
here that can replicate.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from backend.embedded import EmbeddedError
from backend.embedded.installation import Installation
from tests.conftest import open_directory
from tests.failover.cluster import installation
from tests.failover.drill import Mode, Plan, Report, play

SKIPPED: Final = 77
MODES: Final[tuple[Mode, ...]] = ("sync", "async")


def drill(plan: Plan, found: Installation, logs: Path) -> Report:
    """One fail-over; what the processes of the house said is left in ``logs``."""
    with open_directory() as servers:
        return play(plan, found, servers, logs)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="failover", description="Kill the primary amid submissions; its standby takes over."
    )
    parser.add_argument("--mode", choices=[*MODES, "both"], default="both")
    parser.add_argument("--rate", type=float, default=30.0, help="submissions a second")
    parser.add_argument("--before", type=float, default=5.0, help="seconds of load before")
    parser.add_argument("--after", type=float, default=5.0, help="seconds of load afterwards")
    parser.add_argument(
        "--detect", type=float, default=2.0, help="seconds until the standby is promoted"
    )
    parser.add_argument(
        "--behind", type=float, default=1.0,
        help="seconds for which an asynchronous standby hears nothing before the kill",
    )  # fmt: skip
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    asked = _arguments(given)
    found = installation()
    if found is None:
        click.echo("failover: no PostgreSQL with pg_basebackup and pg_rewind here", err=True)
        return SKIPPED
    code = 0
    for mode in MODES if asked.mode == "both" else (asked.mode,):
        behind = asked.behind if mode == "async" else 0.0
        plan = Plan(mode, asked.rate, asked.before, behind, asked.detect, asked.after)
        with tempfile.TemporaryDirectory(prefix="lockkeeper-failover-") as logs:
            try:
                report = drill(plan, found, Path(logs))
            except EmbeddedError as error:
                click.echo(f"failover: {mode}: {error}", err=True)
                code = 1
                continue
        click.echo("\n".join(report.lines()))
        code = max(code, int(bool(report.broken)))
    return code


if __name__ == "__main__":
    sys.exit(main())
