"""A message is taken apart into its author's own sentences, each where it stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.workloads.tasks.edm.citations import cited, cites_what_is_before
from backend.workloads.tasks.edm.sentences import sentences_of


def texts(message: str) -> list[str]:
    return [one.text for one in sentences_of(message)]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("One is. Two are! Three?", ["One is.", "Two are!", "Three?"]),
        ("It rose by 3.5 percent. Then it fell.", ["It rose by 3.5 percent.", "Then it fell."]),
        ("Dr. Smith met J. Doe, e.g. at noon. He left.",
         ["Dr. Smith met J. Doe, e.g. at noon.", "He left."]),
        ("See https://a.example.test/x.html for it. Done.",
         ["See https://a.example.test/x.html for it.", "Done."]),
        ('"It works." She nodded.', ['"It works."', "She nodded."]),
        ("Wait... what happened?", ["Wait... what happened?"]),
        ("no full stop\nbut a line that runs on", ["no full stop\nbut a line that runs on"]),
        ("No full stop\nA line of its own", ["No full stop", "A line of its own"]),
        ("- first point\n- second point\n2. third", ["first point", "second point", "third"]),
        ("Mine.\n> Yours is quoted.\nMine again.", ["Mine.", "Mine again."]),
        ("Before.\n```\nx = 1. Y = 2.\n```\nAfter.", ["Before.", "After."]),
        ("So am I. You too.", ["So am I.", "You too."]),
        ("(All of it.) Some more.", ["(All of it.)", "Some more."]),
        ("1, 2, 3.", []),
        ("", []),
    ],
)  # fmt: skip
def test_sentences_end_where_a_reader_ends_them(message: str, expected: list[str]) -> None:
    assert texts(message) == expected


@given(st.text(alphabet="aB. !?\n`>-\"'(1\u2026\u00e9", max_size=200))
def test_every_sentence_stands_where_it_says_after_the_one_before_it(message: str) -> None:
    end = 0
    for one in sentences_of(message):
        assert one.start >= end
        end = one.start + len(one.text)
        assert message[one.start : end] == one.text


@pytest.mark.parametrize(
    "sentence",
    [
        "It fell by a third (Meyer and Okafor, 2017).",
        "It fell by a third, as Meyer et al. (2017) found.",
        "It fell by a third [4, 7].",
        "It fell by a third: https://stats.example.test/1.",
        "It fell by a third, doi:10.1000/182.",
        "RFC 9110 forbids it.",
        "According to the Office of Statistics it fell.",
        "It fell, source: annual accounts.",
        "It fell (annual report, page 12).",
        "It was fixed in BUILD-1182.",
        "In a survey by Gallup it fell.",
    ],
)
def test_a_source_that_can_be_looked_up_is_a_citation(sentence: str) -> None:
    assert cited(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "Studies show that it fell.",
        "According to experts it fell.",
        "It fell (and rose again).",
        "It fell in 2017.",
        "It fell, as everybody knows.",
        "The source of the river is here.",
        "See for yourself.",
    ],
)
def test_what_nobody_could_look_up_is_none(sentence: str) -> None:
    assert not cited(sentence)


def test_a_sentence_of_nothing_but_a_source_speaks_for_the_one_before() -> None:
    assert cites_what_is_before("Source: https://stats.example.test/2")
    assert cites_what_is_before("(see Meyer and Okafor, 2017)")
    assert not cites_what_is_before("It fell, see https://stats.example.test/2")
    assert not cites_what_is_before("See you later.")
