"""``import legacy``: from a predecessor's database to ours."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from backend.cli.errors import EXIT_CODES, UNREACHABLE, CommandError, database_errors
from backend.cli.requests import json_option
from backend.cli.words import count, plain

if TYPE_CHECKING:
    from backend.workloads.packages.legacy import Taken


@click.group("import", short_help="Take over what another system holds.")
def imports() -> None:
    """Take over what another system holds."""


@imports.command(short_help="Take over a predecessor's database.", epilog=EXIT_CODES)
@click.option("--from", "source", required=True, metavar="URL", help="The predecessor's database.")
@click.option("--dry-run", is_flag=True, help="Show what would be taken over; write nothing.")
@json_option
def legacy(source: str, dry_run: bool, as_json: bool) -> None:
    """Take over users, requests, packages and their history from a predecessor's database.

    URL is postgresql://user@host/name; a password is better in ~/.pgpass. It is only read. What
    DATABASE_URL names is written: all of it, or nothing. Run again it adds what has come since.
    """
    from backend.db import make_engine
    from backend.settings import Settings
    from backend.workloads import discover
    from backend.workloads.packages.legacy import LegacyError, import_legacy

    with database_errors():
        url = Settings.load().require_database_url()
        discover()
        engine = make_engine(url, pool_size=1, application_name="lockkeeper-import")
        try:
            taken = import_legacy(engine, source, dry_run=dry_run)
        except LegacyError as error:
            raise CommandError(str(error), UNREACHABLE if error.unreachable else 1) from None
        finally:
            engine.dispose()
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, **asdict(taken)}))
    else:
        _show(taken, dry_run)


def _show(taken: "Taken", dry_run: bool) -> None:
    width = max(map(len, taken.tables))
    numbers = ("there", "imported", "known", "left out")
    click.echo("  ".join([" " * width, *(f"{word:>8}" for word in numbers)]))
    for name, table in taken.tables.items():
        counts = (table.there, table.imported, table.known, table.left_out)
        click.echo("  ".join([name.ljust(width), *(f"{number:>8}" for number in counts)]))
    for standing in taken.statuses:
        packages = count(standing.packages, "package")
        click.echo(f"{plain(standing.there)} → {standing.here}: {packages}")
    for table_name, reasons in taken.left_out.items():
        for reason, number in reasons.items():
            click.echo(f"left out of {table_name}: {number}: {reason}")
    for note, number in taken.notes.items():
        click.echo(f"{note}: {number}")
    for name, rows in taken.ignored.items():
        click.echo(f"not read: {plain(name)}, {count(rows, 'row')}")
    if dry_run:
        click.echo("a dry run: nothing was written")
