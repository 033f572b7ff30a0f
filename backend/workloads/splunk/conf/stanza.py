"""What one conf file says: its stanzas, and what was strange about it."""

from dataclasses import dataclass, field
from typing import Final

DEFAULT: Final = "default"
MOST_WARNINGS: Final = 1000
"""Kept of one file: a hostile one could have a million."""
UNREAD: Final = frozenset(("binary", "junk-line", "semicolon-line", "unclosed-header"))
"""Warnings of what Splunk ignores; the others are about what it reads otherwise than was meant."""


class TooMuch(ValueError):
    """The file is made to fill the memory; one line that says with what. No ordinary file is."""


@dataclass(slots=True)
class Stanza:
    """All that one file says under one name; a name that comes again adds to it.

    Attributes:
        name: as the header has it; ``default`` for what stands above the first header.
        line: of the first header, counted from 1.
        settings: key → value; of a key that comes again, the last value.
        lines: key → the line on which that value begins.
        history: of keys that come again: (line, value) of each time before the last.
        order: of its first header among the file's names, counted from 0.
    """

    name: str
    line: int
    settings: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    history: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    order: int = 0


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that Splunk would ignore, or read otherwise than its author meant.

    ``code`` is one word, ``message`` one line without any value; ``line`` is None for the file.
    """

    code: str
    message: str
    line: int | None = None


class Warnings:
    """The first thousand of one file, and the number of all the others."""

    def __init__(self) -> None:
        self._kept: list[Warned] = []
        self._more: dict[str, int] = {}

    def add(self, code: str, message: str, line: int | None = None) -> None:
        if len(self._kept) < MOST_WARNINGS:
            self._kept.append(Warned(code, message, line))
        else:
            self._more[code] = self._more.get(code, 0) + 1

    def unread(self) -> int:
        """How many say that something is ignored, those that were not kept among them."""
        kept = sum(one.code in UNREAD for one in self._kept)
        return kept + sum(self._more.get(code, 0) for code in UNREAD)

    def all(self) -> list[Warned]:
        """In the order in which they were noticed."""
        if not self._more:
            return self._kept
        return [
            *self._kept,
            Warned("more-warnings", f"{sum(self._more.values())} more were not kept"),
        ]


@dataclass(slots=True)
class ConfFile:
    """Stanzas in the order of their first headers."""

    stanzas: list[Stanza]
    warnings: list[Warned]
    encoding: str
