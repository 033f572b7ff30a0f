"""The resolution API on stored runs: who may ask, what is read, and what is answered."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import Engine, event, text

from backend.db import make_engine, make_sessions
from backend.web.assembly import assemble
from backend.workloads.splunk.model import RunFile
from backend.workloads.splunk.resolution import loading
from tests.callers import Caller, make_settings
from tests.conftest import CreateDatabase
from tests.integration.packages.house import People
from tests.splunk_tree import add_rows, store

"""The resolution API on stored runs: who may ask, what is read, and what is answered."""

OURS = {
    "system/default/inputs.conf": "[default]\nhost = h0\nindex = default\n",
    "system/local/inputs.conf": "[default]\nhost = h1\n[monitor:///x]\nindex = web\n",
    "apps/a/local/inputs.conf": "[monitor:///x]\nindex = lost\n[monitor:///y]\n",
    "apps/off/local/inputs.conf": "[monitor:///x]\nsourcetype = never\n",
    "apps/off/local/app.conf": "[install]\nstate = disabled\n[ui]\nlabel = Off\n",
    "apps/a/default/props.conf": "[st]\nTZ = a\nkv = own\n[secret]\nk = 1\n",
    "apps/a/metadata/default.meta": "[]\nexport = none\n[props/st]\nexport = system\n",
    "apps/b/local/props.conf": "[st]\nTZ = b\n",
    "apps/b/metadata/local.meta": "[props]\nexport = system\n[macros/x]\nexport = none\n",
    "users/bob/a/local/props.conf": "[st]\nTZ = bob\n",
    "users/eve/a/local/props.conf": "[st]\nTZ = eve\n",
    "deployment-apps/one/local/outputs.conf": "[tcpout]\ndefaultGroup = x\n",
    "deployment-apps/two/local/outputs.conf": "[tcpout]\ndefaultGroup = y\n",
    "manager-apps/m/local/indexes.conf": "[main]\nk = 1\n",
}
LATER = {
    **OURS,
    "system/local/inputs.conf": "[default]\nhost = h2\n[monitor:///x]\nindex = web\n",
    "apps/a/local/inputs.conf": "[monitor:///y]\ndisabled = 1\n",
    "deployment-apps/two/local/outputs.conf": "[tcpout]\ndefaultGroup = z\n",
}


class Api:
    """Answers of the API to its people about runs of the user ada."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.sessions = make_sessions(engine)
        app = assemble(make_settings(), engine)
        self.people = People(app, app.test_client(), self.sessions)
        self.ours, self.later = self.run(OURS), self.run(LATER)

    def run(self, files: Mapping[str, str], **values: Any) -> int:
        with self.sessions.begin() as session:
            return store(session, files, by=self.people.user.id, **values)

    def ask(self, path: str, *, by: Caller | None = None, status: int = 200, **query: Any) -> Any:
        given = f"?{urlencode(query)}" if query else ""
        answer = (by or self.people.user)("GET", f"/v1/runs/{path}{given}")
        assert answer.status_code == status, answer.text
        return answer.get_json()


@pytest.fixture(scope="module")
def api(create_database: CreateDatabase, migrated: str) -> Iterator[Api]:
    with create_database(migrated) as url:
        engine = make_engine(url)
        yield Api(engine)
        engine.dispose()


def short(stanzas: list[Any]) -> dict[str, dict[str, str]]:
    return {it["stanza"]: {one["key"]: one["value"] for one in it["settings"]} for it in stanzas}


