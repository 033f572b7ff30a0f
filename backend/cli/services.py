"""The parts of the house as single processes: ``api``, ``worker``, ``migrate``."""

import json
import logging
import os
from typing import TYPE_CHECKING, NoReturn

import click

from backend.cli import roles
from backend.cli.errors import FAILED, OK, CommandError, database_errors
from backend.cli.words import count

if TYPE_CHECKING:
    from backend.database_roles.logins import Login
    from backend.migrations.online import Pending
    from backend.settings import Settings


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
@click.option("--check", is_flag=True, help="Change nothing; exit 1 where migrations are lacking.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print {from, to, logins}, or what is lacking."
)
def migrate(check: bool, as_json: bool) -> int:
    """Bring the database in DATABASE_URL to this release's schema; says from where to where.

    Where DATABASE_LOGINS is set, the database is put under its roles, too, and these logins are
    made. With --check it says which migrations are lacking, and what each means for those who work
    meanwhile.
    """
    from backend.migrations.run import current, head, pending, upgrade
    from backend.settings import Settings

    with database_errors():
        settings = Settings.load()
        url = settings.require_database_url()
        logins = _logins(settings)
        before = current(url)
        if check:
            return _show_pending(before, pending(url), as_json)
        upgrade(url)
        after = current(url)
        needed = head()
    if after != needed:
        raise CommandError(f"the database is at revision {after}, this release needs {needed}")
    admitted = roles.admit(logins) if logins else []
    if as_json:
        click.echo(json.dumps({"from": before, "to": after, "logins": admitted}))
        return OK
    click.echo(f"already at {after}" if before == after else f"{before or 'nothing'} → {after}")
    if logins:
        click.echo(f"logins: {', '.join(admitted) or 'none'}")
    return OK


def _logins(settings: "Settings") -> "list[Login]":
    """Those of DATABASE_LOGINS, looked at before anything is changed."""
    from backend.database_roles.logins import parsed

    said = settings.database_logins
    return parsed(said.get_secret_value()) if said else []


def _show_pending(at: str | None, lacking: "list[Pending]", as_json: bool) -> int:
    if as_json:
        to = lacking[-1].revision if lacking else at
        told = [one._asdict() for one in lacking]
        click.echo(json.dumps({"from": at, "to": to, "pending": told}))
    elif not lacking:
        click.echo(f"already at {at}")
    else:
        click.echo(f"at {at or 'nothing'}, lacking {count(len(lacking), 'migration')}:")
        for one in lacking:
            click.echo(f"{one.revision}  {one.summary}; {one.holds or 'nobody waits'}")
    return FAILED if lacking else OK
