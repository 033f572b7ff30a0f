"""The way of an input's events: source type, index, outputs, and what says so."""

import pytest

from backend.problems import Unsupported
from backend.workloads.splunk.matching.automaton import Work
from backend.workloads.splunk.matching.props import Event
from backend.workloads.splunk.matching.routes import CONF_TYPES, Route, route
from backend.workloads.splunk.matching.transforms import Outcome
from backend.workloads.splunk.resolution.context import GLOBAL
from tests.splunk_tree import installation

LOG = "monitor:///var/log/app.log"
SIMPLE = f"[{LOG}]\nindex = web\nsourcetype = st\n"


def routed(
    stanza: str = LOG, asked: Event | None = None, *, work: Work | None = None, **confs: str
) -> Route:
    configuration = installation({
        f"system/local/{kind}.conf": text for kind, text in {"inputs": SIMPLE, **confs}.items()
    })  # fmt: skip
    found = {kind: configuration.effective(kind, GLOBAL) for kind in CONF_TYPES}
    return route(found, stanza, asked or Event(), work or Work())


def ends(outcomes: list[Outcome]) -> list[tuple[str | None, str | None]]:
    return [(one.value, one.when) for one in outcomes]


def always(outcomes: list[Outcome]) -> list[str | None]:
    assert all(one.when is None for one in outcomes)
    return [one.value for one in outcomes]


def sent(found: Route) -> list[tuple[str, list[str]]]:
    return [(one.group, one.servers) for one in found.destinations]


def test_an_input_says_all_itself() -> None:
    found = routed(outputs="[tcpout]\ndefaultGroup = g\n[tcpout:g]\nserver = a:1, b:2\n")

    assert (found.kind, found.source.value) == ("monitor", "/var/log/app.log")
    assert (always(found.sourcetype), always(found.index)) == (["st"], ["web"])
    assert (sent(found), found.local, found.disabled) == ([("g", ["a:1", "b:2"])], False, None)
    assert [s.winner.line for one in found.index for s in one.settings] == [2]
    assert [s.key for s in found.destinations[0].routed.settings] == ["defaultGroup"]


@pytest.mark.parametrize(
    ("inputs", "indexes", "expected"),
    [
        (f"[{LOG}]\n", "", "main"),
        (f"[{LOG}]\nindex = default\n", "defaultDatabase = most\n", "most"),
        (f"[default]\nindex = web\n[{LOG}]\n", "", "web"),
        (f"[default]\nindex = web\n[monitor]\nindex = kind\n[{LOG}]\n", "", "kind"),
        (f"[monitor]\nindex = kind\n[{LOG}]\nindex = own\n", "", "own"),
    ],
)
def test_where_an_index_comes_from(inputs: str, indexes: str, expected: str) -> None:
    assert always(routed(inputs=inputs, indexes=indexes).index) == [expected]


def test_an_index_that_nobody_defines_is_told() -> None:
    assert routed().index_defined is None
    assert routed(indexes="[other]\nhomePath = x\n").index_defined == {"web": False}
    assert routed(indexes="[web]\nhomePath = x\n").index_defined == {"web": True}
    ours = routed(inputs=f"[{LOG}]\n", indexes="[web]\nhomePath = x\n")
    assert ours.index_defined == {"main": True}, "every instance has it"


@pytest.mark.parametrize(
    ("stanza", "settings", "source", "host", "sourcetype"),
    [
        (LOG, "host = h1\n", "/var/log/app.log", "h1", None),
        (LOG, "host = $decideOnStartup\n", "/var/log/app.log", None, None),
        (LOG, "host = h1\nhost_segment = 2\n", "/var/log/app.log", None, None),
        (LOG, "source = mine\n", "mine", None, None),
        ("monitor:///var/.../*.log", "", None, None, None),
        ("udp://514", "host = h1\n", "udp:514", None, "udp:514"),
        ("tcp://10.0.0.1:99", "host = h1\nconnection_host = none\n", "tcp:99", "h1", "tcp-raw"),
        ("udp://514", "sourcetype = syslog\n", "udp:514", None, "syslog"),
        ("tcp-ssl:6514", "host = h1\n", None, None, None),
        ("tcp-ssl:6514", "host = h1\nconnection_host = none\n", None, "h1", None),
        ("splunktcp://9997", "host = h1\n", None, None, None),
        ("monitor://$SPLUNK_HOME/var/log/a.log", "", None, None, None),
        ("script://./bin/x.sh", "", None, None, None),
        ("WinEventLog://Security", "", None, None, None),
    ],
)
def test_what_events_come_with(
    stanza: str, settings: str, source: str | None, host: str | None, sourcetype: str | None
) -> None:
    found = routed(stanza, inputs=f"[{stanza}]\n{settings}")

    assert (found.source.value, found.host.value) == (source, host)
    assert always(found.sourcetype) == [sourcetype]


