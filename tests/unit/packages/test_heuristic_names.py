"""Names that may be taken for each other, and those that may not."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.workloads.packages.heuristics import names
from backend.workloads.packages.heuristics.names import keys, likeness, likenesses

WORDS = st.text("aabmnrv01-.", min_size=1, max_size=7)
NAMES = st.one_of(WORDS, st.builds("@{}/{}".format, WORDS, WORDS))


@pytest.mark.parametrize(
    ("name", "other", "by"),
    [
        ("expres", "express", "a missing character"),
        ("expresss", "express", "a doubled character"),
        ("exxpress", "express", "a doubled character"),
        ("expreess", "express", "a doubled character"),
        ("expressa", "express", "an added character"),
        ("exrpess", "express", "two swapped characters"),
        ("exprwss", "express", "a neighbouring key"),
        ("expross", "express", "a replaced character"),
        ("reacy", "react", "a neighbouring key"),
        ("onec", "once", "two swapped characters"),
        ("express2", "express", "an added character"),
        ("crossenv", "cross-env", "separators"),
        ("cross.env", "cross-env", "separators"),
        ("cross_en-v", "cross-env", "separators"),
        ("l0dash", "lodash", "characters that look alike"),
        ("1odash", "lodash", "characters that look alike"),
        ("rnoment", "moment", "characters that look alike"),
        ("vvebpack", "webpack", "characters that look alike"),
        ("1-0dash", "lodash", "characters that look alike"),
        ("babel-core", "@babel/core", "a scope"),
        ("babelcore", "@babel/core", "a scope"),
        ("@bable/core", "@babel/core", "two swapped characters"),
        ("@babels/core", "@babel/core", "an added character"),
        ("@ba-bel/core", "@babel/core", "separators"),
        ("jsonstream", "JSONStream", "capital letters"),
        ("JSONStraem", "jsonstream", "two swapped characters"),
    ],
)
def test_a_name_that_may_be_taken_for_another_is_told_with_what_it_differs_by(
    name: str, other: str, by: str
) -> None:
    assert likeness(name, other) == by
    assert likeness(other, name) is not None


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("express", "express"),
        ("express", "koa"),
        ("expr", "express"),
        ("exress", "expresso"),  # two errors
        ("ws", "ms"),  # too short to tell
        ("qs", "q"),
        ("lead", "read"),  # another word
        ("@babel/plugin-a", "@babel/plugin-b"),  # one owner
        ("@types/node", "node"),
        ("@types/nodes", "@babel/node"),
        ("@aaaa/core", "core"),
        ("es2015-modules", "es2016-modules"),  # versions of one thing
        ("node10", "node1"),
        ("", ""),
    ],
)
def test_other_names_are_not_alike(name: str, other: str) -> None:
    assert likeness(name, other) is None
    assert likeness(other, name) is None


@given(NAMES, NAMES)
@settings(max_examples=60)
def test_to_be_alike_is_mutual_and_seen_in_a_key_that_both_have(one: str, two: str) -> None:
    assert (likeness(one, two) is None) == (likeness(two, one) is None)
    if likeness(one, two):
        assert {*keys(one)} & {*keys(two)}


@given(st.sets(NAMES, max_size=12))
@settings(max_examples=60)
def test_of_many_names_every_pair_is_found(asked: set[str]) -> None:
    expected = {frozenset(pair) for pair in combinations(asked, 2) if likeness(*pair)}
    found = {frozenset((name, other)) for name, others in likenesses(asked).items()
             for other in others}  # fmt: skip
    assert found <= expected
    named = {name for name, others in likenesses(asked).items() if len(others) < names.MOST}
    assert {pair for pair in expected if pair & named} <= found


def test_an_answer_does_not_depend_on_the_order_and_is_short() -> None:
    crowd = [f"packag{letter}" for letter in "abcdefghij"]
    found = likenesses(crowd)
    assert found == likenesses(reversed(crowd))
    assert {len(others) for others in found.values()} == {names.MOST}
    assert found["packagj"] == ("packaga", "packagb", "packagc", "packagd", "package")


def test_names_that_are_all_alike_are_not_all_compared_with_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hostile lock: each name shares every key with nineteen others."""
    asked = 0

    def counted(_one: str, _two: str) -> str:
        nonlocal asked
        asked += 1
        return "a character"

    monkeypatch.setattr(names, "likeness", counted)
    letters = "abcdefghijklmnopqrst"
    crowd = [f"{a}{b}{c}e" for a in letters for b in letters for c in letters[:5]]
    found = likenesses(crowd)
    assert found.keys() == {*crowd}
    assert asked < 40 * len(crowd) < len(crowd) ** 2 / 20


@pytest.mark.parametrize("length", [4, 214])
def test_a_lock_of_thousands_of_names_costs_no_more_than_a_large_one(
    monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """Long names have many keys, and short ones many others that share them."""
    asked = made = 0

    def counted(_one: str, _two: str) -> None:
        nonlocal asked
        asked += 1

    def counting(word: str) -> list[str]:
        nonlocal made
        made += len(word)
        return one_less(word)

    one_less = names._one_less
    monkeypatch.setattr(names, "likeness", counted)
    monkeypatch.setattr(names, "_one_less", counting)
    monkeypatch.setattr(names, "_KEYS", 2_000)
    monkeypatch.setattr(names, "_COMPARED", 1_000)
    crowd = [f"{number:04}".translate(str.maketrans("01", "ab")) for number in range(2_000)]
    likenesses(name.rjust(length, "x") for name in crowd)
    assert made <= 2_000 + length
    assert 0 < asked <= 1_000 or length > 4


def test_neither_long_names_nor_crowds_hide_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_KEYS", 3_000)
    monkeypatch.setattr(names, "_COMPARED", 200)
    letters = "abcdefghijklmnopqrst"
    padding = [f"z{a}{b}z" for a in letters for b in letters] + ["y" * 200 + a for a in letters]
    found = likenesses([*padding, "express", "expres", "cross-env", "crossenv"])
    assert found["express"] == ("expres",)
    assert found["cross-env"] == ("crossenv",)
