"""The data that tasks work on: ``data list``, ``import``, ``export``, ``delete``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import click

from backend.cli.account import url_option
from backend.cli.errors import EXIT_CODES
from backend.cli.file_form import FileBody
from backend.cli.new_file import download
from backend.cli.requests import caller, json_option
from backend.cli.words import count, plain, say

JSON_LINES: Final = "application/x-ndjson"
IMPORTED: Final = ("ari-snapshots", "goals", "interactions", "claims", "training-samples")
LISTED: Final = (*IMPORTED, "debts", "models")
FILE: Final = click.Path(dir_okay=False, path_type=Path)
PATIENCE: Final = 900.0
"""Seconds: a million lines are stored, written down or deleted before the answer begins."""

user_option = click.option(
    "--user", "user_id", type=click.IntRange(min=1), metavar="ID",
    help="Whose data (admins); without it your own.",
)  # fmt: skip


@click.group(short_help="Import, show, export and delete the data that tasks work on.")
def data() -> None:
    """The data that tasks work on: yours, or as an admin anybody's."""


@data.command("list", short_help="Show data of one kind.", epilog=EXIT_CODES)
@click.argument("kind", type=click.Choice(LISTED))
@click.option("--before", type=click.IntRange(min=1), help="Where the page before ended.")
@click.option("--limit", type=click.IntRange(1, 100), default=50, show_default=True)
@user_option
@url_option
@json_option
def show(
    kind: str,
    before: int | None,
    limit: int,
    user_id: int | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Show data of one KIND, one JSON object a line; what came last is first."""
    _check_owner(kind, user_id)
    answer = caller(url).get(_path(kind, before=before, limit=limit, user_id=user_id))
    if as_json:
        click.echo(json.dumps(answer))
        return
    for row in answer[kind.rpartition("-")[2]]:
        click.echo(json.dumps(row))  # in ASCII: nothing in it moves a cursor
    if answer["next"] is not None:
        say(f"there is more: --before {answer['next']}")


@data.command("import", short_help="Store the lines of a file.", epilog=EXIT_CODES)
@click.argument("kind", type=click.Choice(IMPORTED))
@click.argument("file", type=FILE)
@user_option
@url_option
@json_option
def import_lines(
    kind: str, file: Path, user_id: int | None, url: str | None, as_json: bool
) -> None:
    """Store FILE, JSON lines of one KIND: all of them, or none. Those that are there count."""
    _check_owner(kind, user_id)
    sent = FileBody(file, JSON_LINES)
    answer = caller(url, patience=PATIENCE).submit(_path(f"{kind}/import", user_id=user_id), sent)
    if as_json:
        click.echo(json.dumps(answer))
        return
    known = count(answer["duplicates"], "duplicate")
    click.echo(f"{kind}: {count(answer['accepted'], 'line')} stored, {known}")


@data.command(short_help="Write everything about one user to a file.", epilog=EXIT_CODES)
@click.option("-o", "--output", required=True, type=FILE, metavar="FILE", help="A new file.")
@user_option
@url_option
def export(output: Path, user_id: int | None, url: str | None) -> None:
    """Write everything that is kept about a user to a new file, as JSON lines."""
    size = download(caller(url, patience=PATIENCE), _path("export", user_id=user_id), output)
    with output.open("rb") as stream:
        lines = count(sum(1 for _ in stream), "line")
    click.echo(f"{plain(str(output))}: {lines}, {size} bytes")


@data.command(short_help="Delete everything about one user.", epilog=EXIT_CODES)
@user_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@url_option
@json_option
def delete(user_id: int | None, yes: bool, url: str | None, as_json: bool) -> None:
    """Delete a user's data, tasks, results, models and schedules. For ever."""
    client = caller(url, patience=PATIENCE)
    if not yes:
        whose = "all of your data" if user_id is None else f"all data of user {user_id}"
        click.confirm(f"Delete {whose}, tasks and models?", abort=True, err=True)
    answer = client.delete(_path("", user_id=user_id))
    click.echo(json.dumps(answer) if as_json else _gone(answer["deleted"]))


def _gone(deleted: Mapping[str, int]) -> str:
    said = ", ".join(count(number, word.replace("_", " ")) for word, number in deleted.items())
    return f"deleted: {said}"


def _check_owner(kind: str, user_id: int | None) -> None:
    if kind == "claims" and user_id is not None:
        raise click.UsageError("claims are nobody's: they take no --user")


def _path(place: str, **query: Any) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    path = f"/api/data/{place}".rstrip("/")
    return f"{path}?{urlencode(given)}" if given else path
