"""The filters by which server classes choose deployment clients.

Source: serverclass.conf.spec, ``filterType``, ``whitelist.<n>``, ``whitelist.from_pathname`` and
``machineTypesFilter``. Every answer is True, False or None: None where it hangs on something that
nobody has told, a list in a file or a client's machine type.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from backend.workloads.splunk.matching.automaton import Work
from backend.workloads.splunk.matching.entries import Client, Entries, Entry, Seen
from backend.workloads.splunk.matching.patterns import CLIENT, Pattern
from backend.workloads.splunk.matching.syntax import Unreadable
from backend.workloads.splunk.resolution.effective import Resolved, Settings

WHITELIST: Final = "whitelist"
BLACKLIST: Final = "blacklist"

_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_LIST_KEY = re.compile(r"(?:white|black)list\.(?:[0-9]{1,20}|from_pathname)", re.ASCII)


def both(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def negated(one: bool | None) -> bool | None:
    return None if one is None else not one


class EntryList:
    """A whitelist or a blacklist, as one stanza gives it."""

    def __init__(
        self, kind: str, settings: Settings, files: Mapping[str, str], entries: Entries
    ) -> None:
        self.kind = kind
        self._untold: list[str] = []
        self._work = entries.work
        self._number = entries.new_list()
        self._work.spend(len(settings) // 8)
        given = (*numbered(kind, settings), *self._from_file(settings, files))
        for position, entry in enumerate(given):
            entries.add(self._number, position, entry)

    def leaves(self, seen: Seen) -> bool:
        """Whether it certainly does not match a client."""
        if self._number in seen.found or self._untold:
            return False
        return self._number not in seen.unread

    def holds(self, seen: Seen) -> tuple[bool | None, Entry | None]:
        """Whether it matches a client, and the entry that does."""
        found = seen.found.get(self._number)
        if found is not None:
            return True, found
        return (False if self.leaves(seen) else None), None

    def untold(self, seen: Seen) -> list[str]:
        """Why it may match a client though no entry is seen that does."""
        return [*self._untold, *seen.unread.get(self._number, ())]

    def _from_file(self, settings: Settings, files: Mapping[str, str]) -> list[Entry]:
        given = settings.get(f"{self.kind}.from_pathname")
        if given is None or not given.value:
            return []
        content = files.get(given.value)
        if content is None:
            self._untold.append(f"{given.key} names a file whose content is not given")
            return []
        try:
            found = selected(self.kind, settings, content, self._work)
        except (Unreadable, csv.Error) as error:
            self._untold.append(f"the file of {given.key} cannot be used: {error}")
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

    def __init__(self, setting: Resolved, prop: str, entries: Entries) -> None:
        self.setting = setting
        self._property = prop
        self._patterns = [*map(entries.pattern, comma_separated(setting.value))]

    def holds(self, client: Client) -> bool | None:
        value: str | None = getattr(client, self._property)
        if value is None:
            return None
        answer: bool | None = False
        for pattern in self._patterns:
            try:
                if pattern.matches(value):
                    return True
            except Unreadable:
                answer = None
        return answer