def test_whoever_asks_may_know_the_source_and_the_host() -> None:
    props = "[source::/var/log/x/a.log]\nsourcetype = a\n[host::h]\nTRANSFORMS-x = t\n"
    folder = "monitor:///var/log/*"
    found = routed(
        folder, Event("/var/log/x/a.log", "h"), inputs=f"[{folder}]\n", props=props,
        transforms="[t]\nREGEX = .\nDEST_KEY = _MetaData:Index\nFORMAT = other\n",
    )  # fmt: skip

    assert (always(found.sourcetype), always(found.index)) == (["a"], ["other"])
    assert [s.winner.stanza for s in found.sourcetype[0].settings] == ["source::/var/log/x/a.log"]


def through(transforms: str, names: str = "TRANSFORMS-a = t", outputs: str = "") -> Route:
    return routed(props=f"[st]\n{names}\n", transforms=transforms, outputs=outputs)


TO_OTHER = "DEST_KEY = _MetaData:Index\nFORMAT = other"
BY_SOURCE = "SOURCE_KEY = MetaData:Source"


def perhaps(condition: str) -> list[tuple[str, str | None]]:
    return [("web", None), ("other", condition)]


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (f"REGEX = .\n{TO_OTHER}", [("other", None)]),
        (f"REGEX = ERROR\n{TO_OTHER}", perhaps("_raw matches ERROR")),
        (
            "REGEX = (x)\nDEST_KEY = _MetaData:Index\nFORMAT = i_$1",
            [("web", None), (None, "_raw matches (x)")],
        ),
        (f"REGEX = /app\n{BY_SOURCE}\n{TO_OTHER}", [("other", None)]),
        (f"REGEX = ^source::/app\n{BY_SOURCE}\n{TO_OTHER}", [("web", None)]),
        (
            f"REGEX = ^sourcetype::st$\nSOURCE_KEY = MetaData:Sourcetype\n{TO_OTHER}",
            [("other", None)],
        ),
        (
            f"REGEX = x\nSOURCE_KEY = MetaData:Host\n{TO_OTHER}",
            perhaps("MetaData:Host matches x"),
        ),
        (f"REGEX = ^web$\nSOURCE_KEY = _MetaData:Index\n{TO_OTHER}", [("other", None)]),
        (
            f"REGEX = (?>x)\n{BY_SOURCE}\n{TO_OTHER}",
            perhaps("MetaData:Source matches (?>x)"),
        ),
        (
            f"REGEX = x\nDEFAULT_VALUE = rest\n{TO_OTHER}",
            [("other", "_raw matches x"), ("rest", "not: _raw matches x")],
        ),
        (f"REGEX = zz\n{BY_SOURCE}\nDEFAULT_VALUE = rest\n{TO_OTHER}", [("rest", None)]),
        ("REGEX = .\nDEST_KEY = _meta\nFORMAT = x::y", [("web", None)]),
        (f"REGEX = .\nCLONE_SOURCETYPE = copy\n{TO_OTHER}", [("web", None)]),
        (f"INGEST_EVAL = index=x\nREGEX = .\n{TO_OTHER}", [("web", None)]),
        (f"STOP_PROCESSING_IF = true()\nREGEX = .\n{TO_OTHER}", [("web", None)]),
        (f"REGEX = .\nCLONE_SOURCETYPE = st\n{TO_OTHER}", [("other", None)]),
        (TO_OTHER, [("web", None)]),
        ("REGEX = .\nDEST_KEY = _MetaData:Index", [(None, None)]),
    ],
)
def test_what_a_transform_makes_of_the_index(
    transform: str, expected: list[tuple[str | None, str | None]]
) -> None:
    assert ends(through(f"[t]\n{transform}").index) == expected


