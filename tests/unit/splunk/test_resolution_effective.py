"""What holds in each context: order of folders, ``[default]``, switched-off apps, exports."""

import pytest

from backend.problems import TooLarge
from backend.workloads.splunk.resolution.context import GLOBAL, Context, ContextKind
from backend.workloads.splunk.resolution.effective import Candidate, Configuration
from tests.splunk_tree import installation, place_of

PEER = Context(ContextKind.CLUSTER_PEER)
EXPORTED = "[]\nexport = system\n"
OFF = "[install]\nstate = disabled\n"


def in_app(app: str, user: str | None = None) -> Context:
    return Context(ContextKind.APP_USER, app, user)


def values(
    configuration: Configuration, conf_type: str, context: Context = GLOBAL
) -> dict[str, dict[str, str]]:
    return {
        name: {key: resolved.value for key, resolved in settings.items()}
        for name, settings in configuration.effective(conf_type, context).items()
    }


def order_of(paths: list[str], context: Context, conf_type: str = "server") -> list[str]:
    """The folders that set one key, the strongest first."""
    files = {f"{path}/{conf_type}.conf": f"[s]\nk = {path}\n" for path in paths}
    metadata = {
        f"apps/{path.split('/')[1]}/metadata/local.meta": EXPORTED
        for path in paths
        if path.startswith("apps/")
    }
    resolved = installation({**files, **metadata}).why(conf_type, "s", "k", context)
    return [] if resolved is None else [said.value for said in resolved.candidates]


FOLDERS = [
    "apps/a/default", "apps/B/default", "system/default", "apps/a/local", "system/local",
    "apps/B/local", "peer-apps/_cluster/local", "peer-apps/_cluster/default",
    "deployment-apps/D/local", "manager-apps/M/default", "users/bob/a/local",
]  # fmt: skip


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (
            GLOBAL,
            "system/local apps/B/local apps/a/local apps/B/default apps/a/default system/default",
        ),
        (
            PEER,
            (
                "peer-apps/_cluster/local system/local apps/B/local apps/a/local"
                " peer-apps/_cluster/default apps/B/default apps/a/default system/default"
            ),
        ),
        (
            in_app("B"),
            "apps/B/local apps/B/default apps/a/local apps/a/default system/local system/default",
        ),
        (
            in_app("a", "bob"),
            (
                "users/bob/a/local apps/a/local apps/a/default apps/B/local apps/B/default"
                " system/local system/default"
            ),
        ),
        (Context(ContextKind.DEPLOYMENT_APP, "D"), "deployment-apps/D/local"),
        (Context(ContextKind.DEPLOYMENT_APP, "E"), ""),
        (Context(ContextKind.MANAGER_APP), "manager-apps/M/default"),
    ],
)
def test_each_context_reads_its_folders_in_its_order(context: Context, expected: str) -> None:
    assert order_of(FOLDERS, context) == expected.split()


def test_apps_are_ordered_by_ascii_and_in_reverse_for_another_apps_user() -> None:
    apps = ["apps/10/local", "apps/9/local", "apps/Z/local", "apps/_/local", "apps/a/local"]

    assert order_of(apps[::-1], GLOBAL) == apps
    assert order_of([*apps, "apps/A/local", "apps/AB/local"], in_app("search")) == [
        "apps/a/local", "apps/_/local", "apps/Z/local", "apps/AB/local", "apps/A/local",
        "apps/9/local", "apps/10/local",
    ]  # fmt: skip


def test_of_another_users_settings_and_of_those_for_another_app_nothing_is_read() -> None:
    folders = ["users/eve/search/local", "users/bob/other/local", "apps/search/local"]

    assert order_of(folders, in_app("search", "bob")) == ["apps/search/local"]
    assert order_of(folders, in_app("search")) == ["apps/search/local"]


