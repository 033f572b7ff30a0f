"""Which settings of ``props.conf`` apply to an event.

Source: props.conf.spec, "[<spec>] stanza precedence", "stanza match language", "stanza pattern
collisions", "Case-sensitivity" and "Building the final [<spec>] stanza". Stanzas of one kind are
laid over each other by ``priority``, then what is literal over what is a pattern, then in ASCII
order; all of ``[source::…]`` over all of ``[host::…]`` over ``[<sourcetype>]``, over ``[default]``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from backend.workloads.splunk.conf.stanza import DEFAULT
from backend.workloads.splunk.matching.automaton import Work
from backend.workloads.splunk.matching.expressions import Dialect
from backend.workloads.splunk.matching.patterns import (
    HOST,
    SOURCE,
    Pattern,
    may_match,
    source_dialect,
)
from backend.workloads.splunk.matching.syntax import Unreadable
from backend.workloads.splunk.projections import number
from backend.workloads.splunk.resolution.effective import Resolved, Settings

if TYPE_CHECKING:
    from backend.workloads.splunk.places import PlacedStanza

SOURCETYPE_PATTERN: Final = "(?::){0}"
"""Not documented, and used by many apps: a header that begins so is a pattern of source types."""

LITERAL_PRIORITY: Final = 100
PATTERN_PRIORITY: Final = 0


class Spec(StrEnum):
    """What a stanza is about, the strongest first."""

    SOURCE = "source"
    HOST = "host"
    SOURCETYPE = "sourcetype"
    RULE = "rule"
    DELAYED_RULE = "delayedrule"


_PREFIXES: Final = {spec.value: spec for spec in Spec if spec is not Spec.SOURCETYPE}
NOT_MODELLED: Final = frozenset({Spec.RULE, Spec.DELAYED_RULE})
"""They guess a source type from an event's text, which is not here."""


@dataclass(frozen=True, slots=True)
class Event:
    """None for what is not known: stanzas about it are left out."""

    source: str | None = None
    host: str | None = None
    sourcetype: str | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """A stanza that applies."""

    stanza: str
    spec: Spec
    literal: bool
    priority: int


@dataclass(frozen=True, slots=True)
class NotRead:
    """A stanza or a setting of which nobody here can say whether it applies, and why."""

    stanza: str
    reason: str


@dataclass(frozen=True, slots=True)
class Applied:
    """What holds for an event.

    Attributes:
        sourcetype: the event's; where it has none, the one that a ``[source::…]`` stanza assigns;
            in a search, what that one is renamed to.
        assigned: the ``sourcetype`` setting that did so.
        renamed: the ``rename`` setting that did so.
        matches: the stanzas that apply, the strongest first; ``[default]`` is not named.
        settings: key → all that is said on it in those stanzas, the strongest first.
    """

    sourcetype: str | None
    assigned: Resolved | None
    matches: list[Match]
    settings: Settings
    not_read: list[NotRead] = field(default_factory=list)
    renamed: Resolved | None = None


def apply(
    props: Mapping[str, Settings], event: Event, work: Work, *, searching: bool = False
) -> Applied:
    """Find what holds for one event.

    Args:
        props: the effective ``props.conf``.
        searching: it is what a search sees: of a source type that is renamed the new one counts.

    Raises:
        Unsupported: code ``too-complex``: the patterns would take too long.
    """
    found = _Matching(props, work)
    matches = found.of(Spec.SOURCE, event.source)
    assigned = None
    if event.sourcetype is None:
        assigned = _stated((own(props, match.stanza) for match in matches), "sourcetype")
    sourcetype = assigned.value if assigned else event.sourcetype
    renamed = None
    if searching and sourcetype is not None and sourcetype in props:
        renamed = _stated([own(props, sourcetype)], "rename")
        sourcetype = renamed.value if renamed else sourcetype
    matches += found.of(Spec.HOST, event.host)
    matches += found.of(Spec.SOURCETYPE, sourcetype)
    layers = [*(own(props, match.stanza) for match in matches), props.get(DEFAULT, {})]
    return Applied(sourcetype, assigned, matches, _laid(layers), found.not_read, renamed)