def test_transforms_run_in_the_order_of_their_classes_and_rulesets_last() -> None:
    targets = "".join(
        f"[{name}]\nREGEX = .\nDEST_KEY = _MetaData:Index\nFORMAT = {name}\n" for name in "wxyz"
    )
    names = "TRANSFORMS-b = y\nRULESET-a = w\nTRANSFORMS-a = x, z\n"

    found = through(targets, names)

    assert [one.name for one in found.transforms] == ["x", "z", "y", "w"]
    assert always(found.index) == ["w"]
    assert [one.key for one in found.index[0].settings] == [
        "DEST_KEY", "FORMAT", "REGEX", "RULESET-a",
    ]  # fmt: skip


def test_what_is_not_followed_is_noted() -> None:
    transforms = (
        "[e]\nINGEST_EVAL = queue=x\n[c]\nREGEX = .\nCLONE_SOURCETYPE = copy\nDEST_KEY = queue\n"
    )

    notes = " ".join(through(transforms, "TRANSFORMS-a = gone, e, c").notes)

    assert "TRANSFORMS-a names gone" in notes
    assert "INGEST_EVAL of e" in notes
    assert "c makes a second event of source type copy" in notes


@pytest.mark.parametrize("word", ["Host", "Source"])
@pytest.mark.parametrize(("regex", "index"), [("new", "other"), ("old", "web")])
def test_a_transform_reads_what_those_before_it_wrote(word: str, regex: str, index: str) -> None:
    spec = word.lower()
    transforms = (
        f"[t]\nREGEX = .\nDEST_KEY = MetaData:{word}\nFORMAT = {spec}::new\n"
        f"[u]\nREGEX = ^{spec}::{regex}$\nSOURCE_KEY = MetaData:{word}\n{TO_OTHER}\n"
    )

    found = routed(
        asked=Event("old", "old"), props="[st]\nTRANSFORMS-a = t, u\n", transforms=transforms
    )  # fmt: skip

    assert always(found.index) == [index]


def test_a_clone_that_is_never_made_is_not_told() -> None:
    found = through(f"[t]\nREGEX = zz\n{BY_SOURCE}\nCLONE_SOURCETYPE = copy\n{TO_OTHER}\n")

    assert not [note for note in found.notes if "second event" in note]


def test_what_goes_to_the_index_queue_at_once_meets_no_transform() -> None:
    found = routed(
        inputs=f"{SIMPLE}queue = indexQueue\n", props="[st]\nTRANSFORMS-a = t\n",
        transforms=f"[t]\nREGEX = .\n{TO_OTHER}\n",
    )  # fmt: skip

    assert (always(found.index), found.transforms) == (["web"], [])


def test_what_forwarders_send_has_an_index_of_its_own() -> None:
    stanza = "splunktcp://9997"
    found = routed(stanza, inputs=f"[default]\nindex = web\n[{stanza}]\n")

    assert always(found.index) == [None]
    assert "of a forwarder" in found.notes[0]


def test_source_types_and_queues_are_rewritten_too() -> None:
    found = through(
        "[s]\nREGEX = .\nDEST_KEY = MetaData:Sourcetype\nFORMAT = sourcetype::new\n"
        "[q]\nREGEX = DEBUG\nDEST_KEY = queue\nFORMAT = nullQueue\n",
        "TRANSFORMS-a = s, q",
    )  # fmt: skip

    assert always(found.sourcetype) == ["new"]
    assert ends(found.queue) == [("indexQueue", None), ("nullQueue", "_raw matches DEBUG")]


GROUPS = "[tcpout]\ndefaultGroup = one\n[tcpout:one]\nserver = a:1\n[tcpout:two]\nserver = b:1\n"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", ["one"]),
        ("_TCP_ROUTING = two", ["two"]),
        ("_TCP_ROUTING = two, one", ["two", "one"]),
        ("_TCP_ROUTING = *", ["one", "two"]),
        ("_TCP_ROUTING = gone", ["gone"]),
        ("_TCP_ROUTING = two, two", ["two"]),
    ],
)
def test_groups(said: str, expected: list[str]) -> None:
    found = routed(inputs=f"{SIMPLE}{said}\n", outputs=GROUPS)

    assert [one.group for one in found.destinations] == expected
    assert [one.exists for one in found.destinations] == [name != "gone" for name in expected]


