"""Sentences are held against reviewed claims: the same, the contrary, or another number."""

from itertools import combinations, product
from typing import Any

import pytest

from backend.workloads.tasks.edm.matching import THRESHOLD, KnownClaims, Stance
from backend.workloads.tasks.edm.misinformation import detect
from backend.workloads.tasks.edm.shapes import Finding
from backend.workloads.tasks.edm.terms import stem, terms_of
from tests.benchmark import edm_matching

CLAIMS = (
    (1, "Tea cures the common cold."),
    (2, "Green tea contains more caffeine than black tea."),
    (3, "The harbour lost 20 percent of its ships since 1990."),
    (4, "Loud music does not damage the ear."),
    (5, "The lighthouse was visible from the island in 1990."),
)


@pytest.mark.parametrize(
    ("sentence", "claim", "stance"),
    [
        ("Tea cures the common cold.", 1, Stance.SAME),
        ("The common cold is cured by tea!", 1, Stance.SAME),
        ("Tea does not cure the common cold.", 1, Stance.OPPOSITE),
        ("It's a myth that tea cures the common cold.", 1, Stance.OPPOSITE),
        ("It is not true that tea does not cure the common cold.", 1, Stance.SAME),
        ("Green tea contains less caffeine than black tea.", 2, Stance.OPPOSITE),
        ("Black tea contains more caffeine than green tea.", 2, Stance.OPPOSITE),
        ("Black tea contains less caffeine than green tea.", 2, Stance.SAME),
        ("The harbour lost twenty percent of its ships since 1990.", 3, Stance.SAME),
        ("The harbour lost 70 percent of its ships since 1990.", 3, Stance.NUMBER),
        ("The harbour lost more than 20 percent of its ships since 1990.", 3, Stance.SAME),
        ("Loud music damages the ear.", 4, Stance.OPPOSITE),
        ("Loud music doesn't damage ears.", 4, Stance.SAME),
        ("The lighthouse was invisible from the island in 1990.", 5, Stance.OPPOSITE),
        ("The lighthouse was not invisible from the island in 1990.", 5, Stance.SAME),
        ("The lighthouse was visible from the island in 1989.", 5, Stance.NUMBER),
    ],
)
def test_negation_direction_sides_and_numbers_decide_the_stance(
    sentence: str, claim: int, stance: Stance
) -> None:
    match = KnownClaims(CLAIMS).match(sentence)
    assert match is not None
    assert (match.claim_id, match.stance) == (claim, stance)


@pytest.mark.parametrize(
    "sentence", ["The train was late.", "Tea is grown in the hills.", "It is not.", "7 8 9", ""]
)
def test_a_sentence_about_something_else_matches_none(sentence: str) -> None:
    assert KnownClaims(CLAIMS).match(sentence) is None
    assert KnownClaims([]).match(sentence) is None


def test_a_word_that_all_claims_share_makes_none_of_them_a_candidate() -> None:
    words = ["".join(letters) for letters in product("bdfk", repeat=4)]
    known = KnownClaims(
        (n, f"Tea helps a {word} and a {word[::-1]}k.") for n, word in enumerate(words)
    )
    stems = [stem(words[7]), stem("help"), "tea"]
    assert known._candidates(stems, known._size(stems)) == {7}


def test_what_is_passed_over_would_not_have_been_similar_enough() -> None:
    known = KnownClaims(CLAIMS)
    words = "tea cures common cold loud music ear harbour ship"
    for some in combinations(sorted(terms_of(words).stems), 4):
        stems = sorted(some, key=known._weight, reverse=True)
        size = known._size(stems)
        similar = {n: 2 * known._shared(stems, n) / (size + known._sizes[n]) for n, _ in CLAIMS}
        near = {n for n, similarity in similar.items() if similarity >= THRESHOLD}
        assert near <= known._candidates(stems, size)


def test_on_pairs_not_tuned_on_nearly_all_are_matched_with_their_claim_or_with_none() -> None:
    found = [(p, edm_matching.known().match(p.sentence)) for p in edm_matching.pairs("held-out")]
    right = sum(pair.right(match) for pair, match in found)
    assert right / len(found) >= 0.85
    near = [pair.right(match) for pair, match in found if match and match.similarity >= 0.7]
    assert sum(near) / len(near) >= 0.9  # what is said of its confidence


def asked(*messages: str, verdict: str = "refuted") -> dict[str, Any]:
    return {
        "user_id": 1,
        "parameters": {},
        "data": {
            "until": "2026-01-01T00:00:00Z",
            "left_out": 0,
            "interactions": [[number, said, False] for number, said in enumerate(messages, 1)],
            "claims": [[row_id, claim, verdict] for row_id, claim in CLAIMS],
            "claims_left_out": 0,
        },
    }


@pytest.mark.parametrize(
    ("verdict", "sentence", "finding"),
    [
        ("refuted", "Tea cures the common cold.", Finding.REFUTED),
        ("refuted", "Tea does not cure the common cold.", Finding.CONSISTENT),
        ("supported", "Tea cures the common cold.", Finding.CONSISTENT),
        ("supported", "Tea does not cure the common cold.", Finding.REFUTED),
        ("supported", "The harbour lost 70 percent of its ships since 1990.", Finding.UNCLEAR),
        ("misleading", "Tea cures the common cold.", Finding.MISLEADING),
        ("misleading", "Tea does not cure the common cold.", Finding.UNCLEAR),
        ("unproven", "Tea cures the common cold.", Finding.UNPROVEN),
        ("refuted", "I believe that tea cures the common cold.", Finding.REFUTED),
        ("refuted", "I don't believe that tea cures the common cold.", Finding.CONSISTENT),
        ("refuted", "The train was late.", Finding.NOT_IN_KNOWLEDGE_BASE),
    ],
)
def test_a_verdict_carries_over_where_the_stance_allows_it(
    verdict: str, sentence: str, finding: Finding
) -> None:
    result = detect(asked(sentence, verdict=verdict))
    assert {word for word, count in result["counts"].items() if count} == {finding.value}


def test_a_question_or_a_request_claims_nothing() -> None:
    result = detect(asked("Does tea cure the common cold? Please drink tea. Suppose tea cures it."))
    assert result["examined"]["claims"] == 0


def test_what_contradicts_the_reviews_most_surely_comes_first_and_the_list_ends() -> None:
    said = ["Tea does not cure the common cold.", "Hot tea cures many a common cold.",
            *["Tea cures the common cold."] * 250]  # fmt: skip
    result = detect(asked(*said))
    assert result["counts"]["refuted"] == 251
    assert len(result["findings"]) == 200
    assert result["findings_left_out"] == 52
    assert result["findings"][0]["similarity"] == 1.0
    assert {one["finding"] for one in result["findings"]} == {"refuted"}