def _stated(layers: Iterable[Settings], key: str) -> Resolved | None:
    """The strongest word on a key; None where there is none, or it is empty."""
    said = next((layer[key] for layer in layers if key in layer), None)
    return said if said is not None and said.value else None


def spec_of(stanza: str) -> tuple[Spec, str]:
    """What a stanza is about, and the name or pattern that it gives."""
    prefix, colons, rest = stanza.partition("::")
    spec = _PREFIXES.get(prefix) if colons else None
    return (spec, rest) if spec else (Spec.SOURCETYPE, stanza)


class _Matching:
    def __init__(self, props: Mapping[str, Settings], work: Work) -> None:
        self._props = props
        self._work = work
        self._by_spec: dict[Spec, list[tuple[str, str]]] = {spec: [] for spec in Spec}
        for stanza in filter(DEFAULT.__ne__, props):
            spec, pattern = spec_of(stanza)
            self._by_spec[spec].append((stanza, pattern))
        self.not_read = [
            NotRead(stanza, f"[{spec}::…] looks at the text of events, which is not modelled")
            for spec in sorted(NOT_MODELLED)
            for stanza, _ in self._by_spec[spec]
        ]

    def of(self, spec: Spec, name: str | None) -> list[Match]:
        """The stanzas about ``spec`` that match ``name``, the strongest first."""
        if name is None:
            return []
        found = self._found(spec, name)
        return sorted(found, key=lambda one: (-one.priority, not one.literal, one.stanza))

    def _found(self, spec: Spec, name: str) -> Iterator[Match]:
        dialect = {Spec.SOURCE: source_dialect(name), Spec.HOST: HOST}.get(spec, SOURCE)
        self._work.spend(3 * len(self._by_spec[spec]))
        for stanza, pattern in self._by_spec[spec]:
            try:
                literal = self._matched(spec, pattern, name, dialect)
            except Unreadable as error:
                self.not_read.append(NotRead(stanza, f"its pattern {error}"))
                continue
            if literal is not None:
                yield Match(stanza, spec, literal, self._priority(stanza, literal))

    def _matched(self, spec: Spec, text: str, name: str, dialect: Dialect) -> bool | None:
        """Whether it matches literally (True) or by a pattern (False); None where it does not."""
        if "\\" not in text and _same(text, name, dialect):
            return True
        if spec is Spec.SOURCETYPE:
            if not text.startswith(SOURCETYPE_PATTERN):
                return None
            text = text.removeprefix(SOURCETYPE_PATTERN)
        self._work.spend(len(text) // 16)
        if not may_match(text, dialect, name):
            return None
        pattern = Pattern(text, dialect, self._work)
        if not pattern.matches(name):
            return None
        return pattern.literal is not None and spec is not Spec.SOURCETYPE

    def _priority(self, stanza: str, literal: bool) -> int:
        given = own(self._props, stanza).get("priority")
        stated = number(given.value) if given else None
        if stated is not None:
            return stated
        return LITERAL_PRIORITY if literal else PATTERN_PRIORITY


def _same(one: str, other: str, dialect: Dialect) -> bool:
    return one == other or (dialect.folded and one.lower() == other.lower())


def own(props: Mapping[str, Settings], stanza: str) -> Settings:
    """What a stanza says itself, without what it inherits from ``[default]``."""
    return {
        key: Resolved(key, tuple(one for one in setting.stanzas if one.name == stanza))
        for key, setting in props[stanza].items()
        if setting.stanzas[0].name == stanza
    }


def _laid(layers: Iterable[Settings]) -> Settings:
    """Layers over each other, the strongest first, key by key."""
    said: dict[str, list[PlacedStanza]] = {}
    for layer in layers:
        for key, setting in layer.items():
            said.setdefault(key, []).extend(setting.stanzas)
    return {key: Resolved(key, tuple(stanzas)) for key, stanzas in said.items()}
