"""The effective configuration: which of several words on one key wins, and which lose.

Splunk merges key by key and never stanza by stanza. What ``[default]`` says holds for each stanza
of its conf type that says nothing of its own, whichever folder either stands in (props.conf.spec,
"Global settings"). An empty value is a value: it clears what stands beneath it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from backend.problems import TooLarge
from backend.workloads.splunk.conf.stanza import DEFAULT
from backend.workloads.splunk.places import Layer, Place, PlacedStanza
from backend.workloads.splunk.resolution.context import Context, ContextKind
from backend.workloads.splunk.resolution.disabled import AppKey, disabled_apps
from backend.workloads.splunk.resolution.exports import Exports
from backend.workloads.splunk.resolution.precedence import order


@dataclass(frozen=True, slots=True)
class Candidate:
    """One file's word on one key, and the stanza in which it says it."""

    value: str
    path: str
    line: int
    stanza: str
    place: Place

    @classmethod
    def of(cls, stanza: PlacedStanza, key: str) -> "Candidate":
        line = stanza.lines.get(key, stanza.line)
        return cls(stanza.settings[key], stanza.path, line, stanza.name, stanza.place)


@dataclass(frozen=True, slots=True)
class Resolved:
    """All that is said on one key, the strongest first: never empty."""

    key: str
    stanzas: tuple[PlacedStanza, ...]

    @property
    def value(self) -> str:
        return self.stanzas[0].settings[self.key]

    @property
    def winner(self) -> Candidate:
        return Candidate.of(self.stanzas[0], self.key)

    @property
    def losers(self) -> list[Candidate]:
        return self.candidates[1:]

    @property
    def candidates(self) -> list[Candidate]:
        return [Candidate.of(stanza, self.key) for stanza in self.stanzas]


Settings = dict[str, Resolved]

MOST_INHERITED: Final = 4_000_000
"""Settings that stanzas take from ``[default]``, all together: some 150 MB."""

Ignored = Literal["app-disabled", "not-exported"]


class Configuration:
    """All that one installation says, to be resolved in any context.

    Args:
        stanzas: in any order. Those of ``app.conf`` tell which apps are switched off, those of
            metadata files what apps export: without them no app is the one or does the other.
    """

    def __init__(self, stanzas: Iterable[PlacedStanza]) -> None:
        everything = list(stanzas)
        self.disabled = disabled_apps(everything)
        self._exports = Exports(everything)
        self._numbers: dict[Place, int] = {}
        self._stanzas: dict[str, list[tuple[int, PlacedStanza]]] = {}
        for stanza in everything:
            number = self._numbers.setdefault(stanza.place, len(self._numbers))
            self._stanzas.setdefault(stanza.conf_type, []).append((number, stanza))

    @property
    def conf_types(self) -> list[str]:
        return sorted(self._stanzas)

    @property
    def places(self) -> list[Place]:
        return list(self._numbers)

    def stanzas(self, conf_type: str) -> list[PlacedStanza]:
        return [stanza for _, stanza in self._stanzas.get(conf_type, ())]

    def off(self, place: Place) -> bool:
        """Whether what stands there is ignored, because its app is switched off."""
        return place.app is not None and app_of(place, place.app) in self.disabled

    def effective(self, conf_type: str, context: Context) -> dict[str, Settings]:
        """Stanza → key → what holds there, in ``context``; the stanzas in ASCII order.

        A stanza without any key is there, too: ``[monitor:///var/log]`` alone is an input.

        Raises:
            TooLarge: code ``too-large-to-resolve``: a long ``[default]`` over many stanzas.
        """
        groups: dict[str, list[PlacedStanza]] = {}
        for stanza in self._read(conf_type, context):
            groups.setdefault(stanza.name, []).append(stanza)
        default = _merged(groups.get(DEFAULT, ()))
        if len(default) * len(groups) > MOST_INHERITED:
            raise TooLarge(
                f"{len(groups)} stanzas of {conf_type}.conf inherit {len(default)} settings:"
                f" at most {MOST_INHERITED} in all are resolved at once.",
                code="too-large-to-resolve",
            )
        return {
            name: default if name == DEFAULT else _inheriting(_merged(groups[name]), default)
            for name in sorted(groups)
        }

    def why(self, conf_type: str, stanza: str, key: str, context: Context) -> Resolved | None:
        """What holds for one key; None where nothing does, or no such stanza is read."""
        read = [s for s in self._read(conf_type, context) if s.name in {stanza, DEFAULT}]
        said = [s for s in read if key in s.settings]
        if not said or all(s.name != stanza for s in read):
            return None
        return Resolved(key, tuple(sorted(said, key=lambda s: s.name != stanza)))

    def ignored(
        self, conf_type: str, stanza: str, key: str, context: Context
    ) -> list[tuple[Ignored, Candidate]]:
        """What is said on a key where ``context`` does not look, and why it does not."""
        return [
            (why, Candidate.of(said, key))
            for said in self.stanzas(conf_type)
            if said.name in {stanza, DEFAULT} and key in said.settings
            if (why := self._ignored(said, key, context)) is not None
        ]

    def _ignored(self, stanza: PlacedStanza, key: str, context: Context) -> Ignored | None:
        if self.off(stanza.place):
            return "app-disabled"
        seen = self._seen(stanza, context)
        return "not-exported" if seen is None or key not in seen.settings else None

    def _read(self, conf_type: str, context: Context) -> list[PlacedStanza]:
        """The stanzas that ``context`` reads, the strongest first."""
        ranks = self._ranks(context)
        read = [
            (rank, stanza.path, stanza)
            for number, stanza in self._stanzas.get(conf_type, ())
            if (rank := ranks[number]) is not None
        ]
        read.sort(key=lambda ranked: ranked[:2])
        seen = (self._seen(stanza, context) for _, _, stanza in read)
        return [stanza for stanza in seen if stanza is not None]

    def _seen(self, stanza: PlacedStanza, context: Context) -> PlacedStanza | None:
        """Without what another app keeps to itself in the app/user context."""
        foreign = stanza.place.layer is Layer.APP and stanza.place.app != context.app
        if context.kind is ContextKind.APP_USER and foreign:
            return self._exports.visible(stanza)
        return stanza

    def _ranks(self, context: Context) -> list[int | None]:
        """For each place by its number: 0 for the strongest, None where it is not read."""
        ranks: list[int | None] = [None] * len(self._numbers)
        for rank, place in enumerate(order(self._numbers, context)):
            if not self.off(place):
                ranks[self._numbers[place]] = rank
        return ranks


def app_of(place: Place, app: str) -> AppKey:
    """A user's own settings for an app are off when the app is."""
    return (Layer.APP if place.layer is Layer.USER else place.layer), app


def _merged(stanzas: Sequence[PlacedStanza]) -> Settings:
    """All that stanzas of one name say, of which the first is the strongest."""
    if len(stanzas) == 1:
        alone = (stanzas[0],)
        return {key: Resolved(key, alone) for key in alone[0].settings}
    said: dict[str, list[PlacedStanza]] = {}
    for stanza in stanzas:
        for key in stanza.settings:
            said.setdefault(key, []).append(stanza)
    return {key: Resolved(key, tuple(stanzas_)) for key, stanzas_ in said.items()}


def _inheriting(own: Settings, default: Mapping[str, Resolved]) -> Settings:
    """``own``, and beneath it what ``[default]`` says."""
    settings = {**default, **own} if default else own
    for key in own.keys() & default.keys():
        settings[key] = Resolved(key, own[key].stanzas + default[key].stanzas)
    return settings
