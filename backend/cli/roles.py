"""The database's group roles, in the database of DATABASE_URL: ``roles``."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from backend.cli.errors import EXIT_CODES, FAILED, OK, CommandError, database_errors
from backend.cli.requests import json_option
from backend.cli.words import count

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from backend.database_roles.catalog import Right
    from backend.database_roles.logins import Login

LOCKED = {"55P03", "40P01"}


@click.group()
def roles() -> None:
    """Make the database's group roles, and show or check what each may do."""


@roles.command(epilog=EXIT_CODES)
@json_option
def create(as_json: bool) -> None:
    """Make the roles that are not there, hand the tables to lockkeeper_owner, and grant the rest.

    DATABASE_URL names a login that may create roles and owns the tables, or a superuser. Once is
    enough: `lockkeeper migrate` keeps the grants afterwards. Again does no harm.
    """
    from backend.database_roles.founding import NotFoundedError, found

    with _connection() as connection:
        try:
            done = found(connection)
        except NotFoundedError as error:
            raise CommandError(str(error)) from None
    granted, revoked = len(done.granted.missing), len(done.granted.superfluous)
    if as_json:
        document = {"created": [*done.created], "handed_over": done.handed_over}
        click.echo(json.dumps(document | {"granted": granted, "revoked": revoked}))
        return
    click.echo(f"created: {', '.join(done.created) or 'none'}")
    click.echo(f"handed to lockkeeper_owner: {count(done.handed_over, 'object')}")
    click.echo(f"rights: {granted} granted, {revoked} revoked")


@roles.command(epilog=EXIT_CODES)
@json_option
def show(as_json: bool) -> None:
    """Show what each role may do, as this release grants it; asks no database."""
    from backend.database_roles import rights

    if as_json:
        click.echo(json.dumps({"tables": rights.TABLES, "functions": rights.EXECUTE}, indent=1))
        return
    for role in rights.PARTS:
        click.echo(role)
        for table, privileges in sorted(rights.TABLES[role].items()):
            click.echo(f"  {table}: {privileges}")
        for function, executors in rights.EXECUTE.items():
            if role in executors:
                click.echo(f"  {function}(): EXECUTE")


@roles.command(epilog=EXIT_CODES)
@json_option
def check(as_json: bool) -> int:
    """Compare what the database grants with what this release does; exits 1 where it differs."""
    from backend.database_roles.granting import beyond, differences, governed

    with _connection() as connection:
        if not governed(connection):
            raise CommandError("this database has no roles: run `lockkeeper roles create`")
        found = differences(connection)
        powers = beyond(connection)
    missing, superfluous = sorted(found.missing), sorted(found.superfluous)
    if as_json:
        lists = {"missing": missing, "superfluous": superfluous}
        told: dict[str, object] = {k: [right._asdict() for right in v] for k, v in lists.items()}
        told["powers"] = [{"role": role, "power": power} for role, power in powers]
        click.echo(json.dumps(told))
    else:
        for what, some in (("missing", missing), ("superfluous", superfluous)):
            for right in some:
                click.echo(f"{what}: {_shown(right)}")
        for role, power in powers:
            click.echo(f"superfluous: {role}: {power}")
        click.echo("differs" if found or powers else "as this release grants it")
    return FAILED if found or powers else OK


def admit(logins: Sequence["Login"]) -> list[str]:
    """Put the database of DATABASE_URL under the roles, and make these logins; answers names."""
    from backend.database_roles import founding
    from backend.database_roles import logins as making

    with _connection() as connection:
        founding.found(connection)
        return making.admit(connection, logins)


def _shown(right: "Right") -> str:
    column = f" ({right.column})" if right.column else ""
    return f"{right.role}: {right.privilege}{column} on {right.kind.lower()} {right.name}"


@contextmanager
def _connection() -> Iterator["Connection"]:
    """In a transaction, which is committed at the end."""
    from sqlalchemy.exc import DBAPIError

    from backend.database_roles.granting import UnknownObjectError
    from backend.db import make_engine
    from backend.settings import Settings

    with database_errors():
        engine = make_engine(Settings.load().require_database_url(), pool_size=1)
        try:
            with engine.begin() as connection:
                yield connection
        except UnknownObjectError as error:
            raise CommandError(f"{error}: run `lockkeeper migrate` of this release") from None
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) not in LOCKED:
                raise
            raise CommandError("a table stayed locked for two seconds: try again") from None
        finally:
            engine.dispose()
