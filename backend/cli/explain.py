"""``explain``: why one row is where it is."""

import json

import click

from backend.cli.account import url_option
from backend.cli.errors import OK
from backend.cli.queues import QUEUE, ROW_ID, path_of
from backend.cli.requests import caller, json_option


@click.command(short_help="Say why a row is where it is.")
@click.argument("queue", type=QUEUE)
@click.argument("row_id", metavar="ID", type=ROW_ID)
@url_option
@json_option
def explain(queue: str, row_id: int, url: str | None, as_json: bool) -> int:
    """Say why row ID of QUEUE is where it is, and what happens next.

    Asks the server in LOCKKEEPER_URL, with the token in LOCKKEEPER_TOKEN.
    """
    answer = caller(url).get(path_of(queue, str(row_id), "explain"))
    if as_json:
        click.echo(json.dumps(answer))
        return OK
    from backend.cli import look

    look.console(stderr=False).print(look.explanation(answer))
    return OK
