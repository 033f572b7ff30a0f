"""``doctor``: is the database sound?"""

import json
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click

from backend.cli.errors import FAILED, OK, database_errors
from backend.cli.requests import json_option
from backend.cli.words import count

if TYPE_CHECKING:
    from backend.queue.doctor import Finding
    from backend.queue.doctor.findings import Check


@click.command(short_help="Check the database, the queues and the workers.")
@json_option
def doctor(as_json: bool) -> int:
    """Check the database in DATABASE_URL while everything runs: invariants, schema, health.

    Writes nothing and takes seconds. Exits 1 where something is an error; with warnings alone, 0.
    """
    with database_errors():
        findings = examined()
    skipped = {finding.facts.get("check") for finding in findings}
    checked = [name for name in checks() if name not in skipped]
    errors = sum(finding.severity == "error" for finding in findings)
    if as_json:
        said = [_document(finding) for finding in findings]
        click.echo(json.dumps({"findings": said, "checked": checked}))
    else:
        _show(findings, checked, errors)
    return FAILED if errors else OK


def checks() -> "dict[str, Check]":
    """What is looked at: what the engine asks, and what concerns the product alone."""
    from backend.audit import examination
    from backend.queue import doctor as engine

    return {**engine.CHECKS, **examination.CHECKS}


def examined() -> "list[Finding]":
    from backend.db import make_engine, make_sessions
    from backend.migrations.run import head, target_metadata
    from backend.queue.doctor import Release, examine
    from backend.settings import Settings
    from backend.workloads import queues

    url = Settings.load().require_database_url()
    release = Release(
        version=version("lockkeeper"),
        revision=head(),
        tables=target_metadata().sorted_tables,
    )
    engine = make_engine(url, pool_size=1, application_name="lockkeeper-doctor")
    try:
        with make_sessions(engine).begin() as session:
            return examine(session, queues(), release=release, checks=checks())
    finally:
        engine.dispose()


def _document(finding: "Finding") -> dict[str, Any]:
    facts = {name: _plain(value) for name, value in finding.facts.items()}
    return {
        "severity": finding.severity,
        "code": finding.code,
        "sentence": finding.sentence,
        "facts": facts,
    }


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _show(findings: "list[Finding]", checked: list[str], errors: int) -> None:
    from backend.cli import look

    console = look.console(stderr=False)
    asked = f"Checked: {', '.join(checked)}."
    if not findings:
        console.print(f"All well. {asked}")
        return
    console.print(look.finding_table(findings))
    told = f"{count(errors, 'error')}, {count(len(findings) - errors, 'warning')}"
    console.print(f"{told}. {asked}")
