"""What takes a client or leaves it: the two lists, and the properties that a client must have.

Source: serverclass.conf.spec, ``filterType``, ``machineTypesFilter``, ``packageTypesFilter`` and
``updaterRunningFilter``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final

from backend.workloads.splunk.matching.clients import (
    BLACKLIST,
    WHITELIST,
    EntryList,
    TypesFilter,
    both,
    negated,
)
from backend.workloads.splunk.matching.entries import Client, Entries, Seen
from backend.workloads.splunk.projections import flag
from backend.workloads.splunk.resolution.effective import Resolved, Settings

TYPE_FILTERS: Final = {"machineTypesFilter": "machine_type", "packageTypesFilter": "package_type"}
UPDATER: Final = "updaterRunningFilter"
FILTER_KEYS: Final = frozenset({"filterType", UPDATER, *TYPE_FILTERS})


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a filter takes a client or does not; ``setting`` is what says so, where one does."""

    sentence: str
    setting: Resolved | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """``answer``: None where it hangs on what nobody has told; ``reasons`` say on what."""

    answer: bool | None
    reasons: tuple[Reason, ...] = ()


class Filter:
    """What decides about clients in one stanza, with all that it inherits."""

    def __init__(
        self, settings: Settings, lists: Settings, files: Mapping[str, str], entries: Entries
    ) -> None:
        self._lists = lists
        self._type = settings.get("filterType")
        said = self._type.value.strip().lower() if self._type is not None else WHITELIST
        self._takes_unlisted = said == BLACKLIST
        self._white = EntryList(WHITELIST, lists, files, entries)
        self._black = EntryList(BLACKLIST, lists, files, entries)
        self._types = [
            TypesFilter(settings[key], name, entries)
            for key, name in TYPE_FILTERS.items()
            if key in settings and settings[key].value
        ]
        self._updater = settings.get(UPDATER)

    def leaves(self, seen: Seen) -> bool:
        """Whether it certainly does not take a client because no whitelist names it.

        That is what nearly all filters do with nearly all clients, told without reasons.
        """
        return not self._takes_unlisted and self._white.leaves(seen)

    def holds(self, seen: Seen) -> Verdict:
        verdicts = [self._listed(seen), *self._of_types(seen.client)]
        answer: bool | None = True
        for verdict in verdicts:
            answer = both(answer, verdict.answer)
        said = (verdict.reasons for verdict in verdicts if verdict.answer is answer)
        return Verdict(answer, tuple(chain.from_iterable(said)))

    def _listed(self, seen: Seen) -> Verdict:
        """By the lists, in the order that ``filterType`` gives them."""
        white, white_reasons = self._asked(self._white, seen)
        black, black_reasons = self._asked(self._black, seen)
        if self._takes_unlisted:
            answer = negated(both(black, negated(white)))
            default = Reason("filterType = blacklist takes who is on no list", self._type)
        else:
            answer = both(white, negated(black))
            default = Reason("no entry of a whitelist matches", self._type)
        reasons = black_reasons if answer is False and black else white_reasons + black_reasons
        return Verdict(answer, reasons or (default,))

    def _asked(self, entries: EntryList, seen: Seen) -> tuple[bool | None, tuple[Reason, ...]]:
        answer, entry = entries.holds(seen)
        if entry is not None:
            setting = self._lists[entry.key]
            return True, (Reason(f"{entry.key} matches", setting),)
        return answer, tuple(Reason(why) for why in entries.untold(seen))

    def _of_types(self, client: Client) -> Iterator[Verdict]:
        for types in self._types:
            answer = types.holds(client)
            word = {True: "matches", False: "does not match", None: "hangs on what is not told"}
            reason = Reason(f"{types.setting.key} {word[answer]}", types.setting)
            yield Verdict(answer, (reason,))
        if self._updater is not None and flag(self._updater.value):
            running = client.updater_running
            yield Verdict(running, (Reason(f"{UPDATER} wants a running updater", self._updater),))


def within(before: bool | None, verdict: Verdict) -> Verdict:
    """A verdict that counts only where what comes before it lets it."""
    answer = both(before, verdict.answer)
    if answer is verdict.answer:
        return verdict
    if answer is None:
        return Verdict(None, (Reason("what comes before it is undecided"),))
    return Verdict(False, (Reason("what comes before it does not take the client, or stops"),))
