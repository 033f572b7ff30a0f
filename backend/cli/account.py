"""Users and their tokens: ``user add``, ``user password``, ``token``."""

import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from backend.cli.client import Client, server_url
from backend.cli.errors import WRONG_USAGE, CommandError, database_errors

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

url_option = click.option(
    "--url", envvar="LOCKKEEPER_URL", metavar="URL", help="The server (LOCKKEEPER_URL)."
)


@click.group()
def user() -> None:
    """Add users, and give them passwords."""


@user.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["user", "approver", "admin"]), default="user")
@click.option("--password-stdin", is_flag=True, help="Read the password: one line of input.")
@click.option("--json", "as_json", is_flag=True, help="Print {username, role, password}.")
def add(name: str, role: str, password_stdin: bool, as_json: bool) -> None:
    """Add user NAME to the database in DATABASE_URL.

    Without --password-stdin the password is random and printed, once.
    """
    from backend.identity import passwords, service
    from backend.identity.roles import Role

    given = _line_of_input() if password_stdin else None
    password = given or secrets.token_urlsafe(18)
    with _session() as session:
        password_hash = passwords.hashed(password)
        service.create_user(
            session, "command line", username=name, password_hash=password_hash, role=Role(role)
        )
    if as_json:
        shown = {} if given else {"password": password}
        click.echo(json.dumps({"username": name, "role": role, **shown}))
    else:
        click.echo(f"added {name} as {role}" + ("" if given else f"; password: {password}"))


@user.command()
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password: one line of input.")
@click.option("--json", "as_json", is_flag=True, help="Print {username, password}.")
def password(name: str, password_stdin: bool, as_json: bool) -> None:
    """Give user NAME of the database in DATABASE_URL another password; ends their sign-ins.

    Without --password-stdin it is random and printed, once.
    """
    from backend.identity import passwords, service

    given = _line_of_input() if password_stdin else None
    chosen = given or secrets.token_urlsafe(18)
    with _session() as session:
        service.set_password(session, "command line", name, passwords.hashed(chosen))
    if as_json:
        click.echo(json.dumps({"username": name, **({} if given else {"password": chosen})}))
    else:
        click.echo(f"{name} has another password" + ("" if given else f": {chosen}"))


@contextmanager
def _session() -> Iterator["Session"]:
    """A transaction on the database in DATABASE_URL."""
    from backend.db import make_engine, make_sessions
    from backend.settings import Settings

    with database_errors():
        engine = make_engine(Settings.load().require_database_url(), pool_size=1)
        with make_sessions(engine).begin() as session:
            yield session
        engine.dispose()


@click.command()
@click.argument("name")
@url_option
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer to the sign-in.")
def token(name: str, url: str | None, as_json: bool) -> None:
    """Sign NAME in and print an access token for LOCKKEEPER_TOKEN.

    The password is LOCKKEEPER_PASSWORD, else one line of input, else asked for.
    """
    client = Client(server_url(url))
    answer = client.login(name, _password())
    click.echo(json.dumps(answer) if as_json else answer["token"])


def _password() -> str:
    if password := os.environ.get("LOCKKEEPER_PASSWORD"):
        return password
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, err=True))
    return _line_of_input()


def _line_of_input() -> str:
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise CommandError("there is no password on standard input", WRONG_USAGE)
    return password
