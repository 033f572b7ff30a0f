"""The stanzas of one file that cannot be given away yet, for their names may come again."""

from collections.abc import Iterator
from typing import Final

from backend.workloads.splunk.conf.stanza import DEFAULT, Stanza, TooMuch, Warnings

MOST_HELD: Final = 150_000
"""Settings and stanzas, all together: about 50 MB."""


class Holding:
    """Knows the stanza that is being read, and holds those whose names recur.

    What stands above the first header is ``[default]``, which is always held.

    Attributes:
        current: being read.
    """

    def __init__(self, recurring: set[str] | None, warnings: Warnings) -> None:
        """``recurring`` is None where it is not known: every stanza is held then."""
        self._warnings = warnings
        self.current = Stanza(DEFAULT, 1)
        self._recurring = recurring
        self._held = {DEFAULT: self.current}
        self._default_line = 0  # of its first header
        self._names = 0
        self._weight = 0  # of all that is held, but for what the current section has added
        self._before = 0  # settings of the current stanza when its section began
        self._repeats = 0

    def enter(self, name: str, line: int) -> Stanza | None:
        """Makes ``name`` the current stanza.

        Returns:
            The stanza that was current, unless it is held.
        """
        left = self.current
        is_held = left.name in self._held
        if is_held:
            self._weight += len(left.settings) - self._before
        if (stanza := self._held.get(name)) is not None:
            self._before = len(stanza.settings)
            self._come_again(stanza, line)
        else:
            self._names += 1
            self._before = 0
            stanza = Stanza(name, line, {}, {}, {}, self._names)
            if self._recurring is None or name in self._recurring:
                self._held[name] = stanza
                self._weight += 1
        self.current = stanza
        return None if is_held else left

    def repeat(self, key: str, line: int) -> None:
        """Moves the last word on a key, which ``line`` names again, to its history."""
        stanza = self.current
        earlier = stanza.lines[key]
        stanza.history.setdefault(key, []).append((earlier, stanza.settings[key]))
        self._repeats += 1
        # What stands above the header of [default] is the same stanza, and no repetition.
        if stanza.name != DEFAULT or earlier > self._default_line:
            message = "the setting comes again: its last value counts"
            self._warnings.add("duplicate-key", message, line)

    def weigh(self) -> None:
        """Raises TooMuch where more than ``MOST_HELD`` settings have to be held."""
        added = len(self.current.settings) - self._before
        if self._weight + self._repeats + added > MOST_HELD:
            raise TooMuch(f"more than {MOST_HELD:,} settings that may have to be merged")

    def rest(self) -> Iterator[Stanza]:
        """What is left when the file ends: the current stanza, and all that are held."""
        if self.current.name not in self._held:
            yield self.current
        for stanza in self._held.values():
            if stanza.settings or stanza.name != DEFAULT or self._default_line:
                yield stanza

    def _come_again(self, stanza: Stanza, line: int) -> None:
        if stanza.name != DEFAULT or self._default_line:
            message = "the stanza comes again: all its settings are merged"
            self._warnings.add("duplicate-stanza", message, line)
            return
        self._default_line = line
        if not stanza.settings:
            self._names += 1
            stanza.line, stanza.order = line, self._names
