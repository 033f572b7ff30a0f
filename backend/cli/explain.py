"""``explain``: why one row is where it is."""

import json
from urllib.parse import quote

import click

from backend.cli.account import url_option
from backend.cli.errors import OK
from backend.cli.requests import caller, json_option


@click.command(short_help="Say why a row is where it is.")
@click.argument("queue")
@click.argument("row_id", metavar="ID", type=click.IntRange(min=1))
@url_option
@json_option
def explain(queue: str, row_id: int, url: str | None, as_json: bool) -> int:
    """Say why row ID of QUEUE is where it is, and what happens next.

    Asks the server in LOCKKEEPER_URL, with the token in LOCKKEEPER_TOKEN.
    """
    answer = caller(url).get(f"/api/queues/{quote(queue, safe='')}/{row_id}/explain")
    if as_json:
        click.echo(json.dumps(answer))
        return OK
    from backend.cli import look

    look.console(stderr=False).print(look.explanation(answer))
    return OK