def test_a_transform_overrides_the_routing_of_an_input() -> None:
    found = through("[t]\nREGEX = ERROR\nDEST_KEY = _TCP_ROUTING\nFORMAT = two\n", outputs=GROUPS)

    assert [(one.group, one.routed.when) for one in found.destinations] == [
        ("one", None), ("two", "_raw matches ERROR"),
    ]  # fmt: skip


def test_groups_that_are_off_or_ill_named_or_found_otherwise() -> None:
    found = routed(
        outputs="[tcpout]\ndefaultGroup = off, a b, found\ndisabled = 1\n"
        "[tcpout:off]\nserver = a:1\n[tcpout:a b]\nserver = b:1\n"
        "[tcpout:found]\nindexerDiscovery = manager\ndisabled = 0\n"
    )  # fmt: skip

    off, ill_named, discovered = found.destinations
    assert (off.exists, off.disabled is not None) == (True, True)
    assert (ill_named.exists, ill_named.servers) == (False, [])
    assert (discovered.disabled, discovered.servers) == (None, ["manager"])
    assert discovered.addressed is not None
    assert discovered.addressed.key == "indexerDiscovery"


def test_syslog_and_local_indexing() -> None:
    found = routed(
        inputs=f"{SIMPLE}_SYSLOG_ROUTING = s\n",
        outputs=f"{GROUPS}[syslog:s]\nserver = c:514\n[indexAndForward]\nindex = true\n",
    )

    assert [(one.kind, one.group) for one in found.destinations] == [
        ("tcpout", "one"), ("syslog", "s"),
    ]  # fmt: skip
    assert found.local
    assert found.local_by is not None
    assert found.local_by.winner.stanza == "indexAndForward"
    assert routed().local
    assert routed().destinations == []


def test_default_stands_beneath_tcpout_and_in_its_place() -> None:
    groups = "[tcpout:g]\nserver = a:1\n"
    alone = routed(outputs=f"[default]\ndefaultGroup = g\n{groups}")
    beneath = routed(
        outputs=f"[default]\ndisabled = 1\n[tcpout]\ndefaultGroup = g\ndisabled = 0\n{groups}"
    )

    assert sent(alone) == [("g", ["a:1"])]
    assert [one.disabled for one in beneath.destinations] == [None]


def test_a_collector_has_a_group_of_its_own() -> None:
    inputs = "[http]\noutputgroup = two\n[http://a]\n[http://b]\n_TCP_ROUTING = one\n"

    assert sent(routed("http://a", inputs=inputs, outputs=GROUPS)) == [("two", ["b:1"])]
    assert sent(routed("http://b", inputs=inputs, outputs=GROUPS)) == [("one", ["a:1"])]


def test_events_sent_over_http() -> None:
    found = routed(outputs="[httpout]\nuri = https://a.example.test, https://b.example.test\n")

    assert [(one.kind, one.servers) for one in found.destinations] == [
        ("httpout", ["https://a.example.test", "https://b.example.test"]),
    ]  # fmt: skip
    assert not found.local


def test_groups_without_a_default_are_told_of() -> None:
    groups = "[tcpout:one]\nserver = a:1\n"

    assert "No defaultGroup" in routed(outputs=groups).notes[-1]
    assert "No defaultGroup" not in routed(outputs=f"{GROUPS}").notes[-1]


LABELLED = f"{SIMPLE}_INDEX_AND_FORWARD_ROUTING = here\n"
SELECTIVE = "[indexAndForward]\nindex = true\nselectiveIndexing = true\n"


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"),
    [
        (SIMPLE, GROUPS, (False, None)),
        (SIMPLE, "[tcpout]\nindexAndForward = true\n", (True, "indexAndForward")),
        (
            SIMPLE, "[tcpout]\nindexAndForward = true\n[indexAndForward]\nindex = false\n",
            (False, "index"),
        ),
        (
            SIMPLE, "[tcpout]\nindexAndForward = 0\n[indexAndForward]\nindex = 1\n", (True, "index")
        ),
        (SIMPLE, "[indexAndForward]\nindex = false\n", (False, "index")),
        (SIMPLE, f"{GROUPS}{SELECTIVE}", (False, "selectiveIndexing")),
        (LABELLED, f"{GROUPS}{SELECTIVE}", (True, "_INDEX_AND_FORWARD_ROUTING")),
        (LABELLED, GROUPS, (False, None)),
    ],
)  # fmt: skip
def test_what_is_indexed_on_the_instance_itself(
    inputs: str, outputs: str, expected: tuple[bool, str | None]
) -> None:
    found = routed(inputs=inputs, outputs=outputs)

    assert (found.local, found.local_by.key if found.local_by else None) == expected


