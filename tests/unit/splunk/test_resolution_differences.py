"""What changed in effect between two installations."""

from backend.workloads.splunk.resolution.context import GLOBAL, Context, ContextKind
from backend.workloads.splunk.resolution.differences import (
    StanzaChange,
    differences,
    differences_by_app,
)
from tests.splunk_tree import installation

Files = dict[str, str]
Told = tuple[str, str, dict[str, tuple[str | None, str | None]]]


def told(changes: list[StanzaChange]) -> list[Told]:
    return [
        (
            it.stanza,
            it.change,
            {
                key.key: (
                    key.before.value if key.before else None,
                    key.after.value if key.after else None,
                )
                for key in it.keys
            },
        )
        for it in changes
    ]


def compared(before: Files, after: Files, context: Context = GLOBAL) -> list[StanzaChange]:
    return list(differences(installation(before), installation(after), "inputs", context))


def test_a_setting_that_moves_to_another_file_changes_nothing() -> None:
    before = {"system/local/inputs.conf": "[x]\nindex = a\n[y]\n"}
    after = {
        "apps/a/default/inputs.conf": "# all new\n[x]\nindex=a\n",
        "system/default/inputs.conf": "[y]\n[x]\nindex = loses\n",
    }

    assert compared(before, after) == []


def test_keys_and_stanzas_come_go_and_change() -> None:
    before = {"system/local/inputs.conf": "[a]\n[b]\nk = 1\ngone = 1\n[c]\nk = 1\n"}
    after = {"system/local/inputs.conf": "[b]\nk = 2\nnew =\n[c]\nk = 1\n[d]\n[e]\nk = 1\n"}

    assert told(compared(before, after)) == [
        ("a", "removed", {}),
        ("b", "changed", {"gone": ("1", None), "k": ("1", "2"), "new": (None, "")}),
        ("d", "added", {}),
        ("e", "added", {"k": (None, "1")}),
    ]


def test_what_comes_to_light_beneath_a_removed_setting_is_told() -> None:
    defaults = {"system/default/inputs.conf": "[x]\nindex = main\n"}
    before = {**defaults, "apps/a/local/inputs.conf": "[x]\nindex = web\n"}

    assert told(compared(before, defaults)) == [("x", "changed", {"index": ("web", "main")})]


def test_an_app_that_is_switched_off_takes_its_settings_along() -> None:
    before = {"apps/a/local/inputs.conf": "[x]\nindex = web\n"}
    after = {**before, "apps/a/local/app.conf": "[install]\nstate = disabled\n"}

    assert told(compared(before, after)) == [("x", "removed", {"index": ("web", None)})]


def test_a_new_default_is_told_once_with_how_many_inherit_it() -> None:
    stanzas = "[x]\n[y]\nhost = own\n[z]\nk = 1\n"
    before = {"system/local/inputs.conf": f"[default]\nhost = h0\n{stanzas}"}
    after = {"system/local/inputs.conf": f"[default]\nhost = h1\n{stanzas}[new]\n"}

    changes = compared(before, after)

    assert told(changes) == [("default", "changed", {"host": ("h0", "h1")}), ("new", "added", {})]
    assert [it.inherited_by for it in changes] == [2, 0]


def test_a_stanza_that_falls_back_on_the_default_changes() -> None:
    before = {"system/local/inputs.conf": "[default]\nhost = h0\n[x]\nhost = own\n"}
    after = {"system/local/inputs.conf": "[default]\nhost = h0\n[x]\n"}

    assert told(compared(before, after)) == [("x", "changed", {"host": ("own", "h0")})]


def test_deployment_apps_are_compared_each_by_itself() -> None:
    before = {
        "deployment-apps/a/local/inputs.conf": "[x]\nk = 1\n",
        "deployment-apps/b/local/inputs.conf": "[x]\nk = 1\n",
        "deployment-apps/c/local/inputs.conf": "[x]\nk = 1\n",
        "apps/a/local/inputs.conf": "[x]\nk = 1\n",
    }
    after = {
        "deployment-apps/a/local/inputs.conf": "[x]\nk = 1\n",
        "deployment-apps/b/local/inputs.conf": "[x]\nk = 2\n",
        "deployment-apps/c/local/inputs.conf": "[x]\nk = 1\n",
        "deployment-apps/c/default/app.conf": "[install]\nstate = disabled\n",
        "apps/a/local/inputs.conf": "[x]\nk = other\n",
    }
    kind = ContextKind.DEPLOYMENT_APP

    changes = list(differences_by_app(installation(before), installation(after), "inputs", kind))

    assert [it.context for it in changes] == [Context(kind, "b"), Context(kind, "c")]
    assert told(changes) == [
        ("x", "changed", {"k": ("1", "2")}),
        ("x", "removed", {"k": ("1", None)}),
    ]
    assert compared(before, after, Context(kind, "a")) == []