def test_what_holds_globally_with_winner_and_losers(api: Api) -> None:
    answer = api.ask(f"{api.ours}/effective", conf="inputs")

    assert short(answer["stanzas"]) == {
        "default": {"host": "h1", "index": "default"},
        "monitor:///x": {"host": "h1", "index": "web"},
        "monitor:///y": {"host": "h1", "index": "default"},
    }
    assert (answer["context"], answer["total"], answer["next"]) == ("global", 3, None)
    assert answer["disabled_apps"] == ["off"]
    index = answer["stanzas"][1]["settings"][1]
    assert index["winner"] == {
        "path": "system/local/inputs.conf", "line": 4, "stanza": "monitor:///x", "value": "web",
        "layer": "system", "scope": "local", "app": None, "user": None,
    }  # fmt: skip
    assert [(it["path"], it["stanza"], it["value"]) for it in index["losers"]] == [
        ("apps/a/local/inputs.conf", "monitor:///x", "lost"),
        ("system/default/inputs.conf", "default", "default"),
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"app": "a", "user": "bob"}, {"st": {"TZ": "bob", "kv": "own"}, "secret": {"k": "1"}}),
        ({"app": "a"}, {"st": {"TZ": "a", "kv": "own"}, "secret": {"k": "1"}}),
        ({"app": "b", "user": "bob"}, {"st": {"TZ": "b", "kv": "own"}}),
        ({"app": "search"}, {"st": {"TZ": "b", "kv": "own"}}),
        ({"app": "a", "stanza": "secret"}, {"secret": {"k": "1"}}),
    ],
)
def test_what_a_user_sees_in_an_app(
    api: Api, query: dict[str, Any], expected: dict[str, Any]
) -> None:
    answer = api.ask(f"{api.ours}/effective", conf="Props", context="app_user", **query)

    assert short(answer["stanzas"]) == expected


def test_one_stanza_and_single_apps(api: Api) -> None:
    one = api.ask(f"{api.ours}/effective", conf="inputs", stanza="monitor:///x")
    ui = api.ask(f"{api.ours}/effective", conf="app", stanza="ui")
    deployed = api.ask(f"{api.ours}/effective", conf="outputs", context="deployment_app", app="two")
    together = api.ask(f"{api.ours}/effective", conf="outputs", context="deployment_app")
    managed = api.ask(f"{api.ours}/effective", conf="indexes", context="manager_app", app="m")

    assert short(one["stanzas"]) == {"monitor:///x": {"host": "h1", "index": "web"}}
    assert (ui["stanzas"], ui["disabled_apps"]) == ([], ["off"])
    assert short(deployed["stanzas"]) == {"tcpout": {"defaultGroup": "y"}}
    assert short(together["stanzas"]) == {"tcpout": {"defaultGroup": "x"}}
    assert short(managed["stanzas"]) == {"main": {"k": "1"}}


def test_pages_have_each_stanza_once(api: Api) -> None:
    run_id = api.run({"apps/a/local/macros.conf": "".join(f"[m{n}]\n" for n in range(5))})

    pages = [
        api.ask(f"{run_id}/effective", conf="macros", per_page=2, page=page)
        for page in (1, 2, 3, 4)
    ]

    assert [[it["stanza"] for it in page["stanzas"]] for page in pages] == [
        ["m0", "m1"], ["m2", "m3"], ["m4"], [],
    ]  # fmt: skip
    assert [page["next"] for page in pages] == [2, 3, None, None]


def test_why_tells_winner_losers_and_what_is_not_even_read(api: Api) -> None:
    said: dict[str, Any] = {"conf": "inputs", "stanza": "monitor:///x"}
    index = api.ask(f"{api.ours}/why", key="index", **said)
    never = api.ask(f"{api.ours}/why", key="sourcetype", **said)
    host = api.ask(f"{api.ours}/why", key="host", **said)
    private = api.ask(
        f"{api.ours}/why", conf="props", stanza="secret", key="k", context="app_user", app="b"
    )
    gone = api.ask(f"{api.ours}/why", key="x\x1b", status=404, **said)

    assert (index["setting"]["value"], len(index["setting"]["losers"])) == ("web", 2)
    assert index["ignored"] == []
    assert host["setting"]["winner"]["stanza"] == "default"
    assert never["setting"] is None
    assert [(it["reason"], it["app"]) for it in never["ignored"]] == [("app-disabled", "off")]
    assert [(it["reason"], it["app"]) for it in private["ignored"]] == [("not-exported", "a")]
    assert gone["code"] == "no-such-setting"
    assert "\x1b" not in gone["error"]


def test_a_diff_is_of_what_holds(api: Api) -> None:
    answer = api.ask(f"{api.ours}/diff/{api.later}")

    assert [
        (it["context"], it["app"], it["conf"], it["stanza"], it["change"], it["inherited_by"])
        for it in answer["changes"]
    ] == [
        ("global", None, "inputs", "default", "changed", 2),
        ("global", None, "inputs", "monitor:///y", "changed", 0),
        ("deployment_app", "two", "outputs", "tcpout", "changed", 0),
    ]
    (group,) = answer["changes"][2]["keys"]
    assert (group["key"], group["change"]) == ("defaultGroup", "changed")
    assert (group["before"]["value"], group["after"]["value"]) == ("y", "z")
    (added,) = answer["changes"][1]["keys"]
    assert (added["change"], added["before"], added["after"]["value"]) == ("added", None, "1")
    assert api.ask(f"{api.ours}/diff/{api.ours}")["changes"] == []


