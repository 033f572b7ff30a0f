"""Matching over HTTP and on the command line, on stored runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from backend import cli
from backend.cli import splunk_matching
from backend.db import make_engine, make_sessions
from backend.web.assembly import assemble
from tests.callers import Caller, make_settings
from tests.conftest import CreateDatabase
from tests.integration.packages.house import People
from tests.splunk_tree import store

FILES = {
    "system/local/props.conf": "[default]\nTZ = UTC\n[st]\nTZ = CET\nTRANSFORMS-r = route\n",
    "system/local/transforms.conf": (
        "[route]\nREGEX = ERROR\nDEST_KEY = _MetaData:Index\nFORMAT = errors\n"
    ),
    "system/local/outputs.conf": "[tcpout]\ndefaultGroup = g\n[tcpout:g]\nserver = a:9997\n",
    "apps/web/local/inputs.conf": "[monitor:///var/log/web.log]\nindex = web\n",
    "apps/web/local/props.conf": (
        "[source::/var/log/...]\nsourcetype = st\n[source::/(bad|]\nk = 1\n"
    ),
    "apps/off/local/props.conf": "[source::/var/log/web.log]\nTZ = never\n",
    "apps/off/local/app.conf": "[install]\nstate = disabled\n",
    "apps/ds/local/serverclass.conf": (
        "[serverClass:web]\nwhitelist.0 = web*\nblacklist.from_pathname = etc/no.txt\n"
        "[serverClass:web:app:TA]\nrestartSplunkd = true\n[serverClass:web:app:gone]\n"
    ),
    "deployment-apps/TA/local/inputs.conf": "[udp://514]\nindex = net\n_TCP_ROUTING = idx\n",
    "deployment-apps/TA/local/props.conf": "[source::udp:*]\nTZ = PST\n",
    "deployment-apps/out/local/outputs.conf": "[tcpout:idx]\nserver = b:9997\n",
    "deployment-apps/other/local/props.conf": "[source::udp:*]\nTZ = other\n",
}
LOG = "monitor:///var/log/web.log"


class Api:
    def __init__(self, engine: Engine) -> None:
        sessions = make_sessions(engine)
        app = assemble(make_settings(), engine)
        self.people = People(app, app.test_client(), sessions)
        with sessions.begin() as session:
            self.run = store(session, FILES, by=self.people.user.id)
            self.bare = store(session, {"apps/x/local/app.conf": "[ui]\n"}, by=self.people.user.id)
            self.unparsed = store(
                session, {}, by=self.people.user.id, status="stored", archive_kind=None,
                files_parsed=None, stanzas_created=None, parse_errors=None, duration_seconds=None,
                completed_at=None,
            )  # fmt: skip

    def post(self, path: str, status: int = 200, by: Caller | None = None, **body: Any) -> Any:
        answer = (by or self.people.user)("POST", f"/v1/runs/{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.get_json()

    def get(self, path: str, status: int = 200, by: Caller | None = None, **query: Any) -> Any:
        answer = (by or self.people.user)("GET", f"/v1/runs/{path}", query_string=query)
        assert answer.status_code == status, answer.text
        return answer.get_json()


@pytest.fixture(scope="module")
def api(create_database: CreateDatabase, migrated: str) -> Iterator[Api]:
    with create_database(migrated) as url:
        engine = make_engine(url)
        yield Api(engine)
        engine.dispose()


def test_the_settings_of_an_event_with_their_evidence(api: Api) -> None:
    answer = api.post(f"{api.run}/match", source="/var/log/web.log", host="h")

    assert answer["sourcetype"] == "st"
    assert answer["assigned"]["path"] == "apps/web/local/props.conf"
    assert [(one["stanza"], one["literal"]) for one in answer["stanzas"]] == [
        ("source::/var/log/...", False), ("st", True),
    ]  # fmt: skip
    tz = next(one for one in answer["settings"] if one["key"] == "TZ")
    assert (tz["value"], tz["winner"]["line"], tz["losers"][0]["value"]) == ("CET", 4, "UTC")
    assert answer["disabled_apps"] == ["off"]
    assert [one["stanza"] for one in answer["not_read"]] == ["source::/(bad|"]


def test_the_settings_on_a_client_that_was_sent_some_apps(api: Api) -> None:
    answer = api.post(f"{api.run}/match", source="udp:514", deployed=["TA"])

    assert {one["key"]: one["value"] for one in answer["settings"]} == {"TZ": "PST"}
    assert answer["settings"][0]["winner"]["path"] == "deployment-apps/TA/local/props.conf"
    gone = api.post(f"{api.run}/match", 404, source="x", deployed=["TA", "nope"])
    assert gone["code"] == "no-such-app"


def test_clients_and_the_apps_that_they_get(api: Api) -> None:
    hosts: list[Any] = ["web01", {"name": "x", "dns_name": "web02.example.test"}, "db01"]

    first = api.post(f"{api.run}/clients", hosts=hosts)
    told = api.post(f"{api.run}/clients", hosts=hosts, files={"etc/no.txt": "web02*\n"})

    assert [(one["apps"], one["undecided"]) for one in first["clients"]] == [
        ([], ["TA", "gone"]), ([], ["TA", "gone"]), ([], []),
    ]  # fmt: skip
    assert [one["apps"] for one in told["clients"]] == [["TA", "gone"], [], []]
    (member,) = told["clients"][0]["server_classes"]
    assert member["verdict"]["answer"] == "yes"
    assert member["verdict"]["reasons"][0]["evidence"]["value"] == "web*"
    assert [app["present"] for app in member["apps"]] == [True, False]


def test_the_route_of_an_input(api: Api) -> None:
    answer = api.get(f"{api.run}/routes", stanza=LOG)

    assert [one["value"] for one in answer["sourcetype"]] == ["st"]
    assert [(one["value"], one["when"]) for one in answer["index"]] == [
        ("web", None), ("errors", "_raw matches ERROR"),
    ]  # fmt: skip
    assert answer["index"][0]["evidence"][0]["path"] == "apps/web/local/inputs.conf"
    (output,) = answer["destinations"]
    assert (output["group"], output["servers"], answer["local"]) == ("g", ["a:9997"], False)
    deployed = api.get(f"{api.run}/routes", stanza="udp://514", deployed=["TA", "out"])
    assert [one["servers"] for one in deployed["destinations"]] == [["b:9997"]]
    assert [one["value"] for one in deployed["index"]] == ["net"]


@pytest.mark.parametrize(
    ("run", "path", "body", "status", "code"),
    [
        ("run", "match", {"index": "main"}, 400, "invalid"),
        ("run", "match", {"source": ""}, 400, "invalid"),
        ("run", "match", {"source": "x", "context": "app_user"}, 400, "invalid"),
        ("run", "match", {"source": "x" * 5000}, 400, "invalid"),
        ("run", "match", {"deployed": ["TA"], "context": "cluster_peer"}, 400, "invalid"),
        ("run", "clients", {"hosts": []}, 400, "invalid"),
        ("run", "clients", {"hosts": ["h"] * 501}, 400, "invalid"),
        ("run", "clients", {"hosts": [{"name": "h", "colour": "red"}]}, 400, "invalid"),
        ("bare", "clients", {"hosts": ["h"]}, 404, "no-serverclass"),
        ("unparsed", "match", {"source": "x"}, 409, "not-parsed"),
        ("unparsed", "clients", {"hosts": ["h"]}, 409, "not-parsed"),
    ],
)
def test_what_is_refused(
    api: Api, run: str, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    assert api.post(f"{getattr(api, run)}/{path}", status, **body)["code"] == code


def test_inputs_that_are_not_there_and_runs_of_others(api: Api) -> None:
    for stanza in ("monitor:///nope", "default"):
        assert api.get(f"{api.run}/routes", 404, stanza=stanza)["code"] == "no-such-input"
    stranger = api.people.approver
    api.get(f"{api.run}/routes", 404, by=stranger, stanza=LOG)
    api.post(f"{api.run}/match", 404, by=stranger, source="x")
    api.post(f"{api.run}/clients", 404, by=stranger, hosts=["h"])
    api.post(f"{api.run}/match", by=api.people.admin, source="x")


class InProcess:
    """What the command line's client asks, asked of the application here."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def get(self, path: str) -> Any:
        return self._answer("GET", path)

    def post(self, path: str, body: Any) -> Any:
        return self._answer("POST", path, json=body)

    def _answer(self, method: str, path: str, **content: Any) -> Any:
        answer = self.api.people.user(method, path, **content)
        assert answer.status_code == 200, answer.text
        return answer.get_json()


