"""Tasks over REST: ``tasks types|submit|list|show|watch|cancel|retry``."""

import json
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlencode

import click

from backend.cli.account import url_option
from backend.cli.errors import EXIT_CODES, OK, CommandError
from backend.cli.report import Json
from backend.cli.requests import caller, json_option
from backend.cli.task_parameters import parameter_options, parameters_of
from backend.cli.task_words import heading, outcome, type_line, type_page
from backend.cli.words import plain, say

STATUSES: Final = ("pending", "running", "completed", "failed", "cancelled")

task_argument = click.argument("task", metavar="ID", type=click.UUID)


@click.group()
def tasks() -> None:
    """Have something computed, and see what came of it."""


@tasks.command(short_help="What can be computed.", epilog=EXIT_CODES)
@click.argument("name", metavar="[TYPE]", required=False)
@url_option
@json_option
def types(name: str | None, url: str | None, as_json: bool) -> None:
    """List every task type, or show one of them with each of its parameters."""
    answer = caller(url).get("/api/tasks/types")
    if name is not None:
        answer["types"] = [kind for kind in answer["types"] if kind["name"] == name]
        if not answer["types"]:
            raise CommandError(f"there is no task type {name}; `lockkeeper tasks types` lists them")
    _show(answer, [line for it in answer["types"] for line in _of_type(it, name)], as_json=as_json)


def _of_type(kind: Json, name: str | None) -> Iterable[str]:
    return [type_line(kind)] if name is None else type_page(kind)


@tasks.command(short_help="Have something computed.", epilog=EXIT_CODES)
@click.argument("name", metavar="TYPE")
@parameter_options
@click.option("--user", "user_id", type=click.IntRange(1), help="Whose data; by default yours.")
@click.option(
    "--priority", type=click.IntRange(1, 10), help="10 is the most urgent; 5 if not said."
)
@click.option("--run-at", metavar="TIME", help="Not before, as 2027-01-31T06:00:00Z.")
@click.option(
    "--delay", metavar="SECONDS", type=click.IntRange(0), help="Not before so much later."
)
@click.option("--unique", is_flag=True, help="Not if one of yours that is the same still waits.")
@click.option("--wait", is_flag=True, help="Until it has ended; exit 1 where it did not succeed.")
@url_option
@json_option
def submit(
    name: str,
    *,
    given: tuple[str, ...],
    parameters: str | None,
    delay: int | None,
    wait: bool,
    url: str | None,
    as_json: bool,
    **asked: Any,
) -> int:
    """Queue a task of TYPE on the server in LOCKKEEPER_URL.

    For instance: lockkeeper tasks submit aggregate_ari_snapshots -p time_window_hours=48 --wait
    """
    taken = parameters_of(parameters, given)
    asked |= {"task_type": name, "parameters": taken, "delay_seconds": delay}
    client = caller(url)
    answer = client.post("/api/tasks", {k: v for k, v in asked.items() if v is not None})
    if wait:
        return _watch(client, answer["task_id"], as_json=as_json)
    _show(answer, [f"task {answer['task_id']}: {plain(answer['message'])}"], as_json=as_json)
    return OK


@tasks.command("list", short_help="Your tasks, newest first.", epilog=EXIT_CODES)
@click.option("--status", type=click.Choice(STATUSES), help="Only those that stand so.")
@click.option("--type", "task_type", metavar="TYPE", help="Only those of this type.")
@click.option("--user", "user_id", type=click.IntRange(1), help="Only about this user's data.")
@click.option("--limit", type=click.IntRange(1, 100), default=50, help="How many; 50 if not said.")
@click.option("--offset", type=click.IntRange(0), default=0, help="After so many newer ones.")
@url_option
@json_option
def list_(url: str | None, as_json: bool, **asked: Any) -> None:
    """Show your tasks, newest first; admins see everybody's."""
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    answer = caller(url).get(f"/api/tasks/list?{query}")
    nothing = ["there is no such task"]
    _show(answer, list(map(heading, answer["tasks"])) or nothing, as_json=as_json)
    shown = asked["offset"] + len(answer["tasks"])
    if answer["tasks"] and shown < answer["total_count"] and not as_json:
        say(f"{answer['total_count']} tasks; more with --offset {shown}")


@tasks.command(short_help="One task with its result.", epilog=EXIT_CODES)
@task_argument
@url_option
@json_option
def show(task: Any, url: str | None, as_json: bool) -> None:
    """Show how far task ID is, or what came of it."""
    answer = caller(url).get(f"/api/tasks/status/{task}")
    _show(answer, outcome(answer), as_json=as_json)


@tasks.command(short_help="Follow a task until it has ended.", epilog=EXIT_CODES)
@task_argument
@url_option
@json_option
def watch(task: Any, url: str | None, as_json: bool) -> int:
    """Follow task ID until it has ended; exit 1 where it did not succeed."""
    return _watch(caller(url), str(task), as_json=as_json)


def _watch(client: Any, task_id: str, *, as_json: bool) -> int:
    from backend.cli import task_watch

    answer = task_watch.watch(client, task_id)
    _show(answer, outcome(answer), as_json=as_json)
    return task_watch.exit_code(answer)


@tasks.command(short_help="End a task that waits or runs.", epilog=EXIT_CODES)
@task_argument
@url_option
@json_option
def cancel(task: Any, url: str | None, as_json: bool) -> None:
    """Cancel task ID, which waits or runs."""
    answer = caller(url).delete(f"/api/tasks/{task}")
    _show(answer, [f"task {task} is cancelled"], as_json=as_json)


@tasks.command(short_help="Do a failed task again.", epilog=EXIT_CODES)
@task_argument
@url_option
@json_option
def retry(task: Any, url: str | None, as_json: bool) -> None:
    """Have task ID, which failed, done again."""
    answer = caller(url).post(f"/api/tasks/{task}/retry", {})
    _show(answer, [f"task {task} waits again"], as_json=as_json)


def _show(answer: Json, lines: Iterable[str], *, as_json: bool) -> None:
    for line in [json.dumps(answer)] if as_json else lines:
        click.echo(line)
