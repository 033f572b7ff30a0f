"""Where ``outputs.conf`` sends events.

Source: outputs.conf.spec, ``defaultGroup``, ``[tcpout:<target_group>]``, "Index Filter Settings",
``[syslog:<target_group>]``, ``[httpout]`` and "IndexAndForward Processor".
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from backend.workloads.splunk.conf.stanza import DEFAULT
from backend.workloads.splunk.matching.automaton import Work
from backend.workloads.splunk.matching.clients import comma_separated
from backend.workloads.splunk.matching.expressions import REGEX
from backend.workloads.splunk.matching.patterns import Pattern
from backend.workloads.splunk.matching.syntax import Unreadable
from backend.workloads.splunk.matching.transforms import TOLD, Outcome
from backend.workloads.splunk.projections import flag
from backend.workloads.splunk.resolution.effective import Resolved, Settings

TCPOUT: Final = "tcpout"
SYSLOG: Final = "syslog"
HTTPOUT: Final = "httpout"
LOCAL: Final = "indexAndForward"
ALL_GROUPS: Final = "*"

_FILTER = re.compile(r"forwardedindex\.([0-9]{1,6})\.(whitelist|blacklist)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Destination:
    """A group that events may reach.

    Attributes:
        kind: ``tcpout``, ``syslog``, or ``httpout``, of which there is one.
        exists: False where no stanza defines it, or one that Splunk ignores.
        disabled: the setting that switches it off, where one does.
        servers: ``host:port`` or URLs, as written, or what ``indexerDiscovery`` names.
        routed: what sends events there, and under which condition.
    """

    kind: str
    group: str
    exists: bool
    disabled: Resolved | None
    servers: list[str]
    addressed: Resolved | None
    routed: Outcome


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Whether what goes to ``index`` is forwarded at all; None where nobody here can say."""

    index: str | None
    answer: bool | None
    filter: Resolved | None


def default_routing(outputs: Mapping[str, Settings], kind: str) -> list[Outcome]:
    """What holds where neither the input nor a transform names groups; may be nothing."""
    said = _of_kind(outputs, kind).get("defaultGroup")
    return [Outcome(said.value, None, (said,))] if said is not None and said.value else []


def destinations(
    outputs: Mapping[str, Settings], kind: str, routing: Sequence[Outcome], work: Work
) -> Iterator[Destination]:
    """The groups that ``routing`` names.

    Raises:
        Unsupported: code ``too-complex``: each outcome may name each group.
    """
    every = groups(outputs, kind)
    for outcome in routing:
        work.spend(1 + len(outcome.value or "") // 8)
        named = dict.fromkeys(comma_separated(outcome.value or ""))
        for group in every if [*named] == [ALL_GROUPS] else named:
            found = _destination(outputs, kind, group, outcome)
            work.spend(TOLD * (1 + len(found.servers)))
            yield found


def groups(outputs: Mapping[str, Settings], kind: str) -> list[str]:
    """Those that are defined."""
    prefix = f"{kind}:"
    return [name.removeprefix(prefix) for name in outputs if name.startswith(prefix)]


def over_http(outputs: Mapping[str, Settings], work: Work) -> Iterator[Destination]:
    """What ``[httpout]`` sends events to: there are no groups, and no routing.

    Raises:
        Unsupported: code ``too-complex``: its list is too long to be told.
    """
    said = outputs.get(HTTPOUT, {})
    address = said.get("uri")
    if address is not None and address.value:
        work.spend(TOLD * (1 + address.value.count(",")))
        yield Destination(
            kind=HTTPOUT, group=HTTPOUT, exists=True, disabled=_switched_off(said),
            servers=comma_separated(address.value), addressed=address,
            routed=Outcome(HTTPOUT, None, (address,)),
        )  # fmt: skip


def _of_kind(outputs: Mapping[str, Settings], kind: str) -> Settings:
    """``[tcpout]`` need not be there: then ``[default]`` stands for it."""
    default = outputs.get(DEFAULT, {}) if kind == TCPOUT else {}
    return outputs.get(kind, default)


def _switched_off(said: Mapping[str, Resolved]) -> Resolved | None:
    off = said.get("disabled")
    return off if off is not None and flag(off.value) else None


def _destination(
    outputs: Mapping[str, Settings], kind: str, group: str, routed: Outcome
) -> Destination:
    stanza = f"{kind}:{group}"
    known = stanza in outputs and not set(group) & {" ", ":"}
    said = {
        key: word
        for key in ("server", "indexerDiscovery", "disabled")
        if (word := _word(outputs, stanza, kind, key)) is not None
    }
    address = said.get("server") or said.get("indexerDiscovery")
    return Destination(
        kind=kind,
        group=group,
        exists=known,
        disabled=_switched_off(said),
        servers=comma_separated(address.value) if known and address is not None else [],
        addressed=address if known else None,
        routed=routed,
    )


def _word(outputs: Mapping[str, Settings], stanza: str, kind: str, key: str) -> Resolved | None:
    """A group's own word, or else its kind's: ``[default]`` is beneath both."""
    said = outputs.get(stanza, {}).get(key)
    if said is not None and said.stanzas[0].name == stanza:
        return said
    return _of_kind(outputs, kind).get(key, said)


def kept_here(
    outputs: Mapping[str, Settings], labels: Sequence[Outcome], *, sends: bool
) -> tuple[bool, Resolved | None]:
    """Whether events are indexed on the instance itself, and the setting that says so.

    Args:
        labels: what ``_INDEX_AND_FORWARD_ROUTING`` may be; nothing where it is not set.
        sends: whether the instance forwards them; then, without a word, it does not index them.
    """
    said = outputs.get(LOCAL, {})
    stated = (said.get("index"), _of_kind(outputs, TCPOUT).get(LOCAL))
    by = next((one for one in stated if one is not None and flag(one.value) is not None), None)
    if not (not sends if by is None else flag(by.value)):
        return False, by
    selective = said.get("selectiveIndexing")
    if selective is not None and flag(selective.value):
        return bool(labels), labels[-1].settings[0] if labels else selective
    return True, by


def forwarded(outputs: Mapping[str, Settings], index: str | None, work: Work) -> Forwarded:
    """What the index filters say: the last one that matches decides.

    Where none matches, the first filter's kind tells what is left: what a blacklist comes first
    for is forwarded. Filters stand in ``[tcpout]`` and count up from 0 without a gap.
    """
    settings = outputs.get(TCPOUT, {})
    work.spend(1 + len(settings) // 4)
    off = settings.get("forwardedindex.filter.disable")
    filters = [] if off is not None and flag(off.value) else _filters(settings)
    if not filters:
        return Forwarded(index, True, off)
    if index is None:
        return Forwarded(None, None, None)
    decided = Forwarded(index, filters[0][0] == "blacklist", None)
    for word, setting in filters:
        try:
            matched = Pattern(setting.value, REGEX, work).matches(index)
        except Unreadable:
            return Forwarded(index, None, setting)
        if matched:
            decided = Forwarded(index, word == "whitelist", setting)
    return decided


def _filters(settings: Settings) -> list[tuple[str, Resolved]]:
    """In the order of their numbers; of one number the whitelist; a cleared one is left out."""
    numbered: dict[int, tuple[str, Resolved]] = {}
    for key, setting in settings.items():
        named = _FILTER.fullmatch(key)
        if named and (named[2] == "whitelist" or int(named[1]) not in numbered):
            numbered[int(named[1])] = named[2], setting
    found = []
    for number in range(len(numbered)):
        if number not in numbered:
            break
        found.append(numbered[number])
    return [one for one in found if one[1].value]
