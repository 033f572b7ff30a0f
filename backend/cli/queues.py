"""Queues over REST: ``queues``, ``workers``, ``pause``, ``resume``, ``requeue``, ``cancel``."""

import json
from typing import Any, Final
from urllib.parse import quote

import click

from backend.cli.account import url_option
from backend.cli.errors import FAILED, OK
from backend.cli.requests import caller, json_option
from backend.cli.words import count, plain

Json = dict[str, Any]


class _QueueName(click.types.StringParamType):
    """A part of a path: dots alone would mean another one."""

    name = "queue"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return value if value.strip(".") else self.fail("name a queue.", param, ctx)


class _RowId(click.IntRange):
    name = "row's number"


QUEUE: Final = _QueueName()
ROW_ID: Final = _RowId(1, 2**63 - 1)

partition_option = click.option("--partition", metavar="NAME", help="One partition of it alone.")
reason_option = click.option("--reason", metavar="TEXT", help="Why; kept in the audit log.")


def path_of(queue: str, *rest: str) -> str:
    """Of an operation on ``queue``, whatever is in its name."""
    return "/".join(["/api/queues", quote(queue, safe=""), *rest])


@click.command()
@url_option
@json_option
def queues(url: str | None, as_json: bool) -> None:
    """Show every queue: how deep, how old, how many workers, what is paused."""
    answer = caller(url).get("/api/queues")
    if as_json:
        click.echo(json.dumps(answer))
        return
    from backend.cli import look, queue_look

    look.console(stderr=False).print(queue_look.queue_table(answer["queues"]))


@click.command()
@url_option
@json_option
def workers(url: str | None, as_json: bool) -> None:
    """Show every worker of the last day, alive or silent."""
    answer = caller(url).get("/api/workers")
    if as_json:
        click.echo(json.dumps(answer))
        return
    from backend.cli import look, queue_look

    look.console(stderr=False).print(queue_look.worker_table(answer["workers"]))


@click.command(short_help="Claim no more rows of a queue.")
@click.argument("queue", type=QUEUE)
@partition_option
@reason_option
@url_option
@json_option
def pause(
    queue: str, partition: str | None, reason: str | None, url: str | None, as_json: bool
) -> None:
    """Claim no more rows of QUEUE, until `resume`; rows that run finish."""
    body = {"partition": partition, "reason": reason}
    _say_paused(caller(url).post(path_of(queue, "pause"), body), as_json=as_json)


@click.command(short_help="Claim rows of a paused queue again.")
@click.argument("queue", type=QUEUE)
@partition_option
@url_option
@json_option
def resume(queue: str, partition: str | None, url: str | None, as_json: bool) -> None:
    """Claim rows of QUEUE again. A partition that was paused by itself is resumed by itself."""
    body = {"partition": partition}
    _say_paused(caller(url).post(path_of(queue, "resume"), body), as_json=as_json)


def _say_paused(answer: Json, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer))
        return
    from backend.cli import queue_look

    click.echo(f"{plain(answer['queue'])}: {queue_look.paused(answer['paused']) or 'not paused'}")


@click.command(short_help="Make rows that failed in processing ready again.")
@click.argument("queue", type=QUEUE)
@click.argument("ids", metavar="[ID]...", nargs=-1, type=ROW_ID)
@click.option("--fingerprint", metavar="HEX", help="Rows that failed alike; see --all --preview.")
@click.option(
    "--failure",
    type=click.Choice(["permanent", "exhausted", "timeout", "poison"]),
    help="Rows that failed so.",
)
@click.option("--error-contains", metavar="TEXT", help="Rows whose error has this in it.")
@partition_option
@click.option("--all", "every", is_flag=True, help="Every row that failed in processing.")
@click.option("--preview", is_flag=True, help="Only show what would be requeued.")
@click.option("--alone", is_flag=True, help="Run each alone: for rows that killed their worker.")
@url_option
@json_option
def requeue(
    queue: str,
    ids: tuple[int, ...],
    *,
    fingerprint: str | None,
    every: bool,
    preview: bool,
    alone: bool,
    url: str | None,
    as_json: bool,
    **conditions: str | None,
) -> int:
    """Make rows of QUEUE that failed in processing ready again, from their first stage.

    Name them by ID, or by what they have in common; all that is given must hold. What a policy
    or a person refused is never among them. Exits 1 where an ID names no row that failed so.
    """
    chosen = {name: value for name, value in conditions.items() if value is not None}
    if not (ids or fingerprint or chosen or every):
        raise click.UsageError("give IDs, --fingerprint, --failure, --error-contains or --all")
    body: Json = {"filter": chosen, "preview": preview, "alone": alone}
    if ids:
        body["ids"] = list(ids)
    if fingerprint:
        body["fingerprint"] = fingerprint
    answer = _requeue(url, queue, body)
    if as_json:
        click.echo(json.dumps(answer))
    elif preview:
        from backend.cli import look, queue_look

        look.console(stderr=False).print(queue_look.preview(answer))
    else:
        click.echo(f"{count(answer['requeued'], 'row')} queued again{_left(answer)}")
    return FAILED if answer["left"] else OK


def _requeue(url: str | None, queue: str, body: Json) -> Json:
    """All that match, also where the server does them in several goes."""
    client = caller(url)
    answer = client.post(path_of(queue, "requeue"), body)
    # What fails once more meanwhile is not requeued over and over.
    rest = {**body, "filter": {**body["filter"], "failed_before": answer["began"]}}
    while answer["more"]:
        more = client.post(path_of(queue, "requeue"), rest)
        both = {name: answer[name] + more[name] for name in ("count", "requeued")}
        answer |= {**both, "more": more["more"], "complete": more["complete"]}
    return answer


def _left(answer: Json) -> str:
    """What was asked for by its id and could not be done."""
    left = ", ".join(map(str, answer["left"]))
    return f"; no failed rows of {plain(answer['queue'])}, left alone: {left}" if left else ""


@click.command(short_help="End a row that waits or runs.")
@click.argument("queue", type=QUEUE)
@click.argument("row_id", metavar="ID", type=ROW_ID)
@reason_option
@url_option
@json_option
def cancel(queue: str, row_id: int, reason: str | None, url: str | None, as_json: bool) -> None:
    """End row ID of QUEUE, which waits or runs; what runs stops at its next write."""
    answer = caller(url).post(path_of(queue, str(row_id), "cancel"), {"reason": reason})
    if as_json:
        click.echo(json.dumps(answer))
    else:
        click.echo(f"row {row_id} is {plain(answer['status'])} now")
