"""What a configuration means for one thing: ``splunk match``, ``clients``, ``routes``."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import click

from backend.cli.account import url_option
from backend.cli.errors import EXIT_CODES, WRONG_USAGE, CommandError
from backend.cli.requests import caller, json_option
from backend.cli.splunk_effective import CONTEXTS, LONGEST, RUN, Json
from backend.cli.words import plain

BATCH: Final = 500  # hosts that the server takes at once
MAX_BYTES: Final = 16 * 1024 * 1024  # of a file that is read here; the server's limit is lower

Command = Callable[..., Any]


def _of_instance(command: Command) -> Command:
    """Whose configuration it is: that of the instance, of an app, or of a deployment client."""
    options = (
        click.option("--context", type=click.Choice(CONTEXTS), help="For whom it is resolved."),
        click.option("--app", metavar="NAME", help="The app of such a context."),
        click.option("--user", metavar="NAME", help="With app_user: whose settings count."),
        click.option(
            "--deployed", metavar="APP", multiple=True,
            help="Of a client that has this deployment app; again for each other app.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command(short_help="Which props apply to an event.", epilog=EXIT_CODES)
@click.argument("run", type=RUN)
@click.option("--source", metavar="PATH", help="The event's source.")
@click.option("--host", metavar="NAME", help="The event's host.")
@click.option("--sourcetype", metavar="NAME", help="The event's source type.")
@_of_instance
@url_option
@json_option
def match(run: int, url: str | None, as_json: bool, **asked: Any) -> None:
    """Show which settings of props.conf in RUN apply to an event, and from which stanzas."""
    answer = caller(url).post(f"/v1/runs/{run}/match", _given(asked))
    _show(answer, _matched(answer), as_json=as_json)


@click.command(short_help="Which deployment client gets which apps.", epilog=EXIT_CODES)
@click.argument("run", type=RUN)
@click.argument("names", metavar="[HOST]...", nargs=-1)
@click.option(
    "--hosts", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="More hosts: a JSON list of names, or of objects with name, client_name, ip, dns_name,"
    " instance_id, machine_type.",
)  # fmt: skip
@click.option(
    "--list", "lists", metavar="PATH=FILE", multiple=True,
    help="What a whitelist.from_pathname names as PATH is in FILE.",
)  # fmt: skip
@click.option("--explain", is_flag=True, help="Name what they do not get, too.")
@url_option
@json_option
def clients(
    run: int, names: Sequence[str], hosts: Path | None, lists: Sequence[str], explain: bool,
    url: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Show which apps the serverclass.conf in RUN sends to each HOST, and by which entry."""
    asked = [*names, *(_hosts(hosts) if hosts else ())]
    if not asked:
        raise CommandError("name a host, or a file with --hosts", WRONG_USAGE)
    files = dict(map(_list, lists))
    client, found = caller(url), []
    for begin in range(0, len(asked), BATCH):
        body = {"hosts": asked[begin : begin + BATCH], "files": files, "explain": explain}
        found.append(client.post(f"/v1/runs/{run}/clients", body))
    answer = {**found[0], "clients": [one for part in found for one in part["clients"]]}
    _show(answer, _deployed(answer), as_json=as_json)


@click.command(short_help="Where an input's events go.", epilog=EXIT_CODES)
@click.argument("run", type=RUN)
@click.argument("stanza")
@click.option("--source", metavar="PATH", help="One of the files that it reads.")
@click.option("--host", metavar="NAME", help="The host that it runs on.")
@_of_instance
@url_option
@json_option
def routes(run: int, url: str | None, as_json: bool, **asked: Any) -> None:
    """Show source type, index and outputs of the input STANZA in RUN, such as monitor:///var/log.

    A condition after "when" hangs on the event itself.
    """
    query = urlencode(sorted(_given(asked).items()), doseq=True)
    answer = caller(url).get(f"/v1/runs/{run}/routes?{query}")
    _show(answer, _route(answer), as_json=as_json)


COMMANDS: Final = (match, clients, routes)


def _given(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in asked.items() if value}


def _show(answer: Json, lines: Iterator[str], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer))
        return
    for line in lines:
        click.echo(line)


def _hosts(file: Path) -> list[Any]:
    try:
        found = json.loads(_text(file))
    except ValueError:
        raise CommandError(f"{file} is not JSON", WRONG_USAGE) from None
    if not isinstance(found, list):
        raise CommandError(f"{file} is not a JSON list", WRONG_USAGE)
    return found


