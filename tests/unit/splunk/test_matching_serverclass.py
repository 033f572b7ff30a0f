"""Which deployment client gets which apps, and why."""

from collections.abc import Mapping
from typing import Any

import pytest

from backend.problems import Unsupported
from backend.workloads.splunk.matching.automaton import Work
from backend.workloads.splunk.matching.entries import Client
from backend.workloads.splunk.matching.serverclass import Deployment, DeploymentServer, defined
from backend.workloads.splunk.resolution.context import GLOBAL
from tests.splunk_tree import installation


def server(
    conf: str | Mapping[str, str],
    *,
    files: Mapping[str, str] | None = None,
    repository: list[str] | None = None,
    work: Work | None = None,
) -> DeploymentServer:
    tree = {"system/local/serverclass.conf": conf} if isinstance(conf, str) else conf
    configuration = installation(tree)
    return DeploymentServer(
        configuration.effective("serverclass", GLOBAL),
        defined(configuration.stanzas("serverclass")),
        repository=repository, files=files or {}, work=work or Work(),
    )  # fmt: skip


def host(name: str = "web01", *names: str, **known: Any) -> Client:
    return Client(name, (name, *names), **known)


def apps(conf: str, client: Client | None = None, **options: Any) -> tuple[list[str], list[str]]:
    """Those that the client gets, and those that it may get."""
    found = server(conf, **options).deployment(client or host())
    return found.apps(True), found.apps(None)


def reasons(deployment: Deployment) -> list[str]:
    return [r.sentence for member in deployment.memberships for r in member.verdict.reasons]


A = "[serverClass:c:app:a]\n"
Apps = tuple[list[str], list[str]]
GETS: Apps = (["a"], [])
GETS_NOT: Apps = ([], [])
PERHAPS: Apps = ([], ["a"])


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("", GETS_NOT),
        ("whitelist.0 = web*", GETS),
        ("whitelist.7 = WEB??", GETS_NOT),
        ("whitelist.7 = WEB0[0-9]", GETS),
        ("whitelist.4294967295 = web01", GETS),
        ("whitelist.0 = web", GETS_NOT),
        ("whitelist.x = web01", GETS_NOT),
        ("whitelist.0 =", GETS_NOT),
        ("whitelist.0 = web*\nblacklist.0 = *01", GETS_NOT),
        ("blacklist.0 = db*", GETS_NOT),
        ("filterType = blacklist", GETS),
        ("filterType = blacklist\nblacklist.0 = web*", GETS_NOT),
        ("filterType = blacklist\nblacklist.0 = *\nwhitelist.0 = web01", GETS),
        ("filterType = blacklist\nblacklist.0 = db*", GETS),
        ("filterType = whitelist\nwhitelist.0 = *", GETS),
        ("whitelist.0 = (?>web)01", PERHAPS),
        ("whitelist.0 = (?>web)01\nwhitelist.1 = web01", GETS),
        ("whitelist.0 = web01\nblacklist.0 = (?>web)01", PERHAPS),
        ("whitelist.0 = *\nmachineTypesFilter = linux-*", PERHAPS),
        ("whitelist.0 = *\nmachineTypesFilter =", GETS),
        ("whitelist.0 = db*\nmachineTypesFilter = linux-*", GETS_NOT),
        ("whitelist.0 = *\nupdaterRunningFilter = true", PERHAPS),
        ("whitelist.0 = *\nupdaterRunningFilter = false", GETS),
    ],
)
def test_filters(filters: str, expected: Apps) -> None:
    assert apps(f"[serverClass:c]\n{filters}\n{A}") == expected


@pytest.mark.parametrize(
    ("known", "filters", "expected"),
    [
        ({"machine_type": "linux-x86_64"}, "machineTypesFilter = windows-*, LINUX-*", GETS),
        ({"machine_type": "darwin-i386"}, "machineTypesFilter = windows-*, linux-*", GETS_NOT),
        ({"machine_type": "x"}, "machineTypesFilter = (?>x)", PERHAPS),
        ({"package_type": "universal_forwarder"}, "packageTypesFilter = universal*", GETS),
        ({"updater_running": True}, "updaterRunningFilter = 1", GETS),
        ({"updater_running": False}, "updaterRunningFilter = 1", GETS_NOT),
    ],
)
def test_what_is_known_of_a_client(known: dict[str, Any], filters: str, expected: Apps) -> None:
    conf = f"[serverClass:c]\nwhitelist.0 = *\n{filters}\n{A}"

    assert apps(conf, host(**known)) == expected


