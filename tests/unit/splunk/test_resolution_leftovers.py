"""Settings that do nothing, and apps that overwrite each other."""

import pytest

from backend.workloads.splunk.resolution.context import GLOBAL, Context, ContextKind
from backend.workloads.splunk.resolution.leftovers import leftovers
from backend.workloads.splunk.resolution.overlaps import overlaps
from tests.splunk_tree import installation

Files = dict[str, str]
OFF = "[install]\nstate = disabled\n"


def idle(files: Files, conf_type: str, context: Context = GLOBAL) -> list[tuple[str, ...]]:
    """Reason, file without the conf type, key, and where what holds instead is said."""

    def folder(path: str) -> str:
        return path.rpartition("/")[0]

    return [
        (
            it.reason,
            folder(it.stanza.path),
            it.key or "",
            folder(it.instead.path) if it.instead else "",
        )
        for it in leftovers(installation(files), conf_type, context)
    ]


def said(conf_type: str, **values: str) -> Files:
    """``apps__a__local="1"``: one key of one stanza in a folder."""
    return {
        f"{folder.replace('__', '/')}/{conf_type}.conf": f"[s]\nk = {value}\n"
        for folder, value in values.items()
    }


@pytest.mark.parametrize("conf_type", ["inputs", "props", "savedsearches"])
def test_a_local_value_that_is_the_default_beneath_it_repeats(conf_type: str) -> None:
    files = said(conf_type, apps__a__local="1", apps__a__default="1", system__default="2")

    assert idle(files, conf_type) == [("repeats", "apps/a/local", "k", "apps/a/default")]


@pytest.mark.parametrize(
    ("conf_type", "found"),
    [
        # Without it, what another app says in between would hold for inputs, and for indexing.
        ("inputs", [("shadowed", "apps/b/local", "k", "apps/a/local")]),
        ("props", []),
        ("savedsearches", [("repeats", "apps/a/local", "k", "apps/a/default")]),
    ],
)
def test_what_another_app_says_in_between_counts_where_it_is_read(
    conf_type: str, found: list[tuple[str, ...]]
) -> None:
    files = said(conf_type, apps__a__local="1", apps__b__local="2", apps__a__default="1")

    assert idle(files, conf_type) == found


def test_a_value_repeats_what_its_stanza_would_inherit() -> None:
    files = {"system/local/inputs.conf": "[default]\nindex = a\n[x]\nindex = a\n[y]\nindex = b\n"}

    assert idle(files, "inputs") == [("repeats", "system/local", "index", "system/local")]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (said("inputs", system__local="1", apps__a__local="2"), ["apps/a/local"]),
        (said("inputs", apps__a__default="1", apps__b__default="2"), ["apps/b/default"]),
        (said("inputs", apps__b__local="1", apps__a__default="2"), ["apps/a/default"]),
        (said("inputs", apps__a__local="1", apps__a__default="2"), []),
        (said("inputs", system__local="1", apps__a__default="2", system__default="3"), []),
        (said("savedsearches", system__local="1", apps__a__local="2"), []),
        (said("props", system__local="1", apps__a__local="2"), []),
        (said("of_some_app", system__local="1", apps__a__local="2"), []),
    ],
)
def test_shadowed_is_what_another_app_or_the_system_overrules_everywhere(
    files: Files, found: list[str]
) -> None:
    conf_type = next(iter(files)).rpartition("/")[2].removesuffix(".conf")

    shadowed = [it for it in idle(files, conf_type) if it[0] == "shadowed"]

    assert [folder for _, folder, _, _ in shadowed] == found


def test_on_a_cluster_peer_the_managers_word_shadows_the_systems_own() -> None:
    files = {
        "peer-apps/_cluster/local/indexes.conf": "[s]\nk = 1\n",
        "apps/a/local/indexes.conf": "[s]\nk = 2\n",
    }

    peer = Context(ContextKind.CLUSTER_PEER)

    assert idle(files, "indexes", peer) == [
        ("shadowed", "apps/a/local", "k", "peer-apps/_cluster/local")
    ]


def test_all_of_a_switched_off_app_and_of_users_of_a_missing_one_is_left_over() -> None:
    files = {
        **said("macros", apps__off__default="1", users__bob__gone__local="2", apps__on__local="3"),
        "users/bob/off/local/macros.conf": "[s]\n",
        "users/bob/on/local/macros.conf": "[s]\nk = 3\n",
        "apps/off/local/app.conf": OFF,
    }

    assert sorted(idle(files, "macros")) == [
        ("app-disabled", "apps/off/default", "", ""),
        ("app-disabled", "users/bob/off/local", "", ""),
        ("app-missing", "users/bob/gone/local", "", ""),
        ("repeats", "users/bob/on/local", "k", "apps/on/local"),
    ]
    assert idle(files, "app") == [], "without what switches it off it would be on"


def disagreeing(files: Files, conf_type: str = "inputs") -> list[tuple[str, str, list[str]]]:
    return [
        (it.kind, f"{it.stanza}/{it.key}", [candidate.path for candidate in it.said])
        for it in overlaps(installation(files), conf_type)
    ]


def test_deployment_apps_that_set_a_key_differently_overlap_and_the_first_one_wins() -> None:
    files = said(
        "inputs",
        **{
            "deployment-apps__b__local": "1",
            "deployment-apps__a__default": "2",
            "deployment-apps__a__local": "3",
            "deployment-apps__c__default": "1",
            "apps__d__local": "4",
        },
    )

    assert disagreeing(files) == [
        (
            "deployment_app",
            "s/k",
            [
                "deployment-apps/a/local/inputs.conf",
                "deployment-apps/b/local/inputs.conf",
                "deployment-apps/c/default/inputs.conf",
            ],
        )
    ]


def test_apps_that_agree_are_switched_off_or_speak_to_searches_do_not_overlap() -> None:
    same = {"deployment-apps__b__local": "1", "deployment-apps__a__default": "1"}
    other = {"deployment-apps__b__local": "1", "deployment-apps__a__default": "2"}
    off = {"deployment-apps/a/local/app.conf": OFF}

    assert disagreeing(said("inputs", **same)) == []
    assert disagreeing({**said("inputs", **other), **off}) == []
    assert disagreeing(said("savedsearches", **other), "savedsearches") == []
    assert disagreeing(said("app", **other), "app") == []
    assert len(disagreeing(said("inputs", **other))) == 1


def test_what_one_app_says_of_all_stanzas_does_not_overlap_with_anothers_of_one() -> None:
    files = {
        "manager-apps/a/local/indexes.conf": "[default]\nk = 1\n[s]\n",
        "manager-apps/b/local/indexes.conf": "[s]\nk = 2\n",
        "manager-apps/c/local/indexes.conf": "[default]\nk = 3\n",
    }

    assert [what for _, what, _ in disagreeing(files, "indexes")] == ["default/k"]
