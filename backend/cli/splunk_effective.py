"""What a run's configuration amounts to: ``splunk effective``, ``why``, ``diff``."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import click

from backend.cli.account import url_option
from backend.cli.client import Client
from backend.cli.errors import EXIT_CODES
from backend.cli.requests import caller, json_option
from backend.cli.words import count, plain

CONTEXTS: Final = ("global", "cluster_peer", "app_user", "deployment_app", "manager_app")
RUN: Final = click.IntRange(min=1)
PER_PAGE: Final = 100
LONGEST: Final = 2000  # characters of a value that are shown

Json = dict[str, Any]
Command = Callable[..., Any]


def _in_context(command: Command) -> Command:
    """``--context``, ``--app`` and ``--user``."""
    options = (
        click.option("--context", type=click.Choice(CONTEXTS), help="For whom it is resolved."),
        click.option("--app", metavar="NAME", help="The app of such a context."),
        click.option("--user", metavar="NAME", help="With app_user: whose settings count."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(short_help="What holds, as btool would list it.", epilog=EXIT_CODES)
@click.argument("run", type=RUN)
@click.argument("conf")
@click.option("--stanza", metavar="NAME", help="Only this stanza.")
@_in_context
@url_option
@json_option
def effective(run: int, conf: str, url: str | None, as_json: bool, **asked: str | None) -> None:
    """Show what holds for CONF (inputs, props …) in RUN: value, file and line of each key."""
    path = f"/v1/runs/{run}/effective"
    answer = whole(caller(url), path, {"conf": conf, **asked}, "stanzas")
    _show(answer, _stanzas(answer), as_json=as_json)


@click.command(short_help="Which file decides one key.", epilog=EXIT_CODES)
@click.argument("run", type=RUN)
@click.argument("conf")
@click.argument("stanza")
@click.argument("key")
@_in_context
@url_option
@json_option
def why(run: int, url: str | None, as_json: bool, **asked: str | None) -> None:
    """Show which file's word on KEY of STANZA wins in RUN, which lose, and which are not read."""
    answer = caller(url).get(_path(f"/v1/runs/{run}/why", asked))
    _show(answer, _candidates(answer), as_json=as_json)


@click.command(short_help="What changed in effect between two runs.", epilog=EXIT_CODES)
@click.argument("before", type=RUN)
@click.argument("after", type=RUN)
@click.option("--conf", metavar="TYPE", help="Only this conf type.")
@_in_context
@url_option
@json_option
def diff(before: int, after: int, url: str | None, as_json: bool, **asked: str | None) -> None:
    """Show what holds in run AFTER and did not in run BEFORE, however their files look.

    Without --context: what the instance itself does, then each deployment app by itself.
    """
    answer = whole(caller(url), f"/v1/runs/{before}/diff/{after}", asked, "changes")
    _show(answer, _changes(answer), as_json=as_json)


COMMANDS: Final = (effective, why, diff)


def _show(answer: Json, lines: Iterator[str], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer))
        return
    for line in lines:
        click.echo(line)


def _path(path: str, asked: Mapping[str, Any]) -> str:
    return f"{path}?{urlencode(sorted((k, v) for k, v in asked.items() if v is not None))}"


def whole(client: Client, path: str, asked: Mapping[str, Any], items: str) -> Json:
    """All pages as one answer, whose list is named ``items``."""
    query = {**asked, "per_page": PER_PAGE}
    answer = client.get(_path(path, query))
    following = answer.pop("next")
    while following is not None:
        page = client.get(_path(path, {**query, "page": following}))
        answer[items] += page[items]
        following = page["next"]
    for paging in ("page", "per_page"):
        del answer[paging]
    return answer


def _stanzas(answer: Json) -> Iterator[str]:
    if not answer["stanzas"]:
        yield f"{plain(answer['conf'])}: nothing holds in this context"
    for stanza in answer["stanzas"]:
        name = stanza["stanza"]
        yield f"[{plain(name)}]"
        for setting in stanza["settings"]:
            winner = setting["winner"]
            inherited = "" if winner["stanza"] == name else f" [{plain(winner['stanza'])}]"
            yield f"{_setting(setting['key'], winner)}  ({_where(winner)}{inherited})"


def _candidates(answer: Json) -> Iterator[str]:
    key, setting = answer["key"], answer["setting"]
    if setting is None:
        yield f"{plain(key)}: nothing holds in this context"
    else:
        yield _setting(key, setting["winner"])
        yield f"  wins   {_said(setting['winner'])}"
        for loser in setting["losers"]:
            yield f"  loses  {_said(loser)}"
    for ignored in answer["ignored"]:
        yield f"  is not read ({ignored['reason']})  {_said(ignored)}"


def _changes(answer: Json) -> Iterator[str]:
    for change in answer["changes"]:
        where = [change["context"], change["app"], change["user"], change["conf"]]
        heirs = change["inherited_by"]
        inherited = f", inherited by {count(heirs, 'stanza')}" if heirs else ""
        yield (
            f"{plain(' '.join(it for it in where if it))} [{plain(change['stanza'])}]"
            f" {change['change']}{inherited}"
        )
        for key in change["keys"]:
            for sign, side in (("-", key["before"]), ("+", key["after"])):
                if side is not None:
                    yield f"{sign} {_setting(key['key'], side)}  ({_where(side)})"
    if not answer["changes"]:
        yield "no difference in effect"


def _setting(key: str, said: Json) -> str:
    return f"{plain(key)} = {plain(said['value'], limit=LONGEST)}".rstrip()


def _said(said: Json) -> str:
    return f"{_where(said)} [{plain(said['stanza'])}]: {plain(said['value'], limit=LONGEST)}"


def _where(said: Json) -> str:
    return f"{plain(said['path'], limit=LONGEST)}:{said['line']}"
