"""What a batch of interactions owes: the child's part of the batch analysis."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from backend.queue.reporting import report
from backend.workloads.tasks.data_model import DebtKind, Severity
from backend.workloads.tasks.edm.checking import Found, check_message
from backend.workloads.tasks.edm.recommending import recommendations
from backend.workloads.tasks.edm.sentences import Sentence

MOST_FOUND: Final = 200_000
"""Debts of one task: no interaction is looked at after so many."""
EXAMPLES: Final = 10
SHOWN: Final = 300  # characters of a sentence in the result
EVERY: Final = 200  # interactions between two words on how far it is

_RANK: Final = {word: rank for rank, word in enumerate(Severity)}


@dataclass
class _Seen:
    """``found``: interaction, start, length, kind, severity and reason of each."""

    least: Severity
    interactions: int = 0
    sentences: int = 0
    claims: int = 0
    below: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    severities: Counter[str] = field(default_factory=Counter)
    found: list[list[Any]] = field(default_factory=list)
    worst: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    def look(self, interaction_id: int, message: str, *, cited: bool) -> None:
        self.interactions += 1
        for checked in check_message(message, cited=cited):
            self.sentences += 1
            self.claims += checked.claim
            debt = checked.found
            if debt is not None and _RANK[debt.severity] >= _RANK[self.least]:
                self._note(interaction_id, checked.sentence, debt)
            else:
                self.below += debt is not None

    def _note(self, interaction_id: int, sentence: Sentence, debt: Found) -> None:
        self.kinds[debt.kind] += 1
        self.severities[debt.severity] += 1
        place = [interaction_id, sentence.start, len(sentence.text)]
        self.found.append([*place, debt.kind, debt.severity, debt.reason])
        rank = _RANK[debt.severity]
        if len(self.worst) < EXAMPLES or rank > self.worst[-1][0]:
            shown = {
                "interaction_id": interaction_id,
                "sentence": sentence.text[:SHOWN],
                "kind": debt.kind,
                "severity": debt.severity,
                "reason": debt.reason,
            }
            self.worst = sorted([*self.worst, (rank, shown)], key=lambda one: -one[0])[:EXAMPLES]


def analyze(asked: dict[str, Any]) -> dict[str, Any]:
    """The batch analysis's result, but for what only the database knows: which debts are new."""
    data = asked["data"]
    given = data["interactions"]
    seen = _Seen(Severity(asked["parameters"]["min_severity"]))
    for number, (interaction_id, message, cited) in enumerate(given):
        if number % EVERY == 0:
            report(100 * number / len(given), f"looked at {number} of {len(given)} interactions")
        if len(seen.found) >= MOST_FOUND:
            break
        seen.look(interaction_id, message, cited=cited)
    return {
        "status": "completed" if given else "insufficient_data",
        "user_id": asked["user_id"],
        "window": {"since": data["since"], "until": data["until"]},
        "examined": {
            "interactions": seen.interactions,
            "interactions_left_out": data["left_out"] + len(given) - seen.interactions,
            "sentences": seen.sentences,
            "claims": seen.claims,
        },
        "min_severity": seen.least,
        "debts": len(seen.found),
        "below_min_severity": seen.below,
        "by_kind": _counted(seen.kinds, DebtKind),
        "by_severity": _counted(seen.severities, Severity),
        "recommendations": recommendations(seen.kinds, seen.severities),
        "examples": [shown for _, shown in seen.worst],
        "found": seen.found,
    }


def _counted(counts: Counter[str], words: Iterable[str]) -> dict[str, int]:
    return {word: counts[word] for word in words}
