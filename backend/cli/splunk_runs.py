"""Uploaded configurations: ``splunk runs``, ``status``, ``show``, ``parse``."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import click

from backend.cli.account import url_option
from backend.cli.errors import EXIT_CODES, FAILED, OK
from backend.cli.requests import caller, json_option
from backend.cli.splunk_effective import LONGEST, RUN, Json, whole
from backend.cli.words import count, plain, say

STATUSES: Final = ("pending", "stored", "parsing", "complete", "failed")
TYPES: Final = ("ds_etc", "instance_etc", "app_bundle", "single_conf")
COUNTED: Final = ("conf_types", "layers", "apps", "warnings", "skipped")


@click.command(short_help="Your runs, newest first.", epilog=EXIT_CODES)
@click.option("--status", type=click.Choice(STATUSES), help="Only those that stand so.")
@click.option("--type", "kind", type=click.Choice(TYPES), help="Only uploads of this type.")
@click.option("--page", type=click.IntRange(1, 1_000_000), default=1, help="50 on each.")
@url_option
@json_option
def runs(status: str | None, kind: str | None, page: int, url: str | None, as_json: bool) -> None:
    """Show what you uploaded, newest first; admins see everybody's."""
    given = {"status": status, "type": kind, "page": page}
    query = urlencode({name: value for name, value in given.items() if value is not None})
    answer = caller(url).get(f"/v1/runs?{query}")
    if as_json:
        click.echo(json.dumps(answer))
        return
    for run in answer["runs"]:
        label = f" {plain(run['label'])!r}" if run["label"] else ""
        click.echo(f"{_told(run)}: {run['type'] or 'no type'} {plain(run['filename'])}{label}")
    if not answer["runs"]:
        click.echo("there is no such run")
    if answer["next"] is not None:
        say(f"{answer['total']} runs; more with --page {answer['next']}")


@click.command(short_help="How far a run is.", epilog=EXIT_CODES)
@click.argument("run", type=RUN)
@click.option("--wait", is_flag=True, help="Until it has ended; exit 1 where it failed.")
@url_option
@json_option
def status(run: int, wait: bool, url: str | None, as_json: bool) -> int:
    """Show how far RUN is, or with --wait follow it until it is parsed or has failed."""
    client, path = caller(url), f"/v1/runs/{run}/status"
    if wait:
        from backend.cli import progress

        answer = progress.follow(client, path, _Changes().show, finished=_ended)
    else:
        answer = client.get(path)
    click.echo(json.dumps(answer) if as_json else _told(answer))
    return FAILED if wait and answer["status"] == "failed" else OK


@click.command(short_help="What was found in a run.", epilog=EXIT_CODES)
@click.argument("run", type=RUN)
@click.option("--conf", metavar="TYPE", help="The stanzas of this conf type, as they stand.")
@click.option("--name", metavar="NAME", help="With --conf: only the stanzas of this name.")
@click.option("--app", metavar="NAME", help="With --conf: only those of this app.")
@click.option("--search", metavar="TEXT", help="With --conf: only those that hold this text.")
@url_option
@json_option
def show(run: int, conf: str | None, url: str | None, as_json: bool, **asked: str | None) -> None:
    """Count what was found in RUN, or show its stanzas of one conf type with file and line."""
    client = caller(url)
    if conf is None:
        if any(asked.values()):
            raise click.UsageError("--name, --app and --search need --conf")
        answer = client.get(f"/v1/runs/{run}/summary")
        lines = _summary(answer)
    else:
        wanted = {"conf_type": conf, "name": asked["name"], "app": asked["app"]}
        path = f"/v1/runs/{run}/stanzas"
        answer = whole(client, path, {**wanted, "q": asked["search"]}, "stanzas")
        lines = _stanzas(answer)
    if as_json:
        click.echo(json.dumps(answer))
        return
    for line in lines:
        click.echo(line)


@click.command(short_help="Parse a run again.", epilog=EXIT_CODES)
@click.argument("run", type=RUN)
@click.option("--force", is_flag=True, help="Also one that is complete.")
@url_option
@json_option
def parse(run: int, force: bool, url: str | None, as_json: bool) -> None:
    """Have RUN parsed again: one that failed, or with --force one that is complete."""
    answer = caller(url).post(f"/v1/runs/{run}/parse", {"force": force})
    if as_json:
        click.echo(json.dumps(answer))
    elif answer["accepted"]:
        click.echo(f"run {run}: to be parsed, task {answer['task_id']}")
    else:
        hint = "; --force parses it again" if answer["status"] == "complete" else ""
        click.echo(f"{_told(answer)}: nothing to do{hint}")


COMMANDS: Final = (runs, status, show, parse)


class _Changes:
    """Says on standard error how a run stands, whenever that changed."""

    def __init__(self) -> None:
        self._said = ""

    def show(self, answer: Mapping[str, Any]) -> None:
        told = _told(answer)
        if told != self._said and not _ended(answer):
            say(told)
        self._said = told


def _ended(answer: Mapping[str, Any]) -> bool:
    return answer["status"] in {"complete", "failed"}


def _told(run: Mapping[str, Any]) -> str:
    """One line: how it stands, what was found, or why it failed."""
    metrics, begins = run["metrics"], f"run {run['id']} {run['status']}"
    if run["error_message"] is not None:
        kind = f" ({metrics['error_type']})" if metrics["error_type"] else ""
        return f"{begins}{kind}, {plain(run['error_message'], limit=LONGEST)}"
    if metrics["files_parsed"] is None:
        return begins
    found = (
        count(metrics["files_parsed"], "conf file"),
        count(metrics["stanzas_created"], "stanza"),
        count(metrics["parse_errors"], "parse error"),
    )
    return f"{begins}, {', '.join(found)} in {metrics['duration_seconds']:.2f} s"


def _summary(answer: Json) -> Iterator[str]:
    kind = " ".join(it for it in (answer["type"], answer["archive_kind"]) if it)
    yield f"run {answer['id']} {answer['status']}: {kind}".rstrip(": ")
    yield f"files: {answer['total_files']}{_counts(answer['files'], begin=', ')}"
    yield f"stanzas: {answer['total_stanzas']}"
    for name in COUNTED:
        if answer[name]:
            more = answer["left_out"].get(name, 0)
            rest = f", and {more} more" if more else ""
            yield f"{name.replace('_', ' ')}: {_counts(answer[name])}{rest}"
    for notice in answer["notices"]:
        yield f"notice: {plain(notice['message'], limit=LONGEST)}"


def _counts(counts: Mapping[str, int], *, begin: str = "") -> str:
    said = ", ".join(f"{plain(name)} {number}" for name, number in counts.items())
    return begin + said if said else ""


def _stanzas(answer: Json) -> Iterator[str]:
    if not answer["stanzas"]:
        yield "there is no such stanza"
    for stanza in answer["stanzas"]:
        where = f"{plain(stanza['file_path'], limit=LONGEST)}:{stanza['line']}"
        yield f"[{plain(stanza['name'])}]  ({where})"
        before = stanza["history"] or {}
        lines = stanza["lines"]
        for key, value in sorted(stanza["raw_kv"].items(), key=lambda item: lines[item[0]]):
            again = "".join(f", line {line} had {plain(old)}" for line, old in before.get(key, ()))
            said = f"{plain(key)} = {plain(value, limit=LONGEST)}".rstrip()
            yield f"{said}  (line {lines[key]}{again})"
