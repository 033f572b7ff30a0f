"""Which settings of ``props.conf`` apply to an event, and by which stanzas."""

import pytest

from backend.workloads.splunk.matching.automaton import Work
from backend.workloads.splunk.matching.props import Applied, Event, Match, Spec, apply
from backend.workloads.splunk.resolution.context import GLOBAL
from tests.splunk_tree import installation


def applied(props: str, **event: str) -> Applied:
    return asked(props, Event(**event), Work())


def asked(props: str, event: Event, work: Work) -> Applied:
    configuration = installation({"system/local/props.conf": props})
    return apply(configuration.effective("props", GLOBAL), event, work)


def values(found: Applied) -> dict[str, str]:
    return {key: setting.value for key, setting in found.settings.items()}


def test_source_beats_host_beats_sourcetype_beats_default_key_by_key() -> None:
    found = applied(
        "[default]\na = d\nb = d\nc = d\ne = d\n[st]\na = t\nb = t\nc = t\n"
        "[host::h]\na = h\nb = h\n[source::/x]\na = s\n",
        source="/x", host="h", sourcetype="st",
    )  # fmt: skip

    assert values(found) == {"a": "s", "b": "h", "c": "t", "e": "d"}
    said = found.settings["a"].candidates
    assert [(one.value, one.stanza, one.line) for one in said] == [
        ("s", "source::/x", 14), ("h", "host::h", 11), ("t", "st", 7), ("d", "default", 2),
    ]  # fmt: skip


def test_a_priority_does_not_reach_across_kinds() -> None:
    found = applied(
        "[host::h]\nk = h\npriority = 9000\n[source::/x]\nk = s\n", source="/x", host="h"
    )

    assert values(found)["k"] == "s"
    assert [(one.spec, one.priority) for one in found.matches] == [("source", 100), ("host", 9000)]


@pytest.mark.parametrize(
    ("one", "other", "winner"),
    [
        ("source::...b...", "source::...a...", "source::...a..."),
        ("source::...b...\npriority = 1", "source::...a...", "source::...b..."),
        ("source::/ab", "source::...a...", "source::/ab"),
        ("source::/ab", "source::...a...\npriority = 100", "source::/ab"),
        ("source::/ab", "source::...a...\npriority = 101", "source::...a..."),
        ("source::/ab\npriority = -1", "source::...a...", "source::...a..."),
        ("source::...b...\npriority = much", "source::...a...", "source::...a..."),
        ("source::...B...", "source::...ab", "source::...ab"),
    ],
)
def test_stanzas_of_one_kind_collide(one: str, other: str, winner: str) -> None:
    stanzas = ""
    for header in (one, other):
        name, _, rest = header.partition("\n")
        stanzas += f"[{name}]\nwho = {name}\n{rest}\n"

    assert values(applied(stanzas, source="/ab"))["who"] == winner


def test_colliding_patterns_all_give_what_only_they_say() -> None:
    found = applied("[source::...a]\nx = 1\nz = 1\n[source::/*]\ny = 2\nz = 2\n", source="/a")

    assert values(found) == {"x": "1", "y": "2", "z": "1"}


def test_a_folder_stands_over_another_within_one_stanza_only() -> None:
    configuration = installation({
        "system/local/props.conf": "[st]\nk = strongest folder\n",
        "apps/a/default/props.conf": "[source::/x]\nk = stronger stanza\n",
    })  # fmt: skip
    props = configuration.effective("props", GLOBAL)

    found = apply(props, Event(source="/x", sourcetype="st"), Work())

    assert values(found) == {"k": "stronger stanza"}
    assert found.settings["k"].winner.path == "apps/a/default/props.conf"


def test_what_a_stanza_inherits_from_default_does_not_hide_weaker_stanzas() -> None:
    found = applied(
        "[default]\nTZ = UTC\n[st]\nTZ = CET\n[source::/x]\nk = 1\n", source="/x", sourcetype="st"
    )

    assert values(found) == {"TZ": "CET", "k": "1"}