def _list(given: str) -> tuple[str, str]:
    path, equals, file = given.partition("=")
    if not (path and equals and file):
        raise CommandError(f"--list takes PATH=FILE, not {given}", WRONG_USAGE)
    return path, _text(Path(file))


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise CommandError(f"{file} is larger than {MAX_BYTES >> 20} MiB", WRONG_USAGE)
        return content.decode("utf-8-sig")
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}", WRONG_USAGE) from None
    except UnicodeDecodeError:
        raise CommandError(f"{file} is not UTF-8", WRONG_USAGE) from None


def _matched(answer: Json) -> Iterator[str]:
    for stanza in answer["stanzas"]:
        how = "literally" if stanza["literal"] else "by its pattern"
        yield f"[{plain(stanza['stanza'])}] applies {how}, priority {stanza['priority']}"
    if answer["assigned"]:
        said = answer["assigned"]
        yield f"sourcetype is {plain(said['value'])}, assigned {_by(said)}"
    if answer["renamed"]:
        said = answer["renamed"]
        yield f"sourcetype is {plain(said['value'])} in searches, renamed {_by(said)}"
    for setting in answer["settings"]:
        yield f"{_value(setting['key'], setting['value'])}  {_by(setting['winner'])}"
    if not answer["settings"]:
        yield "no settings apply"
    for stanza in answer["not_read"]:
        yield f"not decided: [{plain(stanza['stanza'])}]: {plain(stanza['reason'])}"


def _deployed(answer: Json) -> Iterator[str]:
    if answer["disabled"]:
        yield f"the deployment server is switched off {_by(answer['disabled'])}"
    for client in answer["clients"]:
        apps = [*client["apps"], *(f"{app} (undecided)" for app in client["undecided"])]
        yield f"{plain(client['name'])}: {plain(', '.join(apps) or 'no apps', limit=LONGEST)}"
        for member in client["server_classes"]:
            yield from _member(member)


def _member(member: Json) -> Iterator[str]:
    yield from _verdict(f"  class {plain(member['server_class'])}", member["verdict"])
    for app in member["apps"]:
        what = f"    app {plain(app['app'])}"
        if app["verdict"] != member["verdict"]:
            yield from _verdict(what, app["verdict"])
        if app["present"] is False:
            yield f"{what} is not among the deployment apps"


def _verdict(what: str, verdict: Json) -> Iterator[str]:
    for reason in verdict["reasons"]:
        said = reason["evidence"]
        where = f" = {plain(said['value'])}  {_by(said)}" if said else ""
        yield f"{what}: {verdict['answer']}: {plain(reason['sentence'])}{where}"


def _route(answer: Json) -> Iterator[str]:
    if answer["disabled"]:
        yield f"the input is switched off {_by(answer['disabled'])}"
    for key in ("source", "host"):
        yield _outcome(key, answer[key])
    for key in ("sourcetype", "queue", "index"):
        for outcome in answer[key]:
            yield _outcome(key, outcome) + _of_index(outcome)
    for one in answer["destinations"]:
        servers = ", ".join(one["servers"]) or "no servers"
        off = f", switched off {_by(one['disabled'])}" if one["disabled"] else ""
        missing = "" if one["exists"] else ", which is not defined"
        group = f"{one['kind']}:{one['group']}"
        yield _outcome("output", {**one["routed"], "value": f"{group} ({servers}{missing})"}) + off
    if answer["local"] or answer["local_by"]:
        by = f" {_by(answer['local_by'])}" if answer["local_by"] else ""
        yield f"{'' if answer['local'] else 'not '}indexed on the instance itself{by}"
    for note in answer["notes"]:
        yield f"note: {plain(note, limit=LONGEST)}"


def _of_index(outcome: Json) -> str:
    undefined = ", which indexes.conf has not" if outcome.get("defined") is False else ""
    if outcome.get("forwarded") is False:
        by = f" {_by(outcome['filter'])}" if outcome["filter"] else ""
        return f"{undefined}, not forwarded{by}"
    return undefined


def _outcome(key: str, outcome: Json) -> str:
    value = "not known" if outcome["value"] is None else plain(outcome["value"], limit=LONGEST)
    when = f" when {plain(outcome['when'], limit=LONGEST)}" if outcome["when"] else ""
    by = f"  {_by(outcome['evidence'][0])}" if outcome["evidence"] else ""
    return f"{key}: {value}{when}{by}"


def _value(key: str, value: str) -> str:
    return f"{plain(key)} = {plain(value, limit=LONGEST)}".rstrip()


def _by(said: Json) -> str:
    place = f"{plain(said['path'], limit=LONGEST)}:{said['line']}"
    return f"({place} [{plain(said['stanza'])}])"
