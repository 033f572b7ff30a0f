"""Decisions over REST: ``waiting``, ``approve``, ``reject``, ``publish``, ``recall``, ``deny``."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import click

from backend.cli.account import url_option
from backend.cli.client import Client
from backend.cli.errors import FAILED, OK, WRONG_USAGE, CommandError
from backend.cli.queues import ROW_ID
from backend.cli.requests import caller, json_option
from backend.cli.words import count, plain

Json = dict[str, Any]

DECIDE: Final = "/api/approver/packages"
BATCH: Final = 1000  # packages; the server takes no more at once

ids_argument = click.argument("ids", metavar="[ID]...", nargs=-1, type=ROW_ID)
request_option = click.option(
    "--request", "request_id", type=ROW_ID, metavar="ID", help="All of a request that waits."
)
reason_option = click.option("--reason", metavar="TEXT", help="Why; kept with the decision.")
why_option = click.option("--reason", metavar="TEXT", required=True, help="Why; kept for ever.")


@click.command()
@request_option
@url_option
@json_option
def waiting(request_id: int | None, url: str | None, as_json: bool) -> None:
    """Show the packages that wait for approval, with their verdicts."""
    found = list(_waiting(caller(url), request_id))
    if as_json:
        click.echo(json.dumps({"packages": found}))
    else:
        _show(found)


@click.command(short_help="Approve packages by their verdicts.")
@ids_argument
@request_option
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask: approve by the verdicts as they are.")
@url_option
@json_option
def approve(
    ids: tuple[int, ...],
    *,
    request_id: int | None,
    reason: str | None,
    yes: bool,
    url: str | None,
    as_json: bool,
) -> int:
    """Show the verdicts of packages, ask, and approve the packages by just these verdicts.

    Exits 1 where one could not be approved: its verdict changed meanwhile, say, or it is yours.
    """
    client = caller(url)
    packages = _chosen(client, ids, request_id)
    if not yes:
        _ask(packages, "Approve by these verdicts?")
    digests = {str(p["id"]): p["verdict_digest"] for p in packages if p["verdict_digest"]}
    answers = [
        client.post(f"{DECIDE}/batch-approve", _approval(batch, digests, reason))
        for batch in _batches([package["id"] for package in packages])
    ]
    return _say(answers, "approved", as_json=as_json)


@click.command(short_help="Reject packages that wait for approval.")
@ids_argument
@request_option
@reason_option
@url_option
@json_option
def reject(
    ids: tuple[int, ...],
    *,
    request_id: int | None,
    reason: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Reject packages that wait for approval. Exits 1 where one could not be rejected."""
    client = caller(url)
    chosen = [package["id"] for package in _chosen(client, ids, request_id)]
    answers = [
        client.post(f"{DECIDE}/batch-reject", {"package_ids": batch, "reason": reason})
        for batch in _batches(chosen)
    ]
    return _say(answers, "rejected", as_json=as_json)


@click.command(short_help="Queue approved packages for publishing.")
@ids_argument
@click.option(
    "--request", "request_id", type=ROW_ID, metavar="ID", help="All of a request that is approved."
)
@url_option
@json_option
def publish(ids: tuple[int, ...], request_id: int | None, url: str | None, as_json: bool) -> int:
    """Queue approved packages for publishing, also those whose publishing failed.

    Exits 1 where one could not be queued.
    """
    client = caller(url)
    answers = [_queued(client, one) for one in _approved(client, ids, request_id)]
    return _say(answers, "queued for publishing", as_json=as_json)


@click.command(short_help="Take back an approval, also after publishing.")
@click.argument("package_id", metavar="ID", type=ROW_ID)
@why_option
@url_option
@json_option
def recall(package_id: int, reason: str, url: str | None, as_json: bool) -> None:
    """Take back the approval of package ID; what is published is taken back from the registry."""
    answer = caller(url).post(f"/api/packages/{package_id}/recall", {"reason": reason})
    click.echo(json.dumps(answer) if as_json else plain(answer["message"]))