@pytest.mark.parametrize("entry", ["10.1.2.*", "*.example.test", "forwarder-7", "web01"])
def test_an_entry_is_compared_with_each_name_of_a_client(entry: str) -> None:
    client = host("web01", "forwarder-7", "10.1.2.3", "web01.example.test")

    assert apps(f"[serverClass:c]\nwhitelist.0 = {entry}\n{A}", client) == GETS


@pytest.mark.parametrize(
    ("top", "of_class", "of_app", "expected"),
    [
        ("whitelist.0 = web*", "", "", GETS),
        ("whitelist.0 = web*", "whitelist.0 = db*", "", GETS_NOT),
        ("whitelist.0 = web*", "blacklist.0 = db*", "", GETS_NOT),  # and no whitelist is left
        ("blacklist.0 = web*", "whitelist.0 = *", "", GETS),
        ("filterType = blacklist", "blacklist.0 = db*", "", GETS),
        ("whitelist.0 = *", "", "whitelist.0 = db*", GETS_NOT),
        ("whitelist.0 = *", "whitelist.0 = db*", "whitelist.0 = web*", GETS_NOT),
        ("whitelist.0 = *", "", "machineTypesFilter = linux", PERHAPS),
        ("whitelist.0 = *", "machineTypesFilter = linux", "machineTypesFilter =", PERHAPS),
        ("whitelist.0 = db*", "", "filterType = blacklist", GETS_NOT),
        ("whitelist.0 = *\ndisabled = true", "", "", GETS_NOT),
    ],
)
def test_levels(top: str, of_class: str, of_app: str, expected: Apps) -> None:
    assert apps(f"[global]\n{top}\n[serverClass:c]\n{of_class}\n{A}{of_app}\n") == expected


def test_what_a_client_is_told_of_an_app() -> None:
    conf = (
        "[global]\nrestartSplunkd = true\nstateOnClient = noop\n[serverClass:c]\nwhitelist.0 = *\n"
        + A
    )
    found = server(conf + "stateOnClient = enabled\n", repository=["b"]).deployment(host())

    (app,) = found.memberships[0].apps
    assert {key: (one.value, one.winner.line) for key, one in app.settings.items()} == {
        "stateOnClient": ("enabled", 7), "restartSplunkd": ("true", 2),
    }  # fmt: skip
    assert app.present is False


def test_a_verdict_names_the_entry_that_decides() -> None:
    conf = f"[serverClass:c]\nwhitelist.0 = w*\nblacklist.3 = *01\n{A}"
    made = server(conf)

    taken, left = made.deployment(host("web02")), made.deployment(host("web01"), explain=True)

    assert reasons(taken) == ["whitelist.0 matches"]
    assert reasons(left) == ["blacklist.3 matches"]
    setting = left.memberships[0].verdict.reasons[0].setting
    assert setting is not None
    assert (setting.winner.path, setting.winner.line) == ("system/local/serverclass.conf", 3)
    assert made.deployment(host("web01")).memberships == []
    assert reasons(made.deployment(host("db"), explain=True)) == ["no entry of a whitelist matches"]


def test_a_star_is_every_app_of_the_repository() -> None:
    conf = "[serverClass:c]\nwhitelist.0 = *\n[serverClass:c:app:*]\n"

    assert apps(conf, repository=["y", "x"]) == (["x", "y"], [])
    assert apps(conf) == (["*"], [])


