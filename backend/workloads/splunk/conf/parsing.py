"""Conf files by Splunk's rules, in one pass and in time linear in their size.

Sources: the Admin Manual's pages on the structure of configuration files, the head of
``props.conf.spec``, and what Splunk was seen to do where both are silent;
``docs/normalization-model.md`` tells which rule rests on which.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Final

from backend.workloads.splunk.conf.holding import Holding
from backend.workloads.splunk.conf.reading import LONGEST, Data, Reading
from backend.workloads.splunk.conf.recurring import recurring_names
from backend.workloads.splunk.conf.stanza import ConfFile, Stanza, TooMuch, Warned, Warnings
from backend.workloads.splunk.conf.suspicions import swallowed

WHOLE: Final = 1024 * 1024
"""Bytes up to which all stanzas of a file are held until its end."""

_BLANK: Final = " \t\v\f\r"
_BLANK_LINES: Final = _BLANK + "\n"
_SPECIAL: Final = frozenset("#;[]|(){}\"'`,\\=&+!?^~@")  # how no ordinary setting begins


def parse(data: Data) -> ConfFile:
    """All that a conf file says; what Splunk would ignore is ignored with a warning.

    Raises:
        TooMuch: the file is made to fill the memory.
    """
    parser = Parser(data)
    stanzas = sorted(parser.stanzas(), key=lambda stanza: stanza.order)
    return ConfFile(stanzas, parser.warnings, parser.encoding)


class Parser:
    """One conf file as a stream of stanzas: of a large one only those that recur are held.

    Attributes:
        encoding: as ``Reading`` names it.
    """

    def __init__(self, data: Data) -> None:
        """Raises TooMuch for a file or a line that is larger than any ordinary one."""
        self._warnings = Warnings()
        self._reading = Reading(data, self._warnings)
        self.encoding = self._reading.encoding
        self._holding = Holding(
            recurring_names(self._reading.texts(), len(data)) if len(data) > WHOLE else None,
            self._warnings,
        )
        self._lines = enumerate(chain.from_iterable(self._pieces()), 1)

    @property
    def warnings(self) -> list[Warned]:
        """Complete when the stanzas are used up."""
        return self._warnings.all()

    @property
    def unread(self) -> int:
        """Lines, or the whole file, that say nothing to Splunk; as complete as ``warnings``."""
        return self._warnings.unread()

    def stanzas(self) -> Iterator[Stanza]:  # noqa: C901  a call for each line halves the speed
        """Each name once; those that recur, and those of a small file, come at the end.

        Raises:
            TooMuch: the file is made to fill the memory.
        """
        holding = self._holding
        settings, begins = holding.current.settings, holding.current.lines
        blank, special = _BLANK, _SPECIAL
        # All the time goes into this loop: an ordinary setting costs no call of our own.
        for number, line in self._lines:
            text = line.strip(blank)
            if not text:
                continue
            if (first := text[0]) in special:
                if first == "#":
                    continue
                if first == "[":
                    whole = text[-1] == "]" and "] " not in text
                    name = text[1:-1] if whole else self._header(text, line, number)
                    if name is not None:
                        if (left := holding.enter(name, number)) is not None:
                            yield left
                        settings, begins = holding.current.settings, holding.current.lines
                    continue
                if self._is_no_setting(text, line, number):
                    continue
            key, equals, value = text.partition("=")
            if not equals:
                self._ignore(line, number, "junk-line", "neither a setting nor a header")
                continue
            key, value = key.rstrip(blank), value.lstrip(blank)
            if text[-1] == "\\":
                value = self._continued(value, line, number)
            if " " in key:
                self._warnings.add("suspicious-key", "the name of a setting has no blanks", number)
            if key in settings:
                holding.repeat(key, number)
            settings[key], begins[key] = value, number
        yield from holding.rest()

    def _pieces(self) -> Iterator[list[str]]:
        for text in self._reading.texts():
            yield text.split("\n")
            self._holding.weigh()

    def _header(self, text: str, line: str, number: int) -> str | None:
        """The name in a header that does not end with its bracket, or seems to end before.

        It reaches to the last one: names have brackets themselves.
        """
        closing = text.rfind("]")
        if closing < 0:
            self._ignore(line, number, "unclosed-header", "a header without its closing bracket")
            return None
        if closing < len(text) - 1:
            self._warnings.add("text-after-header", "what follows the header was ignored", number)
        if "[" not in text[1 : text.find("]")] and "] " in text[:closing]:
            message = "the name reaches to the last bracket, beyond an earlier one and a blank"
            self._warnings.add("suspicious-header", message, number)
        return text[1:closing]

    def _is_no_setting(self, text: str, line: str, number: int) -> bool:
        """Whether a line that begins strangely says nothing; tells if it does say something."""
        key, equals, _ = text.partition("=")
        if text[0] == ";":
            self._warnings.add(
                "semicolon-line", "a comment begins with #: the line was ignored", number
            )
        elif not key:
            self._ignore(line, number, "junk-line", "a setting without a name")
        elif equals and " " not in key.rstrip(_BLANK):
            self._warnings.add("suspicious-key", "no setting's name begins like this", number)
        return text[0] in ";="

    def _ignore(self, line: str, number: int, code: str, message: str) -> None:
        """Passes over a line with those that continue it."""
        self._warnings.add(code, message, number)
        if line[-1] == "\\":
            for _, more in self._lines:
                if more[-1:] != "\\":
                    return

    def _continued(self, value: str, line: str, number: int) -> str:
        """The value that ends in a backslash, with the lines that continue it.

        What stands before each backslash is kept, blanks too; both ends are trimmed.
        """
        if line[-1] != "\\":
            self._warnings.add("blank-after-backslash", "a blank keeps it from continuing", number)
            return value
        parts, length = [value[:-1]], 0
        for at, more in self._lines:
            if at == number + 1 and (what := swallowed(parts[0], more)):
                message = f"a {what} became part of the value above it"
                self._warnings.add(f"continuation-swallowed-{what}", message, at)
            length += len(more) + 1
            if length > LONGEST:
                raise TooMuch(f"a value of more than {LONGEST:,} characters")
            if more[-1:] != "\\":
                parts.append(more)
                if more.rstrip(_BLANK)[-1:] == "\\":
                    self._warnings.add(
                        "blank-after-backslash", "a blank keeps it from continuing", at
                    )
                break
            parts.append(more[:-1])
        else:
            self._warnings.add(
                "continuation-at-end", "the file ends where a line should follow", number
            )
        return "\n".join(parts).strip(_BLANK_LINES)