def test_the_command_line(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(splunk_matching, "caller", lambda _url: InProcess(api))
    (tmp_path / "no.txt").write_text("web02*\n")
    (tmp_path / "hosts.json").write_text(json.dumps(["db01"]))

    def said(*arguments: object) -> str:
        assert cli.main(["splunk", *map(str, arguments)]) == 0
        return capsys.readouterr().out

    matched = said("match", api.run, "--source", "/var/log/web.log")
    assert "[source::/var/log/...] applies by its pattern, priority 0\n" in matched
    assert "TZ = CET  (system/local/props.conf:4 [st])\n" in matched
    assert "not decided: [source::/(bad|]: its pattern" in matched
    given = ("--list", f"etc/no.txt={tmp_path / 'no.txt'}", "--hosts", tmp_path / "hosts.json")
    sent = said("clients", api.run, "web01", *given)
    assert "web01: TA, gone\n" in sent
    assert "whitelist.0 matches = web*  (apps/ds/local/serverclass.conf:2" in sent
    assert "    app gone is not among the deployment apps\n" in sent
    assert sent.endswith("db01: no apps\n")
    went = said("routes", api.run, LOG)
    assert "index: errors when _raw matches ERROR  (system/local/transforms.conf:3" in went
    assert "output: tcpout:g (a:9997)  (system/local/outputs.conf:2 [tcpout])\n" in went
    parsed = json.loads(said("routes", api.run, LOG, "--json").splitlines()[-1])
    assert parsed["kind"] == "monitor"
    deployed = said("routes", api.run, "udp://514", "--deployed", "TA", "--deployed", "out")
    assert "output: tcpout:idx (b:9997)" in deployed


@pytest.mark.parametrize(
    "arguments",
    [
        ["clients", "1"],
        ["clients", "1", "--hosts", "/nope/hosts.json"],
        ["clients", "1", "h", "--list", "nothing"],
        ["match", "0"],
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["splunk", *arguments]) == 2

    assert capsys.readouterr().err.count("Traceback") == 0