def test_a_class_that_stops_ends_the_matching_in_the_order_of_definition() -> None:
    first = "[serverClass:z]\nwhitelist.0 = web*\ncontinueMatching = false\n[serverClass:z:app:a]\n"
    then = "[serverClass:b]\nwhitelist.0 = *\n[serverClass:b:app:late]\n"

    assert apps(first + then) == (["a"], [])
    assert apps(then + first) == (["a", "late"], [])
    assert apps(first + then, host("db")) == (["late"], [])
    undecided = first.replace("continueMatching", "machineTypesFilter = x\ncontinueMatching")
    assert apps(undecided + then) == ([], ["a", "late"])


def test_an_app_of_two_classes_is_certain_where_one_of_them_is() -> None:
    conf = (
        "[serverClass:1]\nwhitelist.0 = (?>x)\n[serverClass:1:app:a]\n"
        "[serverClass:2]\nwhitelist.0 = *\n[serverClass:2:app:a]\n"
    )

    assert apps(conf) == GETS


FILE = "[serverClass:c]\nwhitelist.from_pathname = etc/hosts.csv\n"


@pytest.mark.parametrize(
    ("selection", "content", "expected"),
    [
        ("", "db01\n\n web01 \n", GETS),
        ("", "db01\n", GETS_NOT),
        ("whitelist.select_field = name\n", "id,name\n1,web*\n", GETS),
        ("whitelist.select_field = 2\n", "1,web01\n", GETS),
        ("whitelist.select_field = 3\n", "1,web01\n", GETS_NOT),
        ("whitelist.select_field = nope\n", "id,name\n1,web01\n", PERHAPS),
        (
            (
                "whitelist.select_field = name\nwhitelist.where_field = role\n"
                "whitelist.where_equals = db, WEB*\n"
            ),
            "name,role\nweb01,web-server\n",
            GETS,
        ),
        (
            (
                "whitelist.select_field = name\nwhitelist.where_field = role\n"
                "whitelist.where_equals = db\n"
            ),
            "name,role\nweb01,web-server\n",
            GETS_NOT,
        ),
        ("whitelist.select_field = 1\nwhitelist.where_field = role\n", "web01,x\n", PERHAPS),
    ],
)
def test_a_list_in_a_file(selection: str, content: str, expected: Apps) -> None:
    assert apps(f"{FILE}{selection}{A}", files={"etc/hosts.csv": content}) == expected


def test_a_file_that_nobody_has_given_leaves_it_open() -> None:
    assert apps(FILE + A) == PERHAPS
    assert apps(f"{FILE}whitelist.0 = web01\n{A}") == GETS
    assert apps(f"[global]\nwhitelist.0 = *\n{FILE}{A}") == PERHAPS


def test_classes_may_stand_in_several_folders() -> None:
    made = server({
        "apps/ds/default/serverclass.conf": "[serverClass:c]\nwhitelist.0 = db*\n" + A,
        "apps/ds/local/serverclass.conf": "[serverClass:c]\nwhitelist.0 = web*\n",
    })  # fmt: skip

    assert made.deployment(host()).apps(True) == ["a"]


def test_an_endless_configuration_has_an_end() -> None:
    conf = "".join(
        f"[serverClass:{n}]\nwhitelist.0 = *\n[serverClass:{n}:app:a]\n" for n in range(99)
    )
    made = server(conf, work=Work(20_000))

    with pytest.raises(Unsupported):
        [made.deployment(host(f"h{number}")) for number in range(500)]


def test_one_class_may_have_any_number_of_apps() -> None:
    conf = "".join(f"[serverClass:c:app:{n}]\n" for n in range(3000))
    top = "".join(f"note{n} = x\n" for n in range(300))
    made = server(f"[global]\nwhitelist.0 = *\nstateOnClient = noop\n{top}{conf}")

    (one,) = made.classes
    assert len(one.apps) == 3000
    # What is never asked for is not inherited: else memory is the product of both numbers.
    assert {key for app in one.apps for key in app.settings} == {"stateOnClient"}


def test_lists_that_were_cleared_take_time_too() -> None:
    top = "".join(f"whitelist.{n} =\n" for n in range(2000))
    conf = "".join(f"[serverClass:{n}]\n" for n in range(100))

    with pytest.raises(Unsupported):
        server(f"[global]\n{top}{conf}", work=Work(20_000))
