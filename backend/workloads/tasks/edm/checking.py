"""What a sentence owes: by rules, then by likeness. See docs/tasks/edm.md for how good that is."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from backend.workloads.tasks.data_model import DebtKind, Severity
from backend.workloads.tasks.edm import citations
from backend.workloads.tasks.edm.likeness import from_examples
from backend.workloads.tasks.edm.sentences import Sentence, sentences_of
from backend.workloads.tasks.edm.severity import severity_of
from backend.workloads.tasks.edm.speech import Speech, speech_of
from backend.workloads.tasks.edm.unfalsifiable import rule_against
from backend.workloads.tasks.edm.vagueness import THRESHOLD, vagueness
from backend.workloads.tasks.edm.verifiable import sign_of
from backend.workloads.tasks.edm.wording import plain

TOO_VAGUE: Final = "Its wording leaves open what would count for or against it."
LIKE: Final = {
    DebtKind.UNFALSIFIABLE: "It is worded like claims that no observation could speak against.",
    DebtKind.VAGUE: "It is worded like claims that leave open what would count against them.",
}
_LIKENESS: Final = from_examples()


@dataclass(frozen=True, slots=True)
class Found:
    """What one sentence owes, and why."""

    kind: DebtKind
    severity: Severity
    reason: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A sentence; whether it asserts something that others may believe; and what it owes for it."""

    sentence: Sentence
    claim: bool
    found: Found | None


def check(sentence: str, *, cited: bool) -> Found | None:
    """What ``sentence`` owes; ``cited``: it is said where its claim can be looked up.

    A source settles what can be looked up, and neither of the other kinds.
    """
    said = plain(sentence)
    return _owed(said, cited=cited) if speech_of(said) is Speech.ASSERTION else None


def check_message(message: str, *, cited: bool) -> list[Checked]:
    """Every sentence of a message; ``cited``: it came with sources of its own."""
    checked = []
    for one, after in pairwise([*sentences_of(message), None]):
        assert one is not None  # the last has no successor of its own
        said = plain(one.text)
        claim = speech_of(said) is Speech.ASSERTION
        found = _owed(said, cited=cited or _sourced(one, after)) if claim else None
        checked.append(Checked(one, claim, found))
    return checked


def _owed(said: str, *, cited: bool) -> Found | None:
    if (rule := rule_against(said)) is not None:
        return _found(DebtKind.UNFALSIFIABLE, rule.reason, said)
    if vagueness(said) >= THRESHOLD:
        return _found(DebtKind.VAGUE, TOO_VAGUE, said)
    if cited:
        return None
    if (kind := _LIKENESS.kind_of(said)) is not DebtKind.UNVERIFIED:
        return _found(kind, LIKE[kind], said)
    sign = sign_of(said)
    return None if sign is None else _found(DebtKind.UNVERIFIED, sign, said)


def _sourced(sentence: Sentence, after: Sentence | None) -> bool:
    return citations.cited(sentence.text) or (
        after is not None and citations.cites_what_is_before(after.text)
    )


def _found(kind: DebtKind, reason: str, said: str) -> Found:
    return Found(kind, severity_of(kind, said), reason)
