"""The way of an input's events: source type, index, and the outputs that they reach.

Source: inputs.conf.spec ("General settings", ``_TCP_ROUTING``), and what the modules of the single
steps name. A transform that runs on a heavy forwarder does not run again on the indexer, and none
runs on a universal forwarder: which of them this configuration is for, its reader knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from backend.workloads.splunk.conf.stanza import DEFAULT
from backend.workloads.splunk.matching import outputs as sending
from backend.workloads.splunk.matching.automaton import Work
from backend.workloads.splunk.matching.outputs import Destination, Forwarded
from backend.workloads.splunk.matching.props import Applied, Event, apply, own
from backend.workloads.splunk.matching.transforms import (
    HOST,
    INDEX,
    LABEL,
    QUEUE,
    SOURCE,
    SOURCETYPE,
    SYSLOG,
    TCP,
    Outcome,
    Pipeline,
    Transform,
)
from backend.workloads.splunk.projections import flag
from backend.workloads.splunk.resolution.effective import Resolved, Settings

CONF_TYPES: Final = ("inputs", "props", "transforms", "indexes", "outputs")
FILES: Final = frozenset({"monitor", "batch"})
PORTS: Final = frozenset({"tcp", "udp"})
FORWARDERS: Final = frozenset({"splunktcp", "splunktcp-ssl"})
SENDERS: Final = frozenset({*PORTS, *FORWARDERS, "tcp-ssl"})
"""Inputs whose events have the host that sent them, unless ``connection_host`` is ``none``."""

COLLECTOR: Final = "http"
RAW_TCP: Final = "tcp-raw"
FROM_PATH: Final = ("host_regex", "host_segment")
MAIN: Final = "main"
SHIPPED: Final = frozenset({
    MAIN, "history", "summary", "splunklogger", "_audit", "_configtracker", "_internal",
    "_introspection", "_metrics", "_metrics_rollup", "_telemetry", "_thefishbucket",
})  # fmt: skip
"""Every instance has them by its ``system/default``, which an upload may leave out."""
INDEX_QUEUE: Final = "indexQueue"
NULL_QUEUE: Final = "nullQueue"

NO_SOURCE: Final = "What source its events have is not known: [source::…] stanzas are left out."
MANY_FILES: Final = (
    "Its path has a wildcard or a variable: name one of its files as source to have"
    " [source::…] stanzas applied."
)
OWN_WORDS: Final = {
    COLLECTOR: "Each event may name a source, host, source type and index of its own.",
    **dict.fromkeys(
        FORWARDERS, "Its events come with the source, host, source type and index of a forwarder."
    ),
}
"""Of the events of such inputs, whatever the input says."""

Confs = Mapping[str, Mapping[str, Settings]]
"""Conf type → stanza → settings: the effective configuration."""


@dataclass(frozen=True, slots=True)
class Route:
    """All that becomes of what one input reads.

    Attributes:
        kind: of input: ``monitor``, ``udp``, …
        disabled: the setting that switches the input off, where one does.
        index_defined: whether ``indexes.conf`` has each index; None where it has none at all.
        local: whether events are indexed on the instance itself.
        local_by: the setting that says so, where one does.
    """

    stanza: str
    kind: str
    disabled: Resolved | None
    source: Outcome
    host: Outcome
    sourcetype: list[Outcome]
    index: list[Outcome]
    index_defined: dict[str, bool] | None
    queue: list[Outcome]
    destinations: list[Destination]
    forwarded: list[Forwarded]
    local: bool
    local_by: Resolved | None
    transforms: list[Transform]
    applied: Applied
    notes: list[str]


def route(confs: Confs, stanza: str, asked: Event, work: Work) -> Route:
    """Follow what the input ``stanza`` reads.

    Args:
        confs: of all :data:`CONF_TYPES` that there are.
        stanza: one of ``inputs``.
        asked: what the caller knows better than the input: one of the files that it reads, the
            host that it runs on.

    Raises:
        KeyError: there is no such input.
        Unsupported: code ``too-complex``.
    """
    settings = _input(confs["inputs"], stanza)
    kind, _, target = stanza.partition(":")
    notes = [OWN_WORDS[kind]] if kind in OWN_WORDS else []
    source = _source(settings, kind, target.removeprefix("//"), asked.source, notes)
    host = _host(settings, kind, asked.host)
    stated = _sourcetype(settings, kind, source)
    event = Event(source.value, host.value, stated.value)
    applied = apply(confs.get("props", {}), event, work)
    if applied.assigned is not None:
        stated = Outcome(applied.sourcetype, None, (applied.assigned,))
    keys = _entering(confs, settings, kind, stated) | {SOURCE: [source], HOST: [host]}
    pipeline = Pipeline(keys, notes=notes)
    if _said(settings, QUEUE).value == INDEX_QUEUE:
        notes.append("Its events go to the indexQueue at once: no transform is applied.")
    else:
        pipeline.run(applied.settings, confs.get("transforms", {}), work)
    return _ended(confs, stanza, kind, settings, (source, host), pipeline, applied, work)


def _ended(
    confs: Confs,
    stanza: str,
    kind: str,
    settings: Settings,
    origin: tuple[Outcome, Outcome],
    pipeline: Pipeline,
    applied: Applied,
    work: Work,
) -> Route:
    outputs, keys = confs.get("outputs", {}), pipeline.keys
    reached, local, local_by = _sent(outputs, keys, pipeline.notes, work)
    off = settings.get("disabled")
    return Route(
        stanza=stanza,
        kind=kind,
        disabled=off if off is not None and flag(off.value) else None,
        source=origin[0],
        host=origin[1],
        sourcetype=keys[SOURCETYPE],
        index=keys[INDEX],
        index_defined=_defined(confs.get("indexes", {}), keys[INDEX]),
        queue=keys[QUEUE],
        destinations=reached,
        forwarded=[sending.forwarded(outputs, one.value, work) for one in keys[INDEX]],
        local=local,
        local_by=local_by,
        transforms=pipeline.transforms,
        applied=applied,
        notes=pipeline.notes,
    )


def _sent(
    outputs: Mapping[str, Settings], keys: Mapping[str, list[Outcome]], notes: list[str], work: Work
) -> tuple[list[Destination], bool, Resolved | None]:
    """Where events go, whether they are indexed on the instance itself, and what says that."""
    dropped = [one.value == NULL_QUEUE for one in keys[QUEUE]]
    if all(dropped):
        notes.append("All its events are dropped: their queue is nullQueue.")
        return [], False, keys[QUEUE][-1].settings[0]
    if any(dropped):
        notes.append("Events whose queue is nullQueue are dropped: they reach no output.")
    reached = [
        *sending.destinations(outputs, sending.TCPOUT, keys[TCP], work),
        *sending.over_http(outputs, work),
    ]
    groups = sending.groups(outputs, sending.TCPOUT)
    if groups and not keys[TCP]:
        notes.append("No defaultGroup: it is not documented whether all groups get its events.")
    labels = keys[LABEL]
    local, by = sending.kept_here(outputs, labels, sends=bool(reached))
    if labels and by is labels[-1].settings[0] and all(one.when for one in labels):
        notes.append("selectiveIndexing indexes those events alone that a transform labels.")
    reached += sending.destinations(outputs, sending.SYSLOG, keys[SYSLOG], work)
    return reached, local, by


def _input(inputs: Mapping[str, Settings], stanza: str) -> Settings:
    """What holds for an input: its own word before its kind's, ``[WinEventLog]``, and default's."""
    kind = stanza.partition(":")[0]
    of_kind = own(inputs, kind) if kind in inputs and kind != stanza else {}
    return {**inputs.get(DEFAULT, {}), **of_kind, **own(inputs, stanza)}


def _entering(
    confs: Confs, settings: Settings, kind: str, sourcetype: Outcome
) -> dict[str, list[Outcome]]:
    """The keys of an event before any transform has seen it."""
    outputs = confs.get("outputs", {})
    queue = settings.get(QUEUE)
    return {
        SOURCETYPE: [sourcetype],
        INDEX: [_index(settings, kind, confs.get("indexes", {}))],
        QUEUE: [Outcome(INDEX_QUEUE, None, (queue,) if queue else ())],
        LABEL: _routing(settings, LABEL),
        TCP: _routing(settings, TCP)
        or (_routing(settings, "outputgroup") if kind == COLLECTOR else [])
        or sending.default_routing(outputs, sending.TCPOUT),
        SYSLOG: _routing(settings, SYSLOG) or sending.default_routing(outputs, sending.SYSLOG),
    }


def _said(settings: Settings, key: str) -> Outcome:
    said = settings.get(key)
    return Outcome(said.value, None, (said,)) if said is not None and said.value else Outcome(None)


def _routing(settings: Settings, key: str) -> list[Outcome]:
    said = _said(settings, key)
    return [said] if said.value else []


def _index(settings: Settings, kind: str, indexes: Mapping[str, Settings]) -> Outcome:
    """Without a word, or by the word ``default``, it is the instance's default index."""
    said = _said(settings, "index")
    if kind in FORWARDERS:
        return Outcome(None, None, said.settings)
    if said.value not in {None, "default"}:
        return said
    default = _said(indexes.get(DEFAULT, {}), "defaultDatabase")
    return Outcome(default.value or MAIN, None, default.settings + said.settings)


