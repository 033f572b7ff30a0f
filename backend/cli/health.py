"""``health``: whether the API or the worker of this container or host is well."""

import json
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any, Final

import click

from backend.cli.errors import UNREACHABLE, WRONG_USAGE, CommandError
from backend.cli.words import plain

if TYPE_CHECKING:
    from backend.settings import Settings

TIMEOUT: Final = 5.0  # seconds for the whole answer: it waits for the database
LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where it listens, not we
OF_OTHERS: Final = {"api": {"workers"}, "worker": set[str]()}
"""Checks whose failing is no fault of the part itself: to start it again would mend nothing."""


@click.command(short_help="Ask whether the API or the worker here is well.")
@click.argument("part", type=click.Choice(["api", "worker"]))
@click.option("--json", "as_json", is_flag=True, help="Print the checks as they were answered.")
def health(part: str, as_json: bool) -> None:
    """Ask the PART that runs on this host, where API_PORT or WORKER_METRICS_PORT says, how it is.

    Exit code 0: it is well. A worker that drains is not; an API is, although no worker lives.
    """
    from backend.settings import Settings, SettingsError

    try:
        host, port = _address(part, Settings.load())
    except SettingsError as error:
        raise CommandError(str(error), WRONG_USAGE) from None
    checks = _checks(part, host, port)
    if as_json:
        click.echo(json.dumps(checks))
    wanting = {name: said for name, said in checks.items() if said != "ok"}
    if wanting.keys() - OF_OTHERS[part]:
        raise CommandError("; ".join(f"{name}: {said}" for name, said in wanting.items()))
    if not as_json:
        click.echo(plain("; ".join(f"{name}: {said}" for name, said in checks.items())))


def _address(part: str, settings: "Settings") -> tuple[str, int]:
    host, port = {
        "api": (settings.api_host, settings.api_port),
        "worker": (settings.worker_metrics_host, settings.worker_metrics_port),
    }[part]
    if not port:
        name = {"api": "API_PORT", "worker": "WORKER_METRICS_PORT"}[part]
        raise CommandError(f"{name} names no port: the {part} cannot be asked", WRONG_USAGE)
    return LOOPBACK.get(host, host), port


def _checks(part: str, host: str, port: int) -> dict[str, Any]:
    connection = HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/ready")
        answer = connection.getresponse().read()
    except HTTPException:
        answer = b""
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CommandError(f"the {part} does not answer: {reason}", UNREACHABLE) from None
    finally:
        connection.close()
    checks = _read(answer)
    if "database" not in checks:
        raise CommandError(f"at {host}:{port} answers somebody else, not the {part}")
    return checks


def _read(answer: bytes) -> dict[str, Any]:
    """The checks; none where it is not the answer of a part."""
    try:
        return dict(json.loads(answer)["checks"])
    except (ValueError, KeyError, TypeError):
        return {}
