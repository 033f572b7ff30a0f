"""``lockkeeper up``: everything on this machine, a lock file vetted before one's eyes."""

import json
import time
from contextlib import ExitStack
from pathlib import Path

import click

from backend.cli.children import Children, stopped_by_signals
from backend.cli.errors import OK, Stopped, database_errors
from backend.cli.house import EXAMPLES, House, start
from backend.cli.requests import objection, read_lock
from backend.cli.words import say


@click.command(short_help="Start everything here and vet a lock file.")
@click.argument("lockfile", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option("--exit", "exits", is_flag=True, help="End when every package has its verdict.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, nothing else.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=".lockkeeper",
    show_default=True,
    metavar="DIR",
    help="Keeps database, cache, logs and credentials.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Of the API on 127.0.0.1. Default: API_PORT or 8000, or the next free one.",
)
def up(lockfile: Path | None, exits: bool, as_json: bool, data: Path, port: int | None) -> int:
    """Start a database, the API and a worker here, and vet LOCKFILE (default: an example).

    The database is the one in DATABASE_URL, else an embedded PostgreSQL in DIR. Packages come from
    SOURCE_REPOSITORY_URL, else from the registry that your npm is set to, else from the public one.
    Advisories come from OSV_PATH or OSV_API_URL, else from a small example set that can only
    convict. An admin and a user are made the first time: DIR/credentials.json.

    Serves until Ctrl-C or SIGTERM, which stop everything.
    """
    lock = lockfile or EXAMPLES / "package-lock.json"
    content = read_lock(lock)
    serving = False
    children = Children()
    with stopped_by_signals(children), ExitStack() as running:
        try:
            with database_errors():
                house = start(running, children, data, port)
            code = _vet(house, lock, content, as_json=as_json)
            if exits:
                return code
            _invite(house, as_json=as_json)
            serving = True
            house.serve()
        except Stopped:
            say("Stopping; Ctrl-C again stops at once.")
            if not serving:
                raise
    return OK


def _vet(house: House, lock: Path, content: bytes, *, as_json: bool) -> int:
    """Submit, show the progress and print what came of it; answers the exit code."""
    from backend.cli import look, progress, report

    client = house.client()
    began = time.monotonic()
    answer = client.upload(lock, content)
    say(f"Request {answer['request_id']}: {answer['message']}")
    path = f"/api/packages/requests/{answer['request_id']}"
    with progress.display(look.console(stderr=True)) as show:
        detail = progress.follow(client, path, show, wait=house.wait)
    seconds = time.monotonic() - began
    look.console(stderr=as_json).print(look.summary(detail, seconds))
    if as_json:
        click.echo(json.dumps(report.result(detail, seconds)))
    return objection(detail, ("failed",))


def _invite(house: House, *, as_json: bool) -> None:
    """Say how to use what runs here."""
    from backend.cli import look

    client = house.client()
    invitation = look.invitation(
        house.url, house.user.username, client.token or "", str(house.folder.credentials_file)
    )
    look.console(stderr=as_json).print("", invitation, sep="\n", soft_wrap=True)