@click.command(short_help="Deny versions of a package, at once.")
@click.argument("purl_range", metavar="PURL-RANGE")
@why_option
@url_option
@json_option
def deny(purl_range: str, reason: str, url: str | None, as_json: bool) -> None:
    """Deny every version in PURL-RANGE: refuse what waits, recall what is published, at once.

    For example: lockkeeper deny 'pkg:npm/left-pad@>=1.2.0 <1.4.0' --reason 'a backdoor'
    """
    answer = caller(url).post("/api/packages/denied", {"purl": purl_range, "reason": reason})
    click.echo(json.dumps(answer) if as_json else plain(answer["message"], limit=500))


@click.command("where-used", short_help="Every application and path that uses a package.")
@click.argument("purl", metavar="PURL")
@url_option
@json_option
def where_used(purl: str, url: str | None, as_json: bool) -> None:
    """Show every application and path that uses PURL (pkg:npm/NAME@VERSION, or all versions)."""
    path = f"/api/packages/where-used?limit=200&purl={quote(purl, safe='')}"
    found = list(_pages(caller(url), path, "uses", "before"))
    if as_json:
        click.echo(json.dumps({"purl": purl, "uses": found}))
        return
    from backend.cli import approval_look, look

    look.console(stderr=False).print(approval_look.use_table(found) if found else "Nobody uses it.")


def _chosen(client: Client, ids: Sequence[int], request_id: int | None) -> list[Json]:
    if bool(ids) == (request_id is not None):
        raise click.UsageError("give IDs, or --request")
    if request_id is not None:
        found = list(_waiting(client, request_id))
        if not found:
            raise CommandError(f"nothing of request {request_id} waits for approval")
        return found
    return [client.get(f"/api/packages/{one}/security-scan/report") for one in dict.fromkeys(ids)]


def _approved(client: Client, ids: Sequence[int], request_id: int | None) -> Sequence[int]:
    if bool(ids) == (request_id is not None):
        raise click.UsageError("give IDs, or --request")
    if request_id is None:
        return list(dict.fromkeys(ids))
    packages = client.get(f"/api/packages/requests/{request_id}")["packages"]
    found = [package["id"] for package in packages if package["status"] == "Approved"]
    if not found:
        raise CommandError(f"nothing of request {request_id} is approved and unpublished")
    return found


def _queued(client: Client, package_id: int) -> Json:
    """As a batch's answer is, of one package."""
    try:
        client.post(f"{DECIDE}/publish/{package_id}", {})
    except CommandError as error:
        if error.exit_code != FAILED:
            raise
        return {"package_ids": [], "failed_packages": [{"id": package_id, "error": str(error)}]}
    return {"package_ids": [package_id], "failed_packages": []}


def _waiting(client: Client, request_id: int | None) -> Iterator[Json]:
    of = f"&request_id={request_id}" if request_id is not None else ""
    return _pages(client, f"{DECIDE}/validated?limit=200{of}", "packages", "after")


def _pages(client: Client, path: str, name: str, place: str) -> Iterator[Json]:
    """Of a list that is answered page by page, every member."""
    answer = client.get(path)
    yield from answer[name]
    while answer["next"] is not None:
        answer = client.get(f"{path}&{place}={answer['next']}")
        yield from answer[name]


def _batches(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]


def _approval(batch: Sequence[int], digests: Mapping[str, str], reason: str | None) -> Json:
    seen = {str(one): digests[str(one)] for one in batch if str(one) in digests}
    return {"package_ids": batch, "verdict_digests": seen, "reason": reason}


def _ask(packages: Sequence[Json], question: str) -> None:
    if not sys.stdin.isatty():
        raise CommandError("nobody is there to ask: look with `waiting`, give --yes", WRONG_USAGE)
    _show(packages)
    click.confirm(question, abort=True)


def _show(packages: Sequence[Json]) -> None:
    from backend.cli import approval_look, look

    shown = approval_look.verdict_table(packages) if packages else "Nothing waits for approval."
    look.console(stderr=False).print(shown)


def _say(answers: Sequence[Json], verb: str, *, as_json: bool) -> int:
    """What was done, and each that could not be; answers the exit code."""
    done = [one for answer in answers for one in answer["package_ids"]]
    failed = [one for answer in answers for one in answer["failed_packages"]]
    if as_json:
        click.echo(json.dumps({"package_ids": done, "failed_packages": failed}))
    else:
        click.echo(f"{count(len(done), 'package')} {verb}")
        for one in failed:
            click.echo(f"{one['id']}: {plain(one['error'], limit=500)}", err=True)
    return FAILED if failed else OK
