"""Deployment clients, and the filters by which server classes choose them.

Source: serverclass.conf.spec, ``filterType``, ``whitelist.<n>``, ``whitelist.from_pathname`` and
``machineTypesFilter``. Every answer is True, False or None: None where it hangs on something that
nobody has told, a list in a file or a client's machine type.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from backend.workloads.splunk.matching.automaton import Work
from backend.workloads.splunk.matching.patterns import CLIENT, Edges, Pattern
from backend.workloads.splunk.matching.syntax import Unreadable
from backend.workloads.splunk.resolution.effective import Resolved, Settings

WHITELIST: Final = "whitelist"
BLACKLIST: Final = "blacklist"

_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_LIST_KEY = re.compile(r"(?:white|black)list\.(?:[0-9]{1,9}|from_pathname)", re.ASCII)


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


def both(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def negated(one: bool | None) -> bool | None:
    return None if one is None else not one


class EntryList:
    """A whitelist or a blacklist, as one stanza gives it.

    Attributes:
        given: whether it is given at all.
        untold: why it may hold more than can be seen; empty where it does not.
    """

    def __init__(self, kind: str, settings: Settings, files: Mapping[str, str], work: Work) -> None:
        self.kind = kind
        self.untold: list[str] = []
        self._work = work
        self._literals: dict[str, Entry] = {}
        self._patterns: list[tuple[Entry, Edges, Pattern]] = []
        self._answers: dict[str, Entry | None] = {}
        work.spend(len(settings) // 8)
        for entry in (*numbered(kind, settings), *self._from_file(settings, files)):
            self._add(entry)
        self.given = bool(self._literals or self._patterns or self.untold)

    def holds(self, client: Client) -> tuple[bool | None, Entry | None]:
        """Whether it matches a client, and the entry that does."""
        found = next(filter(None, map(self._entry, client.names)), None)
        if found is not None:
            return True, found
        return (None if self.untold else False), None

    def _add(self, entry: Entry) -> None:
        try:
            pattern = Pattern(entry.text, CLIENT, self._work)
        except Unreadable as error:
            self.untold.append(f"the pattern of {entry.key} {error}")
            return
        if pattern.literal is None:
            self._patterns.append((entry, Edges.of(entry.text, CLIENT), pattern))
        else:
            self._literals.setdefault(pattern.literal.lower(), entry)

    def _entry(self, name: str) -> Entry | None:
        if name not in self._answers:
            self._answers[name] = self._literals.get(name.lower()) or self._matching(name)
        return self._answers[name]

    def _matching(self, name: str) -> Entry | None:
        self._work.spend(1 + len(self._patterns) // 2)
        for entry, edges, pattern in self._patterns:
            if edges.fit(name) and pattern.matches(name):
                return entry
        return None

    def _from_file(self, settings: Settings, files: Mapping[str, str]) -> list[Entry]:
        given = settings.get(f"{self.kind}.from_pathname")
        if given is None or not given.value:
            return []
        content = files.get(given.value)
        if content is None:
            self.untold.append(f"{given.key} names a file whose content is not given")
            return []
        try:
            found = selected(self.kind, settings, content, self._work)
        except (Unreadable, csv.Error) as error:
            self.untold.append(f"the file of {given.key} cannot be used: {error}")
            return []
        return [Entry(given.key, text) for text in found]


def numbered(kind: str, settings: Settings) -> list[Entry]:
    """``whitelist.0`` and so on, in the order of their numbers; an empty one is none."""
    found = []
    for key, setting in settings.items():
        word, _, end = key.partition(".")
        if word == kind and _NUMBER.fullmatch(end) and setting.value:
            found.append((int(end), Entry(key, setting.value)))
    return [entry for _, entry in sorted(found, key=lambda one: one[0])]


def lists_anything(settings: Settings) -> bool:
    """Whether a stanza gives a list of its own: then it inherits neither kind."""
    return any(_LIST_KEY.fullmatch(key) for key in settings)


def selected(kind: str, settings: Settings, content: str, work: Work) -> list[str]:
    """What a list's file names: its lines, or a field of the rows that are asked for.

    Raises:
        Unreadable: a field that is named is not there, or a pattern cannot be read.
        csv.Error: it is no CSV file.
    """
    field, where, equals = (
        settings[key].value if (key := f"{kind}.{word}") in settings else ""
        for word in ("select_field", "where_field", "where_equals")
    )
    work.spend(len(content) // 8)
    if not field:
        return [line.strip() for line in content.splitlines() if line.strip()]
    rows = list(csv.reader(io.StringIO(content, newline="")))
    header = [] if field.isdigit() else rows.pop(0) if rows else []
    wanted = _column(field, header)
    asked = _column(where, header) if where else None
    patterns = [Pattern(one, CLIENT, work) for one in comma_separated(equals)]
    return [
        row[wanted]
        for row in rows
        if len(row) > wanted and row[wanted] and (asked is None or _meets(row, asked, patterns))
    ]


def _column(field: str, header: Sequence[str]) -> int:
    if not header:
        if not _NUMBER.fullmatch(field) or int(field) < 1:
            raise Unreadable("a column is named, and another one has a number below 1")
        return int(field) - 1
    if field not in header:
        raise Unreadable("its first line does not name a field that is asked for")
    return header.index(field)


def _meets(row: Sequence[str], column: int, patterns: Iterable[Pattern]) -> bool:
    return len(row) > column and any(pattern.matches(row[column]) for pattern in patterns)


def comma_separated(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


class TypesFilter:
    """A list of patterns of which one must match a property of the client, such as its machine."""

    def __init__(self, setting: Resolved, prop: str, work: Work) -> None:
        self.setting = setting
        self._property = prop
        self._patterns: list[Pattern] = []
        self._untold = False
        for text in comma_separated(setting.value):
            try:
                self._patterns.append(Pattern(text, CLIENT, work))
            except Unreadable:
                self._untold = True

    def holds(self, client: Client) -> bool | None:
        value: str | None = getattr(client, self._property)
        if value is None:
            return None
        if any(pattern.matches(value) for pattern in self._patterns):
            return True
        return None if self._untold else False
