"""Requests over REST: ``submit``, ``status``, ``retry``."""

import json
import os
import time
from pathlib import Path
from typing import Any

import click

from backend.cli import report
from backend.cli.account import url_option
from backend.cli.client import ANSWER_TIMEOUT, Client, server_url
from backend.cli.errors import FAILED, OK, WRONG_USAGE, CommandError
from backend.cli.words import count, plain

MAX_LOCK_BYTES = 256 * 1024 * 1024
"""More is never sent; the server's own limit is far lower."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else.")


def read_lock(lockfile: Path) -> bytes:
    """The lock file's bytes, whatever they are: the server judges them.

    Raises:
        CommandError: it cannot be read, or is larger than any lock file.
    """
    try:
        with lockfile.open("rb") as stream:
            content = stream.read(MAX_LOCK_BYTES + 1)
    except OSError as error:
        raise CommandError(f"cannot read {lockfile}: {error.strerror}", WRONG_USAGE) from None
    if len(content) > MAX_LOCK_BYTES:
        raise CommandError(f"{lockfile} is larger than {MAX_LOCK_BYTES >> 20} MiB: no lock file is")
    return content


def caller(url: str | None, *, patience: float = ANSWER_TIMEOUT) -> Client:
    """The client that the environment names; ``patience``: seconds until an answer must begin.

    Raises:
        CommandError: there is no URL or no token, or what is there cannot be one.
    """
    token = os.environ.get("LOCKKEEPER_TOKEN")
    checked = server_url(url)
    if not token:
        raise CommandError(
            "LOCKKEEPER_TOKEN is not set: get one with `lockkeeper token NAME`", WRONG_USAGE
        )
    if not token.isascii() or not token.isprintable():
        raise CommandError("LOCKKEEPER_TOKEN holds more than a token: copy it anew", WRONG_USAGE)
    return Client(checked, token, patience=patience)


@click.command(short_help="Submit a lock file for vetting.")
@click.argument("lockfile", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--wait", is_flag=True, help="Wait until every package has its verdict.")
@click.option(
    "--fail-on",
    multiple=True,
    type=click.Choice(report.FAIL_ON),
    help="With --wait: exit 1 when a package is refused, waits for a person, or failed in"
    " processing. May be given several times; failed always counts.",
)
@url_option
@json_option
def submit(
    lockfile: Path, wait: bool, fail_on: tuple[str, ...], url: str | None, as_json: bool
) -> int:
    """Submit LOCKFILE to the server in LOCKKEEPER_URL, with the token in LOCKKEEPER_TOKEN.

    For a CI job: lockkeeper submit package-lock.json --wait --fail-on rejected
    """
    if fail_on and not wait:
        raise click.UsageError("--fail-on needs --wait")
    client = caller(url)
    answer = client.upload(lockfile, read_lock(lockfile))
    if wait:
        return watch(client, answer["request_id"], fail_on=fail_on, as_json=as_json)
    if as_json:
        click.echo(json.dumps(answer))
    else:
        click.echo(f"request {answer['request_id']}: {plain(answer['message'], limit=500)}")
    return OK


def watch(client: Client, request_id: int, *, fail_on: tuple[str, ...], as_json: bool) -> int:
    """Show a request until it is finished, then all of it; answers the exit code."""
    from backend.cli import look, progress

    began = time.monotonic()
    with progress.display(look.console(stderr=True)) as show:
        detail = progress.follow(client, f"/api/packages/requests/{request_id}", show)
    seconds = time.monotonic() - began
    if as_json:
        click.echo(json.dumps(report.result(detail, seconds)))
    else:
        look.console(stderr=False).print(look.summary(detail, seconds))
    return objection(detail, ("failed", *fail_on))


def objection(detail: report.Json, fail_on: tuple[str, ...]) -> int:
    """Say on standard error what is against it; answers the exit code."""
    found = report.objections(detail, dict.fromkeys(fail_on))
    if not found:
        return OK
    said = {
        "failed": "failed in processing",
        "rejected": "rejected",
        "pending": "waiting for approval",
    }
    words = ", ".join(f"{count(number, 'package')} {said[word]}" for word, number in found.items())
    click.echo(f"lockkeeper: {words}", err=True)
    return FAILED


@click.command(short_help="Show requests, or one request.")
@click.argument("request_id", type=click.IntRange(min=1), required=False)
@click.option("--watch", "keep_watching", is_flag=True, help="Until every package has its verdict.")
@url_option
@json_option
def status(request_id: int | None, keep_watching: bool, url: str | None, as_json: bool) -> int:
    """Show REQUEST_ID with all its packages; without it, your newest requests.

    --watch without REQUEST_ID watches the newest one.
    """
    client = caller(url)
    if keep_watching:
        chosen = request_id or _newest(client)
        return watch(client, chosen, fail_on=(), as_json=as_json)
    if request_id is None:
        _show_requests(client.get("/api/packages/requests"), as_json=as_json)
    else:
        _show_request(client.get(f"/api/packages/requests/{request_id}"), as_json=as_json)
    return OK


def _newest(client: Client) -> int:
    found = client.get("/api/packages/requests?limit=1")["requests"]
    if not found:
        raise CommandError("there is no request yet")
    return int(found[0]["id"])


def _show_requests(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer))
        return
    from backend.cli import look

    look.console(stderr=False).print(look.request_table(answer["requests"]))


def _show_request(detail: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(detail))
        return
    from backend.cli import look

    look.console(stderr=False).print(look.summary(detail, None))


@click.command(short_help="Vet again what failed in processing.")
@click.argument("request_id", type=click.IntRange(min=1), required=False)
@click.option(
    "--include-rejected", is_flag=True, help="Also what was refused (approvers; not your own)."
)
@click.option("--reason", metavar="TEXT", help="Why; --include-rejected needs it.")
@url_option
@json_option
def retry(
    request_id: int | None,
    include_rejected: bool,
    reason: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Queue again what failed in processing in REQUEST_ID; without it in all requests (admins)."""
    if include_rejected and not reason:
        raise click.UsageError("--include-rejected needs --reason")
    body = {"include_rejected": include_rejected, "reason": reason}
    path = f"requests/{request_id}/retry" if request_id else "processing/retry"
    answer = caller(url).post(f"/api/packages/{path}", body)
    click.echo(json.dumps(answer) if as_json else plain(answer["message"], limit=500))