def _source(
    settings: Settings, kind: str, target: str, asked: str | None, notes: list[str]
) -> Outcome:
    if asked is not None:
        return Outcome(asked)
    said = _said(settings, "source")
    if said.value:
        return said
    if kind in PORTS:
        return Outcome(f"{kind}:{target.rpartition(':')[2]}")
    if kind not in FILES:
        notes.append(NO_SOURCE)
        return Outcome(None)
    if "*" in target or "..." in target or "$" in target:
        notes.append(MANY_FILES)
        return Outcome(None)
    notes.append("Should its path be a folder, name a file in it as source.")
    return Outcome(target)


def _host(settings: Settings, kind: str, asked: str | None) -> Outcome:
    """None where the machine, a file's path or a sender's address tells it."""
    if asked is not None:
        return Outcome(asked)
    said = _said(settings, "host")
    from_path = any(_said(settings, key).value for key in FROM_PATH)
    from_sender = kind in SENDERS and _said(settings, "connection_host").value != "none"
    if from_path or from_sender or (said.value or "$").startswith("$"):
        return Outcome(None, None, said.settings)
    return said


def _sourcetype(settings: Settings, kind: str, source: Outcome) -> Outcome:
    """None where it is left to ``props.conf``, or to a guess by the events' text."""
    said = _said(settings, "sourcetype")
    if said.value or kind not in PORTS:
        return said
    return Outcome(RAW_TCP if kind == "tcp" else source.value)


def _defined(indexes: Mapping[str, Settings], outcomes: list[Outcome]) -> dict[str, bool] | None:
    if not indexes.keys() - {DEFAULT}:
        return None
    known = SHIPPED | indexes.keys()
    return {one.value: one.value in known for one in outcomes if one.value is not None}