def test_a_diff_may_be_narrowed_and_paged(api: Api) -> None:
    path = f"{api.ours}/diff/{api.later}"
    first = api.ask(path, per_page=1)
    second = api.ask(path, per_page=1, page=2)

    assert [it["stanza"] for it in first["changes"] + second["changes"]] == [
        "default", "monitor:///y",
    ]  # fmt: skip
    assert (first["next"], second["next"]) == (2, 3)
    assert api.ask(path, conf="props")["changes"] == []
    assert len(api.ask(path, context="deployment_app")["changes"]) == 1
    assert api.ask(path, context="deployment_app", app="one")["changes"] == []
    assert api.ask(path, context="app_user", app="a", user="bob", conf="props")["changes"] == []


def test_what_does_nothing_is_listed_with_the_conf_files_that_nobody_reads(api: Api) -> None:
    run_id = api.run(OURS)
    with api.sessions.begin() as session:
        session.add_all(
            RunFile(
                run_id=run_id, file_no=100 + n, path=path, kind="other", sha256="0" * 64,
                size_bytes=1,
            )
            for n, path in enumerate(["apps/a/default.old.1/props.conf", "apps/a/bin/x.py"])
        )  # fmt: skip

    answer = api.ask(f"{run_id}/leftovers")

    found = [(it["reason"], it["path"], it["stanza"], it["key"]) for it in answer["leftovers"]]
    off = "apps/off/local"
    assert found == [
        ("app-disabled", f"{off}/app.conf", "ui", None),
        ("app-disabled", f"{off}/inputs.conf", "monitor:///x", None),
        ("shadowed", "apps/a/local/inputs.conf", "monitor:///x", "index"),
        ("not-read", "apps/a/default.old.1/props.conf", None, None),
    ]
    assert answer["leftovers"][2]["instead"]["value"] == "web"
    assert [it["reason"] for it in api.ask(f"{run_id}/leftovers", conf="app")["leftovers"]] == [
        "app-disabled"
    ]


def test_an_instance_with_apps_of_a_cluster_peer_is_judged_as_one(api: Api) -> None:
    run_id = api.run(
        {
            "peer-apps/_cluster/local/indexes.conf": "[main]\nk = 1\n",
            "apps/a/local/indexes.conf": "[main]\nk = 2\n",
        }
    )

    answer = api.ask(f"{run_id}/leftovers")
    globally = api.ask(f"{run_id}/leftovers", context="global")

    assert answer["context"] == "cluster_peer"
    assert [(it["reason"], it["app"]) for it in answer["leftovers"]] == [("shadowed", "a")]
    assert globally["leftovers"] == []


def test_two_deployment_apps_that_disagree_overlap(api: Api) -> None:
    (overlap,) = api.ask(f"{api.ours}/overlaps")["overlaps"]

    assert (overlap["context"], overlap["conf"], overlap["stanza"], overlap["key"]) == (
        "deployment_app", "outputs", "tcpout", "defaultGroup",
    )  # fmt: skip
    assert [(it["app"], it["value"]) for it in overlap["said"]] == [("one", "x"), ("two", "y")]
    assert api.ask(f"{api.ours}/overlaps", conf="inputs")["overlaps"] == []


