"""The parts of the house as single processes: ``api``, ``worker``, ``migrate``."""

import json
import logging
import os
from typing import NoReturn

import click

from backend.cli.errors import CommandError, database_errors


@click.command(short_help="Serve the API.")
def api() -> int:
    """Serve the API at API_HOST and API_PORT until SIGTERM. Needs DATABASE_URL and JWT_SECRET."""
    from backend.web import serve

    return serve.main()


@click.command(short_help="Work on the queues.")
def worker() -> NoReturn:
    """Vet packages until SIGTERM, which drains. Needs DATABASE_URL; WORKER_TYPE says which queues.

    Waits for the database and for its schema.
    """
    from backend.settings import Settings
    from workers.main import run

    with database_errors():
        settings = Settings.load()
    code = run(settings)
    logging.shutdown()
    # A thread that outlived the grace period works for a lease that is given back: at an ordinary
    # exit Python would wait for it.
    os._exit(code)


@click.command(short_help="Bring the database to this release's schema.")
@click.option("--json", "as_json", is_flag=True, help="Print {from, to}.")
def migrate(as_json: bool) -> None:
    """Bring the database in DATABASE_URL to this release's schema; says from where to where."""
    from backend.migrations.run import current, head, upgrade
    from backend.settings import Settings

    with database_errors():
        url = Settings.load().require_database_url()
        before = current(url)
        upgrade(url)
        after = current(url)
        needed = head()
    if after != needed:
        raise CommandError(f"the database is at revision {after}, this release needs {needed}")
    if as_json:
        click.echo(json.dumps({"from": before, "to": after}))
    elif before == after:
        click.echo(f"already at {after}")
    else:
        click.echo(f"{before or 'nothing'} → {after}")