def test_winner_and_losers_say_file_line_and_value() -> None:
    configuration = installation(
        {
            "system/default/inputs.conf": "[default]\nindex = default\n\n[s]\nindex = main\n",
            "apps/web/local/inputs.conf": "# ours\n[s]\n\nindex = web\n",
        }
    )

    resolved = configuration.effective("inputs", GLOBAL)["s"]["index"]

    low = "system/default/inputs.conf"
    assert resolved.winner == Candidate(
        "web", "apps/web/local/inputs.conf", 4, "s", place_of("apps/web/local/x")
    )
    assert resolved.losers == [
        Candidate("main", low, 5, "s", place_of(low)),
        Candidate("default", low, 2, "default", place_of(low)),
    ]
    assert configuration.why("inputs", "s", "index", GLOBAL) == resolved


def test_a_stanza_inherits_from_default_whatever_its_own_folder() -> None:
    configuration = installation(
        {
            "system/local/inputs.conf": "host = h1\n",
            "system/default/inputs.conf": "host = h0\nindex = main\n[x]\nhost = own\n[y]\n",
        }
    )

    assert values(configuration, "inputs") == {
        "default": {"host": "h1", "index": "main"},
        "x": {"host": "own", "index": "main"},
        "y": {"host": "h1", "index": "main"},
    }


def test_an_empty_value_clears_what_is_beneath_it() -> None:
    configuration = installation(
        {
            "apps/a/local/outputs.conf": "[tcpout]\nwhitelist =\n",
            "system/default/outputs.conf": "[default]\nwhitelist = d\n[tcpout]\nwhitelist = .*\n",
        }
    )

    assert values(configuration, "outputs")["tcpout"] == {"whitelist": ""}


def test_stanzas_are_merged_key_by_key_and_listed_in_ascii_order() -> None:
    configuration = installation(
        {
            "system/local/props.conf": "[b]\nx = 1\n[B]\nx = 2\n",
            "apps/a/default/props.conf": "[b]\ny = 3\n[A]\n",
        }
    )

    assert list(configuration.effective("props", GLOBAL)) == ["A", "B", "b"]
    assert values(configuration, "props")["b"] == {"x": "1", "y": "3"}


@pytest.mark.parametrize(
    ("files", "on"),
    [
        ({"default": OFF}, False),
        ({"default": "[install]\nstate = Disabled \n"}, False),
        ({"default": OFF, "local": "[install]\nstate = enabled\n"}, True),
        ({"default": "[install]\nstate = enabled\n", "local": OFF}, False),
        ({"default": "[default]\nstate = disabled\n"}, False),
        ({"default": "[default]\nstate = disabled\n[install]\nstate = enabled\n"}, True),
        ({"default": "[install]\nstate =\n"}, True),
        ({"default": "[ui]\nstate = disabled\n"}, True),
    ],
)
def test_an_app_is_off_when_its_own_app_conf_resolves_to_that(
    files: dict[str, str], on: bool
) -> None:
    configuration = installation(
        {
            "apps/F/default/server.conf": "[s]\nk = app\n",
            "users/bob/F/local/server.conf": "[s]\nk = bob\n",
            "apps/G/default/app.conf": "[install]\nstate = enabled\n",
            "system/default/server.conf": "[s]\nk = system\n",
            **{f"apps/F/{scope}/app.conf": text for scope, text in files.items()},
        }
    )

    assert values(configuration, "server")["s"]["k"] == ("app" if on else "system")
    assert values(configuration, "server", in_app("F", "bob"))["s"]["k"] == (
        "bob" if on else "system"
    )


def test_a_switched_off_deployment_app_is_another_than_the_app_of_its_name() -> None:
    configuration = installation(
        {
            "deployment-apps/F/local/app.conf": OFF,
            "deployment-apps/F/local/server.conf": "[s]\nk = deployed\n",
            "apps/F/local/server.conf": "[s]\nk = here\n",
        }
    )

    assert values(configuration, "server") == {"s": {"k": "here"}}
    assert values(configuration, "server", Context(ContextKind.DEPLOYMENT_APP, "F")) == {}


