"""The text classifier and its artefact: what it learns, what its hash depends on."""

from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest

from backend.workloads.tasks.models.artefact import Unreadable, packed, sha256, unpacked
from backend.workloads.tasks.models.classifier import (
    FEWEST_EPOCHS,
    MOST_EPOCHS,
    Classifier,
    epochs_for,
    train,
)
from backend.workloads.tasks.models.measuring import measure
from tests.tickets import tickets

USUAL = 0.5


@cache
def trained(samples: int = 100, learning_rate: float = USUAL) -> Classifier:
    texts, labels = zip(*tickets(samples), strict=True)
    return train(texts, labels, learning_rate=learning_rate)


def artefact(samples: int = 100, learning_rate: float = USUAL) -> bytes:
    return packed(
        trained(samples, learning_rate),
        trained=dict(Counter(label for _, label in tickets(samples))),
        samples=[],
        learning_rate=USUAL,  # not what differs: that is to be seen in the numbers
        epochs=1,
    )


def test_it_beats_the_majority_on_texts_that_it_has_not_seen() -> None:
    seen = dict(tickets(100))
    unseen = [(text, label) for text, label in tickets(300, seed=8) if text not in seen]
    texts, true = zip(*unseen, strict=True)

    found = measure(true, trained().predictor()(texts), trained={"billing": 2, "login": 1})

    assert found.accuracy_interval.low > found.majority_baseline.accuracy + 0.2


def test_equal_samples_give_equal_bytes() -> None:
    texts, labels = zip(*tickets(40), strict=True)
    one, other = (train(texts, labels, learning_rate=USUAL) for _ in range(2))

    made = [packed(each, trained={}, samples=["b" * 64, "a" * 64], learning_rate=1, epochs=1)
            for each in (one, other)]  # fmt: skip

    assert made[0] == made[1]
    assert made[0] == packed(
        one, trained={}, samples=["a" * 64, "b" * 64], learning_rate=1, epochs=1
    )


def test_the_learning_rate_and_the_number_of_samples_change_what_is_learned() -> None:
    hashes = {sha256(artefact(*made)) for made in ((100, USUAL), (100, 0.1), (101, USUAL))}

    assert len(hashes) == 3
    assert (trained().weights != trained(100, 0.1).weights).any()


def test_two_labels_share_one_row_of_weights() -> None:
    pairs = [sample for sample in tickets(120) if sample[1] != "delivery"]
    texts, labels = zip(*pairs, strict=True)
    learned = train(texts, labels, learning_rate=USUAL)

    header, read = unpacked(packed(learned, trained={}, samples=[], learning_rate=1, epochs=1))

    assert (header.labels, read.weights.shape[0]) == (["billing", "login"], 1)
    assert read.predictor()(texts) == list(labels)


def test_what_is_read_answers_as_what_was_written() -> None:
    texts = [text for text, _ in tickets(200, seed=8)] + ["", "?", "\U0001f600 nothing known"]
    header, read = unpacked(artefact())

    assert read.predictor()(texts) == trained().predictor()(texts)
    assert header.words == trained().words.terms
    assert header.trained["billing"] > header.trained["delivery"]


def test_texts_without_terms_teach_nothing() -> None:
    with pytest.raises(ValueError, match="empty vocabulary"):
        train(["?", "!"], ["a", "b"], learning_rate=USUAL)


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "pickle": lambda _: b"\x80\x04\x95pickle",
    "deep": lambda _: b"[" * 100_000 + b"\n",
    "cut": lambda whole: whole[:-1],
    "longer": lambda whole: whole + b"\0",
    "no number": lambda whole: whole[:-4] + b"\x00\x00\xc0\x7f",
    "another format": lambda whole: whole.replace(b'"format":', b'"farmat":', 1),
    "a label twice": lambda whole: whole.replace(b'["billing"', b'["login"', 1),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_is_no_artefact_is_refused(broken: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Unreadable):
        unpacked(broken(artefact()))


def test_few_samples_are_seen_more_often() -> None:
    assert [epochs_for(samples) for samples in (10, 400, 20_000)] == [
        MOST_EPOCHS, 50, FEWEST_EPOCHS,
    ]  # fmt: skip
