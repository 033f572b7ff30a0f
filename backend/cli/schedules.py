"""Schedules over REST: ``schedules list|add|show|change|pause|resume|run|remove``."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar
from urllib.parse import quote

import click

from backend.cli.account import url_option
from backend.cli.client import Client
from backend.cli.errors import EXIT_CODES, CommandError
from backend.cli.report import Json
from backend.cli.requests import caller, json_option
from backend.cli.task_parameters import parameter_options, parameters_of
from backend.cli.words import plain

PATH: Final = "/api/schedules"
PAGE: Final = 200
FIRES: Final = 10
"""Times that ``show`` looks back on."""
CATCH_UP: Final = ("one", "all", "none")
Command = TypeVar("Command", bound=Callable[..., Any])

which_argument = click.argument("which", metavar="SCHEDULE")


@click.group()
def schedules() -> None:
    """Have tasks submitted by the clock; see docs/tasks/schedules.md."""


def _settings(command: Command) -> Command:
    """What ``add`` and ``change`` both take."""
    for option in (
        click.option("--timezone", metavar="ZONE", help="Whose clock, as Europe/Berlin; or UTC."),
        click.option("--priority", type=click.IntRange(1, 10), help="10 is the most urgent."),
        click.option(
            "--catch-up",
            type=click.Choice(CATCH_UP),
            help="Of times that passed while no worker ran; one if not said.",
        ),
        click.option(
            "--unique/--not-unique",
            "unique_pending",
            default=None,
            help="Whether none is submitted while the last one still waits.",
        ),
        parameter_options,
    ):
        command = option(command)
    return command


@schedules.command("list", short_help="Your schedules, newest first.", epilog=EXIT_CODES)
@url_option
@json_option
def list_(url: str | None, as_json: bool) -> None:
    """Show your schedules, newest first; approvers and admins see everybody's."""
    found = list(_all(caller(url)))
    if as_json:
        click.echo(json.dumps({"schedules": found}))
        return
    for schedule in found:
        click.echo(_line(schedule))
    if not found:
        click.echo("there is no schedule")


