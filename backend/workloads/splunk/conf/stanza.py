"""What one conf file says: its stanzas, and what was strange about it."""

from dataclasses import dataclass, field

DEFAULT = "default"


@dataclass(slots=True)
class Stanza:
    """All that one file says under one name; a name that comes again adds to it.

    Attributes:
        name: as the header has it; ``default`` for what stands above the first header.
        line: of the first header, counted from 1.
        settings: key → value; of a key that comes again, the last value.
        lines: key → the line on which that value begins.
        history: of keys that come again: (line, value) of each time before the last.
    """

    name: str
    line: int
    settings: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    history: dict[str, list[tuple[int, str]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that Splunk would ignore, or read otherwise than its author meant.

    ``code`` is one word, ``message`` one line without any value; ``line`` is None for the file.
    """

    code: str
    message: str
    line: int | None = None


@dataclass(slots=True)
class ConfFile:
    """Stanzas in the order of their first headers."""

    stanzas: list[Stanza]
    warnings: list[Warned]
    encoding: str