@pytest.mark.parametrize(
    ("stanza", "event", "applies"),
    [
        ("host::Web", {"host": "WEB"}, True),
        ("host::(?-i)Web", {"host": "WEB"}, False),
        ("host::web", {"host": "web01"}, False),
        ("host::web", {"source": "web"}, False),
        ("St", {"sourcetype": "st"}, False),
        ("st*", {"sourcetype": "stx"}, False),
        ("(?::){0}st*", {"sourcetype": "stx"}, True),
        ("(?::){0}st*", {"sourcetype": "xst"}, False),
        ("source::C:\\\\a\\\\b.txt", {"source": "C:\\a\\b.txt"}, True),
        ("source::C:\\a\\b.txt", {"source": "C:\\a\\b.txt"}, False),
        ("source::/a(1).log", {"source": "/a(1).log"}, True),
        ("source::udp:514", {"source": "udp:514"}, True),
        ("index::main", {"sourcetype": "main"}, False),
        ("default", {"sourcetype": "default"}, True),
        ("sourcetype::st", {"sourcetype": "st"}, False),
    ],
)
def test_what_matches(stanza: str, event: dict[str, str], applies: bool) -> None:
    assert bool(applied(f"[{stanza}]\nk = 1\n", **event).settings) is applies


def test_a_stanza_tells_how_it_matched() -> None:
    found = applied(
        "[source::/a]\nk=1\n[source::/*]\nk=2\npriority=7\n[st]\nk=3\n",
        source="/a",
        sourcetype="st",
    )

    assert found.matches == [
        Match("source::/a", Spec.SOURCE, literal=True, priority=100),
        Match("source::/*", Spec.SOURCE, literal=False, priority=7),
        Match("st", Spec.SOURCETYPE, literal=True, priority=100),
    ]


def test_a_source_assigns_the_source_type_of_an_event_that_has_none() -> None:
    props = "[source::/v/...]\nsourcetype = st\n[st]\nTZ = CET\n[other]\nTZ = PST\n"

    assigned, given = (
        applied(props, source="/v/x"),
        applied(props, source="/v/x", sourcetype="other"),
    )

    assert (assigned.sourcetype, values(assigned)["TZ"]) == ("st", "CET")
    assert assigned.assigned is not None
    assert assigned.assigned.winner.stanza == "source::/v/..."
    assert (given.sourcetype, given.assigned, values(given)["TZ"]) == ("other", None, "PST")


def test_an_empty_word_on_the_source_type_clears_weaker_ones() -> None:
    found = applied(
        "[source::/v/x]\nsourcetype =\n[source::/v/...]\nsourcetype = st\n", source="/v/x"
    )

    assert (found.sourcetype, found.assigned) == (None, None)


def test_a_search_sees_a_renamed_source_type_under_its_new_name() -> None:
    props = "[old]\nrename = new\nEXTRACT-a = old\n[new]\nEXTRACT-a = new\n"
    configuration = installation({"system/local/props.conf": props}).effective("props", GLOBAL)

    at_index_time, in_a_search = (
        apply(configuration, Event(sourcetype="old"), Work(), searching=searching)
        for searching in (False, True)
    )

    assert values(at_index_time) == {"rename": "new", "EXTRACT-a": "old"}
    assert (in_a_search.sourcetype, values(in_a_search)) == ("new", {"EXTRACT-a": "new"})
    assert in_a_search.renamed is not None
    assert at_index_time.renamed is None


def test_what_cannot_be_decided_is_named_and_left_out() -> None:
    found = applied(
        "[source::/(x]\nk = 1\n[rule::r]\nMORE_THAN_10 = x\n[delayedrule::d]\nk = 1\n"
        "[source::/(?>b)]\nk = 1\n",
        source="/x",
    )  # fmt: skip

    assert values(found) == {}
    assert {one.stanza for one in found.not_read} == {
        "source::/(x", "rule::r", "delayedrule::d", "source::/(?>b)",
    }  # fmt: skip


def test_an_empty_value_clears_what_weaker_stanzas_say() -> None:
    found = applied(
        "[st]\nTRANSFORMS-x = t\n[source::/x]\nTRANSFORMS-x =\n", source="/x", sourcetype="st"
    )

    assert values(found) == {"TRANSFORMS-x": ""}


def test_many_patterns_of_which_few_hold_the_parts_of_a_name_cost_little() -> None:
    stanzas = "".join(f"[source::.../svc-{n}/*.log]\nk = {n}\n" for n in range(500))

    found = asked(stanzas, Event("/opt/svc-77/x.log"), Work(5000))

    assert values(found) == {"k": "77"}
