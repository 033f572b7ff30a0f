"""Splunk configurations: ``splunk upload``."""

import json
from pathlib import Path

import click

from backend.cli import splunk_effective, splunk_matching, splunk_runs
from backend.cli.account import url_option
from backend.cli.errors import EXIT_CODES
from backend.cli.file_form import FileForm
from backend.cli.requests import caller, json_option
from backend.cli.words import plain


@click.group()
def splunk() -> None:
    """Upload Splunk configurations and ask about them."""


for command in (*splunk_runs.COMMANDS, *splunk_effective.COMMANDS, *splunk_matching.COMMANDS):
    splunk.add_command(command)


@splunk.command(short_help="Upload an archive or a conf file.", epilog=EXIT_CODES)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--type", "kind", required=True, type=click.Choice(splunk_runs.TYPES),
    help="What it is: etc/ of a deployment server or of another instance, apps, or one conf file.",
)  # fmt: skip
@click.option("--label", metavar="TEXT", help="A name for it.")
@click.option("--notes", metavar="TEXT", help="What you want to remember of it.")
@url_option
@json_option
def upload(
    file: Path, kind: str, label: str | None, notes: str | None, url: str | None, as_json: bool
) -> None:
    """Upload FILE (tar, tar.gz, zip, or a conf file) to the server in LOCKKEEPER_URL.

    The answer names the run: its number is what other commands take.
    """
    fields = {"type": kind, "label": label, "notes": notes}
    form = FileForm(file, {name: value for name, value in fields.items() if value is not None})
    run = caller(url).submit("/v1/uploads", form)
    if as_json:
        click.echo(json.dumps(run))
        return
    twin = f"; the same bytes as run {run['duplicate_of']}" if run["duplicate_of"] else ""
    said = f"run {run['id']}: {run['size_bytes']} bytes, sha256 {run['sha256']}{twin}"
    click.echo(plain(said, limit=500))
