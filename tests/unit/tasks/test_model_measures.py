"""Figures of a classifier against what a hand computes; which side a text is on."""

import math

import pytest

from backend.workloads.tasks.models.measuring import measure, wilson
from backend.workloads.tasks.models.model import Split
from backend.workloads.tasks.models.samples import HELD_OUT, digest, side
from backend.workloads.tasks.models.schemas import SampleLine


def test_shares_of_a_confusion_matrix() -> None:
    true = ["a", "a", "a", "b", "b", "c"]
    said = ["a", "a", "b", "b", "a", "a"]

    found = measure(true, said, trained={"a": 5, "b": 7, "d": 1})

    assert found.accuracy == pytest.approx(3 / 6)
    assert found.confusion_matrix.labels == ["a", "b", "c", "d"]
    assert found.confusion_matrix.rows == [[2, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    of_a, of_b, of_c, of_d = found.classes
    assert (of_a.support, of_a.precision, of_a.recall) == (3, 2 / 4, 2 / 3)
    assert of_a.f1 == pytest.approx(4 / 7)
    assert (of_b.support, of_b.precision, of_b.recall, of_b.f1) == (2, 1 / 2, 1 / 2, 1 / 2)
    assert (of_c.support, of_c.precision, of_c.recall, of_c.f1) == (1, None, 0, None)
    assert (of_d.support, of_d.precision, of_d.recall, of_d.f1) == (0, None, None, None)


def test_the_baseline_is_the_label_that_was_trained_on_most() -> None:
    found = measure(["a", "a", "b"], ["a", "a", "b"], trained={"b": 9, "a": 8})

    assert (found.majority_baseline.label, found.majority_baseline.accuracy) == ("b", 1 / 3)
    assert found.beats_baseline
    assert not measure(["b"], ["b"], trained={"b": 9, "a": 8}).beats_baseline
    assert measure(["a"], ["a"], trained={"b": 3, "a": 3}).majority_baseline.label == "a"


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    # (2 x + z^2 -+ z sqrt(z^2 + 4 x (n - x) / n)) / 2 (n + z^2) with z = 1.959964, by hand
    [(8, 10, 0.490162, 0.943318), (0, 5, 0.0, 0.434482), (5, 5, 0.565518, 1.0)],
)
def test_wilsons_interval(hits: int, of: int, low: float, high: float) -> None:
    found = wilson(hits, of)

    assert found.low == pytest.approx(low, abs=1e-6)
    assert found.high == pytest.approx(high, abs=1e-6)
    assert found.confidence == 0.95


def test_wilsons_interval_mirrors_and_narrows() -> None:
    few, many = wilson(3, 10), wilson(300, 1000)

    assert wilson(7, 10).low == pytest.approx(1 - few.high)
    assert few.low < many.low < 0.3 < many.high < few.high


def test_a_text_is_the_same_whatever_its_case_its_spaces_and_its_composition() -> None:
    assert digest("Caf\u00e9  au\nlait ") == digest("cafe\u0301 AU lait")
    assert digest("tea") != digest("teas")


def test_a_fifth_of_all_texts_is_held_out_always_the_same() -> None:
    sides = [side(digest(f"text number {number}")) for number in range(5000)]

    held_out = sides.count(Split.TEST) / len(sides)
    assert math.isclose(held_out, HELD_OUT / 256, abs_tol=0.02)
    assert sides == [side(digest(f"text number {number}")) for number in range(5000)]


def test_a_sample_without_a_side_gets_its_own_and_one_with_keeps_it() -> None:
    line = {"model_name": "m", "text": "some text", "label": "l"}

    assert SampleLine.model_validate(line).split is side(digest("some text"))
    for given in Split:
        told = SampleLine.model_validate({**line, "split": given.value})
        assert told.split is given
        assert told.model_dump(mode="json")["digest"] == f"\\x{digest('some text').hex()}"
