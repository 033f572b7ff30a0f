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
    INDEX,
    QUEUE,
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
RAW_TCP: Final = "tcp-raw"
FROM_PATH: Final = ("host_regex", "host_segment")
MAIN: Final = "main"
INDEX_QUEUE: Final = "indexQueue"

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
        local_by: the setting that has them indexed though they are forwarded.
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
    notes: list[str] = []
    source = _source(settings, kind, target.removeprefix("//"), asked.source, notes)
    host = _host(settings, kind, asked.host)
    stated = _sourcetype(settings, kind, source)
    event = Event(source.value, host.value, stated.value)
    applied = apply(confs.get("props", {}), event, work)
    if applied.assigned is not None:
        stated = Outcome(applied.sourcetype, None, (applied.assigned,))
    pipeline = Pipeline(event, _entering(confs, settings, stated), notes=notes)
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
    reached = [
        *sending.destinations(outputs, sending.TCPOUT, keys[TCP], work),
        *sending.destinations(outputs, sending.SYSLOG, keys[SYSLOG], work),
    ]
    kept = sending.kept_here(outputs)
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
        local=kept is not None or not any(one.kind == sending.TCPOUT for one in reached),
        local_by=kept,
        transforms=pipeline.transforms,
        applied=applied,
        notes=pipeline.notes,
    )


def _input(inputs: Mapping[str, Settings], stanza: str) -> Settings:
    """What holds for an input: its own word before its kind's, ``[WinEventLog]``, and default's."""
    kind = stanza.partition(":")[0]
    of_kind = own(inputs, kind) if kind in inputs and kind != stanza else {}
    return {**inputs.get(DEFAULT, {}), **of_kind, **own(inputs, stanza)}


def _entering(confs: Confs, settings: Settings, sourcetype: Outcome) -> dict[str, list[Outcome]]:
    """The keys of an event before any transform has seen it."""
    outputs = confs.get("outputs", {})
    queue = settings.get(QUEUE)
    return {
        SOURCETYPE: [sourcetype],
        INDEX: [_index(settings, confs.get("indexes", {}))],
        QUEUE: [Outcome(INDEX_QUEUE, None, (queue,) if queue else ())],
        TCP: _routing(settings, TCP) or sending.default_routing(outputs, sending.TCPOUT),
        SYSLOG: _routing(settings, SYSLOG) or sending.default_routing(outputs, sending.SYSLOG),
    }


def _said(settings: Settings, key: str) -> Outcome:
    said = settings.get(key)
    return Outcome(said.value, None, (said,)) if said is not None and said.value else Outcome(None)


def _routing(settings: Settings, key: str) -> list[Outcome]:
    said = _said(settings, key)
    return [said] if said.value else []


def _index(settings: Settings, indexes: Mapping[str, Settings]) -> Outcome:
    """Without a word, or by the word ``default``, it is the instance's default index."""
    said = _said(settings, "index")
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
        notes.append("What source its events have is not known: [source::…] stanzas are left out.")
        return Outcome(None)
    if "*" in target or "..." in target:
        notes.append("It reads many files: name one as source to have [source::…] stanzas applied.")
        return Outcome(None)
    notes.append("Should its path be a folder, name a file in it as source.")
    return Outcome(target)


def _host(settings: Settings, kind: str, asked: str | None) -> Outcome:
    """None where the machine, a file's path or a sender's address tells it."""
    if asked is not None:
        return Outcome(asked)
    said = _said(settings, "host")
    from_path = any(_said(settings, key).value for key in FROM_PATH)
    from_sender = kind in PORTS and _said(settings, "connection_host").value != "none"
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
    return {one.value: one.value in indexes for one in outcomes if one.value is not None}