@pytest.mark.parametrize(
    ("metadata", "seen"),
    [
        ({}, {}),
        ({"default": "[]\nexport = none\n"}, {}),
        ({"default": "[]\nexport = system\n"}, {"a": "1", "b": "2"}),
        ({"default": "[]\naccess = read : [ * ]\n"}, {}),
        ({"default": EXPORTED, "local": "[]\nexport = none\n"}, {}),
        ({"local": EXPORTED, "default": "[]\nexport = none\n"}, {"a": "1", "b": "2"}),
        ({"default": "[props]\nexport = system\n"}, {"a": "1", "b": "2"}),
        ({"default": "[macros]\nexport = system\n"}, {}),
        ({"default": f"{EXPORTED}[props]\nexport = none\n"}, {}),
        ({"default": f"{EXPORTED}[props/s%2F1]\nexport = none\n"}, {}),
        ({"default": "[props]\nexport=none\n[props/s%2F1]\nexport=system\n"}, {"a": "1", "b": "2"}),
        ({"default": "[props/s/1]\nexport = system\n"}, {"a": "1", "b": "2"}),
        ({"default": "[props/s%2F1/b]\nexport = system\n"}, {"b": "2"}),
        ({"default": f"{EXPORTED}[props/s%2F1/b]\nexport = none\n"}, {"a": "1"}),
    ],
)  # fmt: skip
def test_other_apps_see_what_an_app_exports(metadata: dict[str, str], seen: dict[str, str]) -> None:
    configuration = installation(
        {
            "apps/other/local/props.conf": "[s/1]\na = 1\nb = 2\n",
            **{f"apps/other/metadata/{name}.meta": text for name, text in metadata.items()},
        }
    )

    found = values(configuration, "props", in_app("search"))

    assert found == ({"s/1": seen} if seen else {})
    assert values(configuration, "props", in_app("other")) == {"s/1": {"a": "1", "b": "2"}}
    assert values(configuration, "props") == {"s/1": {"a": "1", "b": "2"}}


def test_why_of_what_nobody_says_is_nothing() -> None:
    configuration = installation({"system/local/inputs.conf": "[default]\nhost = h\n[x]\n"})

    assert configuration.why("inputs", "x", "index", GLOBAL) is None
    assert configuration.why("inputs", "gone", "host", GLOBAL) is None
    inherited = configuration.why("inputs", "x", "host", GLOBAL)
    assert inherited is not None
    assert inherited.winner.stanza == "default"


def test_what_is_said_where_nobody_looks_is_told_with_its_reason() -> None:
    configuration = installation(
        {
            "apps/off/local/app.conf": OFF,
            "apps/off/local/props.conf": "[s]\nk = off\n",
            "apps/other/local/props.conf": "[s]\nk = private\n",
            "apps/search/local/props.conf": "[s]\nk = seen\n[t]\nk = else\n",
        }
    )

    def ignored(context: Context) -> list[tuple[str, str]]:
        return [(why, it.value) for why, it in configuration.ignored("props", "s", "k", context)]

    assert ignored(GLOBAL) == [("app-disabled", "off")]
    assert ignored(in_app("search")) == [("app-disabled", "off"), ("not-exported", "private")]


def test_a_long_default_over_many_stanzas_is_refused_before_it_fills_the_memory() -> None:
    default = "".join(f"k{n} = v\n" for n in range(2001))
    stanzas = "".join(f"[{n}]\n" for n in range(2000))
    made = installation({
        "system/local/props.conf": f"[default]\n{default}{stanzas}",
        "system/local/inputs.conf": f"[default]\n{default}[monitor:///a]\n",
    })  # fmt: skip

    with pytest.raises(TooLarge, match=r"2001 stanzas of props\.conf inherit 2001 settings"):
        made.effective("props", GLOBAL)
    assert len(made.effective("inputs", GLOBAL)["monitor:///a"]) == 2001
