"""What sentences owe. How good the rules are is measured; here, that they do what they say."""

import time
from collections import Counter

import pytest

from backend.workloads.tasks.data_model import DebtKind, Severity
from backend.workloads.tasks.edm.checking import check, check_message
from backend.workloads.tasks.edm.likeness import from_examples
from backend.workloads.tasks.edm.recommending import recommendations
from backend.workloads.tasks.edm.speech import Speech, speech_of
from backend.workloads.tasks.edm.wording import load, plain
from tests.benchmark import edm_claims

UNVERIFIED, VAGUE, UNFALSIFIABLE = DebtKind.UNVERIFIED, DebtKind.VAGUE, DebtKind.UNFALSIFIABLE


@pytest.mark.parametrize(("batch", "half"), [(1, "held-out"), (3, "all"), (4, "all")])
def test_on_sentences_not_tuned_on_every_kind_does_better_than_flagging_everything(
    batch: int, half: str
) -> None:
    sentences = edm_claims.labelled(half, batch)

    for label, (own, everything) in edm_claims.scores(sentences).items():
        assert own.f1 > everything.f1, label
    own, everything = edm_claims.flagged(sentences)
    assert own.f1 > everything.f1
    assert own.precision > 0.9


def test_no_sentence_that_is_measured_is_an_example() -> None:
    examples = {said for kind in load("examples").values() for said in kind}
    for batch, half in ((1, "held-out"), (3, "all"), (4, "all")):
        assert not examples & {one.sentence for one in edm_claims.labelled(half, batch)}


def test_what_is_unlike_all_examples_is_taken_for_unverified_and_no_example_is_mistaken() -> None:
    likeness = from_examples()
    assert likeness.kind_of("qwertz uiop") is UNVERIFIED
    assert likeness.kind_of("") is UNVERIFIED
    for kind, examples in load("examples").items():
        taken = [likeness.kind_of(plain(said)) for said in examples]
        assert taken.count(DebtKind(kind)) >= 0.95 * len(examples)


def test_two_hundred_sentences_and_more_were_labelled_first() -> None:
    sentences = edm_claims.labelled()
    assert len(sentences) >= 200
    assert len({one.sentence for one in sentences}) == len(sentences)
    assert {label for one in sentences for label in one.labels} == {*DebtKind, "none"}
    assert all(one.labels == {"none"} or "none" not in one.labels for one in sentences)


@pytest.mark.parametrize(
    ("said", "speech"),
    [
        ("does tea help against colds?", Speech.QUESTION),
        ("please check the third row.", Speech.REQUEST),
        ("if it hangs, restart the worker.", Speech.REQUEST),
        ("you should drink more water.", Speech.REQUEST),
        ("i think that tea helps.", Speech.OPINION),
        ("suppose that tea helps.", Speech.SUPPOSITION),
        ("i drank tea this morning.", Speech.PERSONAL),
        ("thanks for the tea!", Speech.PERSONAL),
        ("tea helps against colds.", Speech.ASSERTION),
        ("no tea helps against colds.", Speech.ASSERTION),
    ],
)
def test_only_an_assertion_asks_others_to_believe_it(said: str, speech: Speech) -> None:
    assert speech_of(said) is speech


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("Tea cures colds within 3 days.", UNVERIFIED),
        ("It all happens for a reason.", UNFALSIFIABLE),
        ("Tea somehow makes various things better.", VAGUE),
        ("The cup is on the table.", None),
        ("Does tea cure colds within 3 days?", None),
    ],
)
def test_a_sentence_owes_at_most_one_thing(sentence: str, kind: DebtKind | None) -> None:
    found = check(sentence, cited=False)
    assert (found and found.kind) == kind


def test_a_source_settles_what_can_be_looked_up_and_nothing_else() -> None:
    assert check("Tea cures colds within 3 days.", cited=True) is None
    for sentence in ("It all happens for a reason.", "Tea somehow makes various things better."):
        assert check(sentence, cited=True) == check(sentence, cited=False) is not None


def test_a_source_in_the_sentence_or_the_next_one_or_with_the_message_counts() -> None:
    def owed(message: str, *, cited: bool = False) -> list[str]:
        checked = check_message(message, cited=cited)
        return [one.sentence.text for one in checked if one.found is not None]

    claim = "Tea cures colds within 3 days."
    assert owed(f"{claim} Nobody drinks it.") == [claim, "Nobody drinks it."]
    assert owed(f"{claim} Source: https://tea.example.test/1. Nobody drinks it.") == [
        "Nobody drinks it."
    ]
    assert owed("Tea cures colds within 3 days [2]. Nobody drinks it.") == ["Nobody drinks it."]
    assert owed(f"{claim} Nobody drinks it.", cited=True) == []
    assert owed("") == []


@pytest.mark.parametrize(
    ("sentence", "severity"),
    [
        ("Somehow the colours look nicer.", Severity.LOW),
        ("The wall was painted because it rained.", Severity.LOW),
        ("Tea causes headaches in 3 percent of guests.", Severity.MEDIUM),
        ("Fate brought the team together.", Severity.MEDIUM),
        ("Tea causes cancer in 3 percent of guests.", Severity.HIGH),
        ("Tea always cures cancer within 3 days.", Severity.CRITICAL),
        ("The universe always gives you the right medicine.", Severity.CRITICAL),
    ],
)
def test_what_is_at_stake_and_how_sure_it_sounds_make_it_severe(
    sentence: str, severity: Severity
) -> None:
    found = check(sentence, cited=False)
    assert found is not None
    assert found.severity is severity


def test_what_is_recommended_begins_with_the_grave_and_goes_on_with_the_frequent() -> None:
    kinds = Counter[str]({UNVERIFIED: 1, VAGUE: 4})
    severities = Counter[str]({Severity.CRITICAL: 2})
    advised = recommendations(kinds, severities)
    assert [(one["kind"], one["debts"]) for one in advised] == [
        (None, 2),
        (VAGUE, 4),
        (UNVERIFIED, 1),
    ]
    assert recommendations(Counter(), Counter()) == []


@pytest.mark.parametrize(
    "piece",
    ["a ", "if maybe it ", "(Aa 1999 ", "A. ", "the reason nobody that ", "would have really ",
     "xy" * 50, "is not now much ", "Xx et al. ", "1.1,", "\n- ", '" '],
)  # fmt: skip
def test_a_hostile_message_costs_no_more_than_its_length(piece: str) -> None:
    message = (piece * 20_000)[:20_000]
    began = time.process_time()
    check_message(message, cited=False)
    assert time.process_time() - began < 1.0  # of processor time; some 0.03 s where it is idle