MANY_MORE = text(
    "INSERT INTO stanzas (run_id, stanza_no, file_no, order_in_file, line, conf_type, name,"
    " raw_kv, lines, layer, scope, app) SELECT run_id, n, file_no, n, line, conf_type, 'x' || n,"
    " raw_kv, lines, layer, scope, app FROM stanzas, generate_series(2, 5000) AS n"
    " WHERE run_id = :id"
)
QUESTIONS = [
    "{run}/effective?conf=inputs",
    "{run}/why?conf=inputs&stanza=monitor:///x&key=index",
    "{run}/diff/{mine}",
    "{mine}/diff/{run}",
    "{run}/leftovers",
    "{run}/overlaps",
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_run_is_its_owners_and_admins_and_for_others_not_there(api: Api, question: str) -> None:
    with api.sessions.begin() as session:
        mine = store(session, {}, by=api.people.other.id)
    path = question.format(run=api.ours, mine=mine)
    unknown = question.format(run=2**40, mine=2**40)

    api.ask(path, by=api.people.admin)
    theirs = api.ask(path, by=api.people.other, status=404)
    missing = api.ask(unknown, by=api.people.other, status=404)
    api.ask(path, by=api.people.approver, status=404)

    assert theirs["error"].replace(str(api.ours), "") == missing["error"].replace(str(2**40), "")
    assert api.people.user.client.get(f"/v1/runs/{path}").status_code == 401


@pytest.mark.parametrize(
    "query",
    [
        {"context": "app_user"},
        {"context": "global", "app": "a"},
        {"context": "deployment_app", "user": "bob"},
        {"context": "elsewhere"},
        {"page": 0},
        {"per_page": 101},
        {"conf": ""},
        {"stanza": "\0"},
    ],
)
def test_a_question_that_makes_no_sense_is_refused(api: Api, query: dict[str, Any]) -> None:
    answer = api.ask(f"{api.ours}/effective", status=400, **{"conf": "inputs", **query})

    assert answer["error"]


def test_a_run_that_was_never_parsed_has_nothing_to_resolve(api: Api) -> None:
    unparsed: dict[str, Any] = dict.fromkeys(
        ["completed_at", "archive_kind", "files_parsed", "stanzas_created", "parse_errors",
         "duration_seconds"]
    )  # fmt: skip
    run_id = api.run({}, status="stored", **unparsed)

    assert api.ask(f"{run_id}/effective", status=409, conf="inputs")["code"] == "not-parsed"


def test_what_would_fill_the_memory_is_refused_before_it_is_read(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    stanzas = "".join(f"[s{n}]\nk = {'v' * 50}\n" for n in range(20))
    run_id = api.run(
        {
            "apps/a/local/macros.conf": stanzas,
            "apps/a/local/tags.conf": f"[packed]\nk = {'x' * 200_000}\n",
        }
    )
    monkeypatch.setattr(loading, "MAX_STANZAS", 10)
    monkeypatch.setattr(loading, "MAX_BYTES", 100_000)

    many = api.ask(f"{run_id}/effective", status=413, conf="macros")
    large = api.ask(f"{run_id}/effective", status=413, conf="tags")
    one = api.ask(f"{run_id}/effective", conf="macros", stanza="s7")

    assert many["code"] == large["code"] == "too-large-to-resolve"
    assert short(one["stanzas"]) == {"s7": {"k": "v" * 50}}


def test_an_answer_is_of_one_moment_while_the_run_is_parsed_again(api: Api) -> None:
    """The rows are replaced between two looks of one diff; the answer does not notice."""
    before, after = api.run(OURS), api.run(OURS)
    replaced: list[str] = []

    def replace(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not replaced and "FROM stanzas" in statement:
            replaced.append(statement)
            with api.sessions.begin() as session:
                session.execute(text("DELETE FROM files WHERE run_id = :id"), {"id": after})
                add_rows(session, after, LATER)

    event.listen(api.engine, "after_cursor_execute", replace)
    try:
        first = api.ask(f"{before}/diff/{after}")
    finally:
        event.remove(api.engine, "after_cursor_execute", replace)

    assert replaced
    assert first["changes"] == []
    assert len(api.ask(f"{before}/diff/{after}")["changes"]) == 3


def test_one_stanza_of_a_large_run_is_found_by_its_name(api: Api) -> None:
    """Its name is looked up by its hash: not all stanzas of the conf type are read."""
    run_id = api.run({"apps/a/local/macros.conf": "[s7]\nk = 1\n"})
    with api.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(MANY_MORE, {"id": run_id})
        connection.execute(text("ANALYZE stanzas"))
    plans: list[str] = []

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "FROM stanzas" in statement:
            asked = connection.connection.cursor()
            asked.execute(f"EXPLAIN {statement}", parameters)
            plans.append("\n".join(line for (line,) in asked.fetchall()))

    event.listen(api.engine, "before_cursor_execute", explain)
    try:
        api.ask(f"{run_id}/why", conf="macros", stanza="s7", key="k")
    finally:
        event.remove(api.engine, "before_cursor_execute", explain)

    assert len(plans) == 2
    for plan in plans:
        assert "Seq Scan on stanzas" not in plan
        assert "hashtextextended" in plan