@schedules.command(short_help="Have a task submitted by the clock.", epilog=EXIT_CODES)
@click.argument("name", metavar="NAME")
@click.argument("cron", metavar="CRON")
@click.argument("task_type", metavar="TYPE")
@_settings
@click.option("--user", "user_id", type=click.IntRange(1), help="Whose data; by default yours.")
@click.option("--paused", is_flag=True, help="Not before it is resumed.")
@url_option
@json_option
def add(
    *,
    given: tuple[str, ...],
    parameters: str | None,
    url: str | None,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Have a task of TYPE submitted whenever CRON says, and call that NAME.

    For instance: lockkeeper schedules add weekly-trends '0 7 * * MON' analyze_ari_trends
    --timezone Europe/Berlin -p lookback_days=7
    """
    body = _said(wanted) | {"parameters": parameters_of(parameters, given)}
    _show(caller(url).post(PATH, body), as_json=as_json)


@schedules.command(short_help="One schedule, and what came of it.", epilog=EXIT_CODES)
@which_argument
@url_option
@json_option
def show(which: str, url: str | None, as_json: bool) -> None:
    """Show SCHEDULE (its name or number), its next times and what came of the last ones."""
    client = caller(url)
    path = _path(client, which)
    answer = client.get(path)
    answer["fires"] = client.get(f"{path}/fires?limit={FIRES}")["fires"]
    for line in [json.dumps(answer)] if as_json else _page(answer):
        click.echo(line)


@schedules.command(short_help="Change a schedule.", epilog=EXIT_CODES)
@which_argument
@click.option("--cron", metavar="CRON", help="When.")
@_settings
@url_option
@json_option
def change(
    which: str,
    *,
    given: tuple[str, ...],
    parameters: str | None,
    url: str | None,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Change what is given of SCHEDULE; parameters are replaced, all of them."""
    body = _said(wanted)
    if given or parameters is not None:
        body["parameters"] = parameters_of(parameters, given)
    if not body:
        raise click.UsageError("say what is to be different")
    client = caller(url)
    _show(client.patch(_path(client, which), body), as_json=as_json)


@schedules.command(short_help="Submit no more.", epilog=EXIT_CODES)
@which_argument
@url_option
@json_option
def pause(which: str, url: str | None, as_json: bool) -> None:
    """Submit no more for SCHEDULE, until it is resumed."""
    client = caller(url)
    _show(client.post(f"{_path(client, which)}/pause", {}), as_json=as_json)


@schedules.command(short_help="Go on with a paused schedule.", epilog=EXIT_CODES)
@which_argument
@url_option
@json_option
def resume(which: str, url: str | None, as_json: bool) -> None:
    """Go on with SCHEDULE from now; what was due meanwhile is not made up."""
    client = caller(url)
    _show(client.post(f"{_path(client, which)}/resume", {}), as_json=as_json)


@schedules.command(short_help="Submit its task now.", epilog=EXIT_CODES)
@which_argument
@url_option
@json_option
def run(which: str, url: str | None, as_json: bool) -> None:
    """Submit the task of SCHEDULE now; its times stay as they are."""
    client = caller(url)
    answer = client.post(f"{_path(client, which)}/run", {})
    said = f"task {answer['task_id']}: {plain(answer['message'])}"
    click.echo(json.dumps(answer) if as_json else said)


@schedules.command(short_help="Remove a schedule.", epilog=EXIT_CODES)
@which_argument
@url_option
@json_option
def remove(which: str, url: str | None, as_json: bool) -> None:
    """Remove SCHEDULE; the tasks that it submitted stay."""
    client = caller(url)
    answer = client.delete(_path(client, which))
    click.echo(json.dumps(answer) if as_json else f"schedule {plain(which)} is removed")


def _all(client: Client, query: str = "") -> Iterator[Json]:
    before = ""
    while True:
        answer = client.get(f"{PATH}?limit={PAGE}{query}{before}")
        yield from answer["schedules"]
        if answer["next"] is None:
            return
        before = f"&before={answer['next']}"


def _path(client: Client, which: str) -> str:
    """Of a schedule by its number, or by a name that only one has that the caller sees."""
    if which.isascii() and which.isdecimal():
        return f"{PATH}/{which}"
    found = [schedule["id"] for schedule in _all(client, f"&name={quote(which, safe='')}")]
    if len(found) > 1:
        raise CommandError(
            f"several schedules are called {plain(which)}: name one of {', '.join(map(str, found))}"
        )
    if not found:
        raise CommandError(f"there is no schedule {plain(which)}")
    return f"{PATH}/{found[0]}"


def _said(wanted: Json) -> dict[str, Any]:
    return {name: value for name, value in wanted.items() if value is not None}


def _line(schedule: Json) -> str:
    of = "" if schedule["created_by"] else ", the product's own"
    due = "paused" if schedule["paused"] else f"next {schedule['next_fire_at']}"
    when = plain(f"{schedule['cron']} {schedule['timezone']}")
    name = plain(schedule["name"])
    return f"{schedule['id']}  {name}  {when}: {plain(schedule['task_type'])}, {due}{of}"


def _page(schedule: Json) -> Iterable[str]:
    yield _line(schedule)
    unique = ", none while the last one waits" if schedule["unique_pending"] else ""
    yield f"priority {schedule['priority']}, catches up: {schedule['catch_up']}{unique}"
    if schedule["parameters"] is not None:
        yield f"parameters: {json.dumps(schedule['parameters'])}"
    yield from (f"due {moment}" for moment in schedule["upcoming"])
    if schedule["outcomes"]:
        counted = (f"{plain(word)} {count}" for word, count in schedule["outcomes"].items())
        yield f"so far: {', '.join(counted)}"
    yield from map(_fire, schedule["fires"])


def _fire(fire: Json) -> str:
    task = f", task {fire['task_id']} {fire['task_status']}" if fire["task_id"] else ""
    reason = f": {plain(fire['reason'], limit=500)}" if fire["reason"] else ""
    return f"{fire['fire_at']}  {fire['outcome']}{task}{reason}"


def _show(schedule: Json, *, as_json: bool) -> None:
    click.echo(json.dumps(schedule) if as_json else _line(schedule))
