"""Where ``outputs.conf`` sends events.

Source: outputs.conf.spec, ``defaultGroup``, ``[tcpout:<target_group>]``, "Index Filter Settings"
and ``[syslog:<target_group>]``.
"""

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

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
LOCAL: Final = "indexAndForward"
ALL_GROUPS: Final = "*"

_FILTER = re.compile(r"forwardedindex\.([0-9]{1,6})\.(whitelist|blacklist)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Destination:
    """A group that events may reach.

    Attributes:
        kind: ``tcpout`` or ``syslog``.
        exists: False where no stanza defines it, or one that Splunk ignores.
        disabled: the setting that switches it off, where one does.
        servers: ``host:port``, as written, or what ``indexerDiscovery`` names.
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
    said = outputs.get(kind, {}).get("defaultGroup")
    return [Outcome(said.value, None, (said,))] if said is not None and said.value else []


def destinations(
    outputs: Mapping[str, Settings], kind: str, routing: Sequence[Outcome], work: Work
) -> Iterator[Destination]:
    """The groups that ``routing`` names.

    Raises:
        Unsupported: code ``too-complex``: each outcome may name each group.
    """
    prefix = f"{kind}:"
    every = [name.removeprefix(prefix) for name in outputs if name.startswith(prefix)]
    for outcome in routing:
        work.spend(1 + len(outcome.value or "") // 8)
        named = comma_separated(outcome.value or "")
        for group in every if named == [ALL_GROUPS] else named:
            found = _destination(outputs, kind, group, outcome)
            work.spend(TOLD * (1 + len(found.servers)))
            yield found


def _destination(
    outputs: Mapping[str, Settings], kind: str, group: str, routed: Outcome
) -> Destination:
    stanza = f"{kind}:{group}"
    known = stanza in outputs and not set(group) & {" ", ":"}
    said = ChainMap(outputs.get(stanza, {}), outputs.get(kind, {}))
    off = said.get("disabled")
    address = said.get("server") or said.get("indexerDiscovery")
    return Destination(
        kind=kind,
        group=group,
        exists=known,
        disabled=off if off is not None and flag(off.value) else None,
        servers=comma_separated(address.value) if known and address is not None else [],
        addressed=address if known else None,
        routed=routed,
    )


def kept_here(outputs: Mapping[str, Settings]) -> Resolved | None:
    """The setting that has events indexed on the instance itself, though it forwards them."""
    said = (outputs.get(TCPOUT, {}).get(LOCAL), outputs.get(LOCAL, {}).get("index"))
    return next((one for one in said if one is not None and flag(one.value)), None)


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
