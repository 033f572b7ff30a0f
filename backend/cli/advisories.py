"""Advisories, on the database in DATABASE_URL: ``sync``, ``import``, ``status``."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backend.cli.errors import WRONG_USAGE, CommandError, database_errors
from backend.cli.requests import json_option
from backend.cli.words import count, plain

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from backend.settings import Settings
    from backend.workloads.packages.advisories.importing import Imported
    from backend.workloads.packages.advisories.reading import Records


@click.group()
def advisories() -> None:
    """Import advisories, and flag the known packages that they concern."""


@advisories.command(short_help="Import what ADVISORIES_URL holds.")
@json_option
def sync(as_json: bool) -> None:
    """Fetch the OSV records at ADVISORIES_URL, import them, and look at every known package."""
    from backend.workloads.packages.advisories import reading

    with _house() as (settings, engine):
        _say(_imported(engine, reading.from_url(settings)), as_json=as_json)


@advisories.command("import", short_help="Import a directory, an archive or a record.")
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def import_(path: Path, as_json: bool) -> None:
    """Import the OSV records in PATH, and look at every known package.

    PATH is a directory, a zip archive, or one record. A record that cannot be read is named, and
    then nothing is imported.
    """
    from backend.workloads.packages.advisories import reading

    if not path.exists():
        raise CommandError(f"cannot read {path}: there is no such file", WRONG_USAGE)
    with _house() as (_, engine):
        _say(_imported(engine, reading.from_path(path)), as_json=as_json)


@advisories.command(short_help="How old, how many, and whom they flag.")
@json_option
def status(as_json: bool) -> None:
    """Show how old the imported advisories are, what they cover, and how many they flag."""
    from backend.autocommit import Autocommit
    from backend.workloads.packages.advisories import queries, schemas

    with _house() as (settings, engine):
        known, imports = queries.status(Autocommit(engine))
    shown = schemas.AdvisoriesOut.of(known, imports, complete=settings.advisories_complete)
    if as_json:
        click.echo(shown.model_dump_json())
        return
    for line in _lines(shown):
        click.echo(plain(line, limit=500))


@contextmanager
def _house() -> Iterator[tuple["Settings", "Engine"]]:
    """The settings and the database, with what goes wrong there as command errors."""
    from backend.db import make_engine
    from backend.settings import Settings
    from backend.workloads.packages.scanning.osv import AdvisoriesError

    with database_errors():
        settings = Settings.load()
        engine = make_engine(settings.require_database_url(), pool_size=1)
        try:
            yield settings, engine
        except AdvisoriesError as error:
            raise CommandError(str(error)) from None
        finally:
            engine.dispose()


def _imported(engine: "Engine", reading: AbstractContextManager["Records"]) -> "Imported":
    from backend.db import make_sessions
    from backend.workloads.packages.advisories import importing

    with reading as records, make_sessions(engine).begin() as session:
        return importing.store(session, records)


def _say(done: "Imported", *, as_json: bool) -> None:
    if as_json:
        from pydantic import TypeAdapter

        from backend.workloads.packages.advisories.importing import Imported

        click.echo(TypeAdapter(Imported).dump_json(done))
        return
    click.echo(
        plain(
            f"{count(done.read, 'record')} read from {done.source}: {done.added} new,"
            f" {done.changed} changed; {count(done.checked, 'artifact')} looked at:"
            f" {count(done.raised, 'flag')} raised, {done.lifted} lifted,"
            f" {count(done.reopened, 'package')} judged anew",
            limit=500,
        )
    )


def _lines(shown: Any) -> Iterator[str]:
    if not shown.imports:
        yield "no advisories are imported"
        return
    last = shown.imports[0]
    age = timedelta(seconds=round(shown.age_seconds)) if shown.age_seconds is not None else None
    said = "complete" if shown.complete else "partial"
    yield (
        f"{count(shown.records, 'advisory', 'advisories')} about {count(shown.packages, 'package')}"
        f" ({shown.malware} malware, {shown.withdrawn} withdrawn), declared {said}"
    )
    yield f"newest: {'undated' if age is None else f'{age} old'}"
    yield f"last import: {last.imported_at:%Y-%m-%d %H:%M} UTC from {last.source}"
    yield (
        f"{count(shown.artifacts, 'artifact')} known, {shown.unchecked} of them newer than that;"
        f" {shown.flagged} flagged"
    )
