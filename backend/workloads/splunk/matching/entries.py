"""The entries of all lists of one deployment server, found by a client's names.

Deployment servers have tens of thousands of entries, nearly all of them plain names or names with
a ``*``. So a name is looked up among them, by itself and by how it begins and ends, and is compared
with those few alone that begin and end alike. The same text in many lists is one pattern.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from backend.workloads.splunk.matching.automaton import Work
from backend.workloads.splunk.matching.patterns import ClientPattern
from backend.workloads.splunk.matching.syntax import Unreadable

ADDING: Final = 6
NEW: Final = 20
"""Units of work for an entry, and for one whose text was not seen before."""

PIECE: Final = 8
"""Characters of a pattern's longest part by which it is found."""

_PLAIN_NAME: Final = -1

_Key: TypeAlias = tuple[str, str, str]
"""How a name begins and ends that a pattern matches, and what it holds between."""


@dataclass(frozen=True, slots=True)
class Client:
    """A deployment client, as far as it is known; ``name`` is what whoever asks calls it.

    Attributes:
        names: all that a list's entry is compared with: client name, addresses, host names,
            instance id.
    """

    name: str
    names: tuple[str, ...]
    machine_type: str | None = None
    package_type: str | None = None
    updater_running: bool | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a list: the key that gives it, and its pattern."""

    key: str
    text: str


class _Place(NamedTuple):
    """Where an entry stands. Of two that match, a plain name decides, or else the earlier one."""

    of_list: int
    position: int
    entry: Entry


@dataclass(slots=True)
class _Listed:
    """A pattern, and the lists that have it."""

    pattern: ClientPattern
    places: list[_Place] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the lists say of one client.

    Attributes:
        found: list → the entry that matches the client.
        unread: list → why nobody can say whether an entry matches, for each such entry.
    """

    client: Client
    found: dict[int, Entry] = field(default_factory=dict)
    unread: dict[int, dict[str, None]] = field(default_factory=dict)


class Entries:
    """Raises Unsupported, from each method: what one question may take is spent."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._lists = 0
        self._patterns: dict[str, ClientPattern] = {}
        self._names: dict[str, list[_Place]] = {}
        self._listed: dict[str, _Listed] = {}
        self._by_lengths: dict[tuple[int, int, int], dict[_Key, list[_Listed]]] = {}

    def new_list(self) -> int:
        """A number for a list."""
        self._lists += 1
        return self._lists

    def add(self, of_list: int, position: int, entry: Entry) -> None:
        """``position``: among the entries of its list."""
        pattern = self.pattern(entry.text)
        if pattern.name is not None:
            place = _Place(of_list, _PLAIN_NAME, entry)
            self._names.setdefault(pattern.name, []).append(place)
            return
        if entry.text not in self._listed:
            self._listed[entry.text] = self._new(pattern)
        self._listed[entry.text].places.append(_Place(of_list, position, entry))

    def _new(self, pattern: ClientPattern) -> _Listed:
        listed = _Listed(pattern)
        key = pattern.edges.start, pattern.edges.end, pattern.part[:PIECE]
        start, end, piece = map(len, key)
        self._by_lengths.setdefault((start, end, piece), {}).setdefault(key, []).append(listed)
        return listed

    def pattern(self, text: str) -> ClientPattern:
        """The one pattern of this text."""
        self.work.spend(ADDING + len(text) // 8)
        found = self._patterns.get(text)
        if found is None:
            self.work.spend(NEW)
            found = self._patterns[text] = ClientPattern(text, self.work)
        return found

    def seen(self, client: Client) -> Seen:
        """What the lists say of a client: of its names the first that a list has decides."""
        seen = Seen(client)
        for name in dict.fromkeys(client.names):
            for of_list, place in self._first(self._matching(name, seen)).items():
                seen.found.setdefault(of_list, place.entry)
        return seen

    def _first(self, found: Iterable[list[_Place]]) -> dict[int, _Place]:
        """Of each list the entry that decides."""
        first: dict[int, _Place] = {}
        for places in found:
            self.work.spend(1 + len(places) // 4)
            for place in places:
                before = first.get(place.of_list)
                if before is None or place.position < before.position:
                    first[place.of_list] = place
        return first

    def _matching(self, name: str, seen: Seen) -> Iterator[list[_Place]]:
        lowered = name.lower()
        if lowered in self._names:
            yield self._names[lowered]
        for listed in self._alike(lowered):
            try:
                matches = listed.pattern.matches(name)
            except Unreadable as error:
                self._unread(listed, error, seen)
            else:
                if matches:
                    yield listed.places

    def _alike(self, lowered: str) -> Iterator[_Listed]:
        """Those that begin and end as the name does, and have their longest part in it."""
        self.work.spend(1 + len(self._by_lengths) // 2)
        for (start, end, piece), by_key in self._by_lengths.items():
            edges = lowered[:start], lowered[len(lowered) - end :]
            for between in self._pieces(lowered, piece):
                alike = by_key.get((*edges, between))
                if alike:
                    self.work.spend(1 + len(alike) // 8)
                    yield from [one for one in alike if one.pattern.part in lowered]

    def _pieces(self, lowered: str, length: int) -> Iterable[str]:
        if not length:
            return ("",)
        self.work.spend(1 + len(lowered) // 4)
        return {lowered[at : at + length] for at in range(len(lowered) - length + 1)}

    def _unread(self, listed: _Listed, error: Unreadable, seen: Seen) -> None:
        self.work.spend(1 + len(listed.places))
        for place in listed.places:
            why = f"the pattern of {place.entry.key} {error}"
            seen.unread.setdefault(place.of_list, {})[why] = None