def test_a_transform_may_label_what_is_indexed() -> None:
    label = "[t]\nREGEX = ERROR\nDEST_KEY = _INDEX_AND_FORWARD_ROUTING\nFORMAT = here\n"

    found = through(label, outputs=f"{GROUPS}{SELECTIVE}")

    assert found.local
    assert "selectiveIndexing" in found.notes[-1]


@pytest.mark.parametrize(("regex", "reached"), [(".", 0), ("DEBUG", 1)])
def test_what_is_dropped_reaches_no_output(regex: str, reached: int) -> None:
    found = through(f"[t]\nREGEX = {regex}\nDEST_KEY = queue\nFORMAT = nullQueue\n", outputs=GROUPS)

    assert (len(found.destinations), found.local) == (reached, False)
    assert "nullQueue" in found.notes[-1]


FILTERS = "forwardedindex.0.whitelist = .*\nforwardedindex.1.blacklist = _.*\n"


@pytest.mark.parametrize(
    ("index", "filters", "expected"),
    [
        ("web", "", True),
        ("web", FILTERS, True),
        ("_internal", FILTERS, False),
        ("my_index", FILTERS, True),
        ("_audit", f"{FILTERS}forwardedindex.2.whitelist = (_audit|_internal)\n", True),
        ("_audit", f"{FILTERS}forwardedindex.3.whitelist = _audit\n", False),
        ("_internal", f"{FILTERS}forwardedindex.filter.disable = true\n", True),
        ("web", "forwardedindex.0.whitelist = other\n", False),
        ("web", "forwardedindex.0.blacklist = other\n", True),
        ("web", "forwardedindex.0.whitelist =\n", True),
        ("web", "forwardedindex.0.whitelist = (?>web)\n", None),
        ("web", "forwardedindex.0.blacklist = web\nforwardedindex.0.whitelist = web\n", True),
    ],
)
def test_index_filters(index: str, filters: str, expected: bool | None) -> None:
    inputs = f"[{LOG}]\nindex = {index}\n"
    (found,) = routed(inputs=inputs, outputs=f"[tcpout]\n{filters}").forwarded

    assert (found.index, found.answer) == (index, expected)


def test_an_input_that_is_off_is_followed_and_named() -> None:
    found = routed(inputs=f"{SIMPLE}disabled = true\n")

    assert found.disabled is not None
    assert always(found.index) == ["web"]


def test_nothing_but_inputs_is_enough() -> None:
    found = routed(inputs=f"[{LOG}]\n")

    assert always(found.index) == ["main"]
    assert (found.local, found.destinations) == (True, [])


INDEXED = "[t]\nREGEX = x\nDEST_KEY = _MetaData:Index\nFORMAT = i\n"
TO_ALL = "[t]\nREGEX = x\nDEST_KEY = _TCP_ROUTING\nFORMAT = *\n"
MANY_GROUPS = "".join(f"[tcpout:g{n}]\nserver = a:1\n" for n in range(200))


@pytest.mark.parametrize(
    ("times", "transforms", "outputs"),
    [
        (700, INDEXED, ""),
        (700, "", ""),
        (100, TO_ALL, MANY_GROUPS),
        (1, INDEXED, f"[httpout]\nuri = {'u,' * 1000}\n"),
        (100, INDEXED.replace("x", "x" * 6_000), ""),
        (200, INDEXED, "[tcpout]\n" + "".join(f"k{n} = v\n" for n in range(2_000))),
    ],
)
def test_a_way_with_too_many_steps_has_an_end(times: int, transforms: str, outputs: str) -> None:
    named = f"[st]\nTRANSFORMS-a = {','.join(['t'] * times)}\n"
    with pytest.raises(Unsupported):
        routed(props=named, transforms=transforms, outputs=outputs, work=Work(60_000))


def test_many_transforms_are_followed() -> None:
    named = f"[st]\nTRANSFORMS-a = {','.join(['t'] * 1000)}\n"
    assert ends(routed(props=named, transforms=INDEXED).index) == [
        ("web", None), *[("i", "_raw matches x")] * 1000,
    ]  # fmt: skip
