"""``splunk effective``, ``why`` and ``diff``: what they ask the server, and how they show it."""

import json
from typing import Any
from urllib.parse import urlencode

from click.testing import CliRunner, Result

from backend.cli import cli
from tests.registry_server import Answer, RegistryServer

HOSTILE, SHOWN = "\x1b[31m", "\N{REPLACEMENT CHARACTER}[31m"


def said(value: str, path: str = "system/local/inputs.conf", stanza: str = "x") -> dict[str, Any]:
    return {"value": value, "path": path, "line": 4, "stanza": stanza}


def setting(key: str, winner: dict[str, Any], *losers: dict[str, Any]) -> dict[str, Any]:
    return {"key": key, "value": winner["value"], "winner": winner, "losers": list(losers)}


def lockkeeper(server: RegistryServer, *arguments: str) -> Result:
    """In this process: what is asked and shown is the same."""
    env = {"LOCKKEEPER_URL": server.url, "LOCKKEEPER_TOKEN": "t"}
    return CliRunner(env=env).invoke(cli, ["splunk", *arguments], standalone_mode=False)


def pages(server: RegistryServer, path: str, items: str, *found: Any, **asked: Any) -> None:
    for number, page in enumerate(found, 1):
        following = number + 1 if number < len(found) else None
        answer = {"conf": "inputs", items: page, "page": number, "per_page": 100, "next": following}
        query = {**asked, "per_page": 100, **({"page": number} if number > 1 else {})}
        server.answer(f"{path}?{urlencode(sorted(query.items()))}", Answer.json(answer))


def test_effective_shows_all_pages_as_btool_would() -> None:
    host = setting("host", said("h1", stanza="default"))
    with RegistryServer() as server:
        pages(
            server, "/v1/runs/7/effective", "stanzas",
            [{"stanza": "x", "settings": [host, setting("index", said(f"{HOSTILE}\na"))]}],
            [{"stanza": "y", "settings": []}],
            conf="inputs", stanza="x/y",
        )  # fmt: skip
        shown = lockkeeper(server, "effective", "7", "inputs", "--stanza", "x/y")
        parsed = lockkeeper(server, "effective", "7", "inputs", "--stanza", "x/y", "--json")

    assert shown.output.splitlines() == [
        "[x]",
        "host = h1  (system/local/inputs.conf:4 [default])",
        f"index = {SHOWN} a  (system/local/inputs.conf:4)",
        "[y]",
    ]
    answer = json.loads(parsed.output)
    assert [it["stanza"] for it in answer["stanzas"]] == ["x", "y"]
    assert "next" not in answer


def test_why_shows_who_wins_who_loses_and_who_is_not_read() -> None:
    loser = said("b", "apps/a/local/inputs.conf")
    ignored = {**said("c", "apps/off/local/inputs.conf"), "reason": "app-disabled"}
    path = "/v1/runs/7/why?app=a&conf=inputs&context=app_user&key=index&stanza=x&user=bob"
    answer = {"key": "index", "setting": setting("index", said("a"), loser), "ignored": [ignored]}
    context = ("--context", "app_user", "--app", "a", "--user", "bob")
    with RegistryServer() as server:
        server.answer(path, Answer.json(answer))
        shown = lockkeeper(server, "why", "7", "inputs", "x", "index", *context)
        server.answer(path, Answer.json({**answer, "setting": None}))
        nothing = lockkeeper(server, "why", "7", "inputs", "x", "index", *context)

    last = "  is not read (app-disabled)  apps/off/local/inputs.conf:4 [x]: c"
    assert shown.output.splitlines() == [
        "index = a",
        "  wins   system/local/inputs.conf:4 [x]: a",
        "  loses  apps/a/local/inputs.conf:4 [x]: b",
        last,
    ]
    assert nothing.output.splitlines() == ["index: nothing holds in this context", last]


def test_diff_shows_what_was_and_what_is() -> None:
    where = {"context": "deployment_app", "app": "two", "user": None, "conf": "outputs"}
    keys = [
        {"key": "a", "before": said("1"), "after": said("")},
        {"key": "b", "before": None, "after": said("2")},
    ]
    changed = {"stanza": "default", "change": "changed", "keys": keys, "inherited_by": 2}
    gone = {"stanza": "x", "change": "removed", "keys": [], "inherited_by": 0}
    with RegistryServer() as server:
        pages(server, "/v1/runs/1/diff/2", "changes", [{**where, **changed}], [{**where, **gone}])
        shown = lockkeeper(server, "diff", "1", "2")
        pages(server, "/v1/runs/1/diff/2", "changes", [], conf="props")
        same = lockkeeper(server, "diff", "1", "2", "--conf", "props")

    assert shown.output.splitlines() == [
        "deployment_app two outputs [default] changed, inherited by 2 stanzas",
        "- a = 1  (system/local/inputs.conf:4)",
        "+ a =  (system/local/inputs.conf:4)",
        "+ b = 2  (system/local/inputs.conf:4)",
        "deployment_app two outputs [x] removed",
    ]
    assert same.output == "no difference in effect\n"
