"""Policy: ``check`` a file here; ``test``, ``propose`` and ``second`` it over REST; ``show``."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from backend.cli.account import url_option
from backend.cli.client import Client
from backend.cli.errors import FAILED, OK, WRONG_USAGE, CommandError
from backend.cli.requests import caller, json_option
from backend.cli.words import count, plain

MAX_BYTES = 1024 * 1024
"""More is never read; a policy's own limit is lower."""
SHOWN = 20  # packages that a dry run lists

Json = dict[str, Any]

file_argument = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


@click.group()
def policy() -> None:
    """Check, test and propose policies; see docs/policy.md."""


@policy.command(short_help="Check a policy; no server is asked.")
@file_argument
@json_option
def check(file: Path, as_json: bool) -> int:
    """Check FILE: its form, its words, and whether it contradicts itself. No server is asked."""
    from backend.problems import Problem
    from backend.workloads.packages.policies.reading import read_policy

    try:
        digest = read_policy(_content(file)).digest
    except Problem as problem:
        if as_json:
            faults = problem.extra.get("errors", [])
            click.echo(json.dumps({"valid": False, "errors": faults, "error": problem.detail}))
            return FAILED
        raise CommandError(f"{file}: {problem.detail}") from None
    if as_json:
        click.echo(json.dumps({"valid": True, "digest": digest}))
    else:
        click.echo(f"{plain(str(file))} is a policy, digest {digest}")
    return OK


@policy.command(short_help="What a policy would change of what is decided.")
@file_argument
@click.option(
    "--on-history", is_flag=True, required=True, help="Judge everything that was judged so far."
)
@url_option
@json_option
def test(file: Path, on_history: bool, url: str | None, as_json: bool) -> int:  # noqa: ARG001 - said for its readers
    """Judge everything that was judged so far by FILE, and say what would change. Changes nothing.

    Asks the server in LOCKKEEPER_URL, with the token in LOCKKEEPER_TOKEN.
    """
    pages = list(_pages(caller(url), _text(file)))
    answer = {
        "examined": sum(page["examined"] for page in pages),
        "unread": sum(page["unread"] for page in pages),
        "changes": pages[0]["changes"],
        "differences": [difference for page in pages for difference in page["differences"]],
    }
    if as_json:
        click.echo(json.dumps(answer))
        return OK
    for line in _told(answer):
        click.echo(line)
    return OK


def _pages(client: Client, source: str) -> Iterator[Json]:
    after: int | None = 0
    while after is not None:
        page = client.post("/api/policy/test", {"source": source, "after": after})
        yield page
        after = page["next"]


def _told(answer: Json) -> Iterator[str]:
    yield from _changes(answer["changes"])
    found = answer["differences"]
    kinds = Counter((d["before"]["outcome"], d["after"]["outcome"]) for d in found)
    yield f"{count(answer['examined'], 'package')} judged, {len(found)} otherwise than now"
    for (before, after), number in kinds.most_common():
        yield f"  {number}: {before} → {after}"
    for difference in found[:SHOWN]:
        name = plain(f"{difference['name']}@{difference['version']}")
        rules = ", ".join(difference["after"]["rules"])
        yield f"  {name} ({difference['status']}): {difference['after']['outcome']} by {rules}"
    if len(found) > SHOWN:
        yield f"  … and {len(found) - SHOWN} more (--json shows all)"
    if answer["unread"]:
        yield f"{count(answer['unread'], 'refused package')} would be vetted: nothing is known yet"


def _changes(changes: list[Json]) -> Iterator[str]:
    if not changes:
        yield "the policy in force says the same"
    for change in changes:
        word = "loosens" if change["loosens"] else "changes"
        before, after = (json.dumps(change[side]) for side in ("before", "after"))
        yield plain(f"{word} {change['key']}: {before} → {after}", limit=500)


@policy.command(short_help="Give another policy.")
@file_argument
@click.option("--reason", metavar="TEXT", help="Why; kept with the version.")
@url_option
@json_option
def propose(file: Path, reason: str | None, url: str | None, as_json: bool) -> int:
    """Propose FILE (admins): it acts at once unless it loosens something.

    What loosens something waits for another admin: `lockkeeper policy second VERSION`.
    """
    answer = caller(url).post("/api/policy", {"source": _text(file), "reason": reason})
    return _said(answer, as_json=as_json)


@policy.command(short_help="Put another admin's proposal into force.")
@click.argument("version", type=click.IntRange(1, 2**63 - 1))
@url_option
@json_option
def second(version: int, url: str | None, as_json: bool) -> int:
    """Put VERSION, which another admin proposed, into force."""
    answer = caller(url).post(f"/api/policy/proposals/{version}/second", {})
    return _said(answer, as_json=as_json)


@policy.command(short_help="Print the policy in force.")
@url_option
@json_option
def show(url: str | None, as_json: bool) -> None:
    """Print the YAML of the policy in force, and name the proposals that wait."""
    answer = caller(url).get("/api/policy")
    if as_json:
        click.echo(json.dumps(answer))
        return
    click.echo(answer["policy"]["source"].rstrip("\n"))
    for proposal in answer["proposals"]:
        loosens = ", ".join(proposal["loosens"])
        click.echo(f"version {proposal['version']} waits: it loosens {plain(loosens)}", err=True)


def _said(answer: Json, *, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(answer))
        return OK
    for line in _changes(answer["changes"]):
        click.echo(line)
    click.echo(plain(answer["message"], limit=500))
    return OK


def _content(file: Path) -> bytes:
    """Raises CommandError where it cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES)
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}", WRONG_USAGE) from None


def _text(file: Path) -> str:
    """As it is sent: the server judges it, and cannot be sent what is no text."""
    try:
        return _content(file).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CommandError(f"{file} is not UTF-8") from None
