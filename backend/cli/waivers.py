"""Waivers over REST: ``propose``, ``second``, ``revoke``, ``list``, ``flags``."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import click

from backend.cli.account import url_option
from backend.cli.client import Client
from backend.cli.queues import ROW_ID
from backend.cli.requests import caller, json_option
from backend.cli.words import plain

Json = dict[str, Any]

PATH = "/api/waivers"
LONGEST = 180  # days; the server takes no more
SPARE = timedelta(minutes=5)  # clocks differ

id_argument = click.argument("waiver_id", metavar="ID", type=ROW_ID)


@click.group()
def waivers() -> None:
    """Bear one finding or licence of one package for a while; see docs/waivers.md."""


@waivers.command(short_help="Propose a waiver; another admin must second it.")
@click.argument("purl_range", metavar="PURL-RANGE")
@click.option("--finding", metavar="ID", help="The finding: GHSA-…, CVE-….")
@click.option("--component", metavar="NAME", help="The bundled package that the finding is about.")
@click.option("--licence", metavar="SPDX", help="The licence, instead of a finding.")
@click.option("--days", type=click.IntRange(1, LONGEST), required=True, help="How long.")
@click.option("--reason", metavar="TEXT", required=True, help="Why; kept for ever.")
@url_option
@json_option
def propose(
    purl_range: str,
    *,
    finding: str | None,
    component: str | None,
    licence: str | None,
    days: int,
    reason: str,
    url: str | None,
    as_json: bool,
) -> None:
    """Propose to bear one finding or licence in the versions of PURL-RANGE (admins).

    For example: lockkeeper waivers propose 'pkg:npm/left-pad@>=1.2.0 <1.4.0' --finding
    GHSA-aaaa-bbbb-cccc --days 90 --reason "not reachable from our code"
    """
    if (finding is None) == (licence is None):
        raise click.UsageError("give --finding or --licence")
    ends = datetime.now(UTC) + timedelta(days=days)
    longest = datetime.now(UTC) + timedelta(days=LONGEST) - SPARE
    body = {
        "purl": purl_range, "finding": finding, "component": component, "licence": licence,
        "reason": reason, "expires_at": min(ends, longest).isoformat(),
    }  # fmt: skip
    _say(caller(url).post(PATH, body), as_json=as_json)


@waivers.command(short_help="Put another admin's waiver into force.")
@id_argument
@url_option
@json_option
def second(waiver_id: int, url: str | None, as_json: bool) -> None:
    """Put waiver ID, which another admin proposed, into force."""
    _say(caller(url).post(f"{PATH}/{waiver_id}/second", {}), as_json=as_json)


@waivers.command(short_help="End a waiver at once, or withdraw a proposal.")
@id_argument
@click.option("--reason", metavar="TEXT", required=True, help="Why; kept for ever.")
@url_option
@json_option
def revoke(waiver_id: int, reason: str, url: str | None, as_json: bool) -> None:
    """End waiver ID at once (admins); what rested on it is judged again."""
    answer = caller(url).post(f"{PATH}/{waiver_id}/revoke", {"reason": reason})
    _say(answer, as_json=as_json)


@waivers.command("list", short_help="Show waivers, newest first.")
@click.option("--name", metavar="NAME", help="Those of one package alone.")
@url_option
@json_option
def list_(name: str | None, url: str | None, as_json: bool) -> None:
    """Show every waiver there ever was, newest first."""
    of = f"&name={quote(name, safe='')}" if name is not None else ""
    found = list(_pages(caller(url), f"{PATH}?limit=200{of}", "waivers"))
    if as_json:
        click.echo(json.dumps({"waivers": found}))
        return
    for waiver in found:
        click.echo(_line(waiver))
    if not found:
        click.echo("there is no waiver")


@waivers.command(short_help="Published packages that rest on a waiver which has ended.")
@url_option
@json_option
def flags(url: str | None, as_json: bool) -> None:
    """Show published packages that rest on a waiver which has ended: renew it, or recall them."""
    found = list(_pages(caller(url), f"{PATH}/flags?limit=200", "flags"))
    if as_json:
        click.echo(json.dumps({"flags": found}))
        return
    for flag in found:
        name = plain(f"{flag['name']}@{flag['version']}")
        click.echo(f"{flag['package_id']}: {name}, waiver {flag['waiver_id']} {_matter(flag)}")
    if not found:
        click.echo("nothing published rests on a waiver that has ended")


def _pages(client: Client, path: str, name: str) -> Iterator[Json]:
    before = ""
    while True:
        answer = client.get(path + before)
        yield from answer[name]
        if answer["next"] is None:
            return
        before = f"&before={answer['next']}"


def _line(waiver: Json) -> str:
    what = plain(f"{waiver['name']}@{waiver['range']}", limit=300)
    return (
        f"{waiver['id']} {waiver['state']} until {waiver['expires_at'][:10]}: {what}"
        f" {_matter(waiver)}: {plain(waiver['reason'], limit=200)}"
    )


def _matter(waiver: Json) -> str:
    inside = f" in {waiver['component']}" if waiver["component"] else ""
    return plain(f"{waiver['finding'] or waiver['licence']}{inside}", limit=300)


def _say(answer: Json, *, as_json: bool) -> None:
    click.echo(json.dumps(answer) if as_json else plain(answer["message"], limit=500))
