"""What was said, held against reviewed claims: the child's part."""

from collections import Counter
from typing import Any, Final, NamedTuple

from backend.queue.reporting import report
from backend.workloads.tasks.data_model import Verdict
from backend.workloads.tasks.edm.matching import KnownClaims, Match, Stance
from backend.workloads.tasks.edm.sentences import Sentence, sentences_of
from backend.workloads.tasks.edm.shapes import Finding
from backend.workloads.tasks.edm.speech import Speech, speech_of
from backend.workloads.tasks.edm.wording import plain

MOST_LISTED: Final = 200
SHOWN: Final = 300  # characters of a sentence in the result
EVERY: Final = 200  # interactions between two words on how far it is

# Rows: what the review says; columns: how the sentence stands to the reviewed claim.
_OF: Final[dict[tuple[Verdict, Stance], Finding]] = {
    (Verdict.REFUTED, Stance.SAME): Finding.REFUTED,
    (Verdict.REFUTED, Stance.OPPOSITE): Finding.CONSISTENT,
    (Verdict.SUPPORTED, Stance.SAME): Finding.CONSISTENT,
    (Verdict.SUPPORTED, Stance.OPPOSITE): Finding.REFUTED,
    (Verdict.MISLEADING, Stance.SAME): Finding.MISLEADING,
    (Verdict.UNPROVEN, Stance.SAME): Finding.UNPROVEN,
}
_FIRST: Final = tuple(Finding)

CONFIDENCE: Final = ((0.7, 0.9), (0.0, 0.6))
"""From which similarity on, how often claim and stance were both right on labelled pairs, rounded
down; see ``tests/benchmark/edm_matching.py``."""


class Held(NamedTuple):
    """One sentence that repeats or contradicts a reviewed claim."""

    interaction_id: int
    sentence: Sentence
    match: Match
    verdict: Verdict

    @property
    def finding(self) -> Finding:
        return _OF.get((self.verdict, self.match.stance), Finding.UNCLEAR)

    @property
    def confidence(self) -> float:
        return next(share for least, share in CONFIDENCE if self.match.similarity >= least)

    def shown(self, claim: str) -> dict[str, Any]:
        return {
            "interaction_id": self.interaction_id,
            "sentence": self.sentence.text[:SHOWN],
            "finding": self.finding,
            "stance": self.match.stance,
            "similarity": round(self.match.similarity, 3),
            "confidence": self.confidence,
            "evidence": {"id": self.match.claim_id, "claim": claim, "verdict": self.verdict},
        }


def detect(asked: dict[str, Any]) -> dict[str, Any]:
    """The result of the task, but for the explanations and sources of the evidence."""
    data = asked["data"]
    reviewed = {row_id: (claim, Verdict(verdict)) for row_id, claim, verdict in data["claims"]}
    given = data["interactions"]
    known = KnownClaims((row_id, claim) for row_id, (claim, _) in reviewed.items())
    counts, held = Counter[Finding](), list[Held]()
    sentences = claims = 0
    for number, (interaction_id, message, _) in enumerate(given if reviewed else ()):
        if number % EVERY == 0:
            report(100 * number / len(given), f"looked at {number} of {len(given)} interactions")
        for sentence in sentences_of(message):
            sentences += 1
            if speech_of(plain(sentence.text)) not in (Speech.ASSERTION, Speech.OPINION):
                continue
            claims += 1
            match = known.match(sentence.text)
            if match is None:
                counts[Finding.NOT_IN_KNOWLEDGE_BASE] += 1
                continue
            held.append(Held(interaction_id, sentence, match, reviewed[match.claim_id][1]))
            counts[held[-1].finding] += 1
    held.sort(key=lambda one: (_FIRST.index(one.finding), -one.match.similarity))
    return {
        "status": "completed" if given and reviewed else "insufficient_data",
        "reason": _missing(bool(given), bool(reviewed)),
        "user_id": asked["user_id"],
        "until": data["until"],
        "reviewed_claims": len(reviewed),
        "reviewed_claims_left_out": data["claims_left_out"],
        "examined": {
            "interactions": len(given) if reviewed else 0,
            "interactions_left_out": data["left_out"],
            "sentences": sentences,
            "claims": claims,
        },
        "counts": {finding.value: counts[finding] for finding in Finding},
        "findings": [one.shown(reviewed[one.match.claim_id][0]) for one in held[:MOST_LISTED]],
        "findings_left_out": max(0, len(held) - MOST_LISTED),
    }


def _missing(given: bool, reviewed: bool) -> str | None:
    if not reviewed:
        return "The knowledge base holds no reviewed claim: nothing can be held against it."
    return None if given else "There is no interaction to check."
