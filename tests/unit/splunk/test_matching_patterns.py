"""Patterns: what they match, what is not read, and that no pattern takes long."""

import re
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.problems import Unsupported
from backend.workloads.splunk.matching.automaton import Automaton, Work
from backend.workloads.splunk.matching.expressions import REGEX, Dialect, parse
from backend.workloads.splunk.matching.patterns import (
    CLIENT,
    HOST,
    SOURCE,
    WINDOWS_SOURCE,
    Edges,
    Pattern,
    may_match,
    source_dialect,
)
from backend.workloads.splunk.matching.syntax import Unreadable


def matches(pattern: str, name: str, dialect: Dialect) -> bool:
    found = Pattern(pattern, dialect, Work()).matches(name)
    if found and dialect is not REGEX:
        # What is ruled out by its edges or parts alone must not match: it is not even compiled.
        assert Edges.of(pattern, dialect).fit(name)
        assert may_match(pattern, dialect, name)
    return found


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("/var/log/*.log", "/var/log/a.log", True),
        ("/var/log/*.log", "/var/log/.log", True),
        ("/var/log/*.log", "/var/log/a/b.log", False),
        ("/var/.../b.log", "/var/log/a/b.log", True),
        ("/var/...", "/var/", True),
        ("...", "", True),
        ("....log", "/a.log", True),
        ("....log", "/alog", False),
        ("/a.b", "/aXb", False),
        (r"/a\x2eb", "/a.b", True),
        (r"/a\x62", "/ab", True),
        (r"/a\\x62", r"/a\x62", True),
        ("/a/(b|c).log", "/a/c.log", True),
        ("/a/(b|c).log", "/a/bc.log", False),
        ("/a|/b", "/b", True),
        ("/a|/b", "/a/b", False),
        ("....(?<!tar.)(gz|bz2)", "/x/y.gz", True),
        ("....(?<!tar.)(gz|bz2)", "/x/y.tar.gz", False),
        ("/x(?=/y).../z", "/x/y/z", True),
        ("/x(?!/y).../z", "/x/y/z", False),
        ("/log[0-9]+.txt", "/log42.txt", True),
        ("/log[^0-9].txt", "/log4.txt", False),
        ("/log\\d{2}.txt", "/log42.txt", True),
        ("/log\\d{2}.txt", "/log421.txt", False),
        ("/logs?/x", "/log/x", True),
        ("/Var", "/var", False),
        ("(?i)/Var", "/var", True),
        ("/a(?i:B)c", "/abc", True),
        ("/a(?i:B)c", "/abC", False),
        ("/a(?<name>b)", "/ab", True),
        ("/ü*", "/üñ", True),
        ("^/a$", "/a", True),
        ("/a\\.b\\*", "/a.b*", True),
    ],
)
def test_sources(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name, SOURCE) is expected


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("C:\\\\logs\\\\*.log", "C:\\logs\\a.log", True),
        ("C:\\\\logs\\\\*.log", "C:\\logs\\x\\a.log", False),
        ("C:\\\\logs\\\\...\\\\a.log", "C:\\logs\\x\\y\\a.log", True),
    ],
)
def test_a_star_stops_at_the_separator_of_windows(pattern: str, name: str, expected: bool) -> None:
    assert source_dialect(name) is WINDOWS_SOURCE
    assert matches(pattern, name, WINDOWS_SOURCE) is expected


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("WEB*", "web01", True),
        ("web", "web01", False),
        ("(?-i)web", "WEB", False),
        ("(?-i)web", "web", True),
        ("*.example.test", "a.EXAMPLE.test", True),
        ("10.1.*", "10.1.2.3", True),
        ("10.1.*", "10x1.2.3", False),
    ],
)
def test_hosts_and_clients_match_in_any_case(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name, HOST) is expected
    assert matches(pattern, name, CLIENT) is expected


@pytest.mark.parametrize(
    ("pattern", "literal"),
    [
        ("/a/b.log", "/a/b.log"),
        ("c:\\\\x\\\\y.txt", "c:\\x\\y.txt"),
        ("/a\\*", "/a*"),
        ("/a*", None),
        ("/a.../b", None),
        ("/(a)", "/a"),
        ("/a?", None),
    ],
)
def test_a_pattern_without_choices_is_literal(pattern: str, literal: str | None) -> None:
    assert Pattern(pattern, SOURCE, Work()).literal == literal


@pytest.mark.parametrize(
    "pattern",
    [
        "(a", "a)", "[a", "a\\", "?a", "+", "a??+", "a{2}{3}", "a{3,2}", "a{9999}", "(?>a)", "\\1",
        "(?P=x)", "(?R)", "(?(1)a)", "a++", "[z-a]", "[[:nope:]]", "\\p{L}", "(*FAIL)",
        "(" * 50 + ")" * 50, "a" * 5000, "(a{1000}){1000}", "((?=a){100}){100}",
    ],
)  # fmt: skip
def test_what_is_broken_or_not_modelled_is_unreadable(pattern: str) -> None:
    with pytest.raises(Unreadable):
        Pattern(pattern, SOURCE, Work()).matches("a")


@pytest.mark.parametrize(
    "pattern",
    [
        "(a*)*(a*)*b" * 100,
        "(((){1000}){1000}){1000}",
        "(a|a)*" * 200,
        "(a?){500}a{500}",
        "(|)*" * 500,
    ],
)
def test_no_pattern_takes_long(pattern: str) -> None:
    started = time.process_time()

    with suppress(Unsupported, Unreadable):  # that it is too much is an answer
        Pattern(pattern, REGEX, Work(200_000)).matches("a" * 2000)

    assert time.process_time() - started < 5


def test_a_class_of_many_ranges_takes_the_work_of_them_all() -> None:
    chars = "".join(chr(0x1000 + 2 * n) for n in range(1500))
    text = "".join(chr(0x3000 + n) for n in range(2000))

    with pytest.raises(Unsupported):
        Pattern(f"(?s).*[{chars}]", REGEX, Work(200_000)).matches(text)


def test_work_is_counted_over_all_patterns_of_a_question() -> None:
    work = Work(1000)

    def ask() -> None:
        for number in range(1000):
            Pattern(f"...{number}", SOURCE, work).matches("/some/where")

    with pytest.raises(Unsupported) as raised:
        ask()
    assert raised.value.code == "too-complex"


def test_what_is_kept_of_one_pattern_is_bounded() -> None:
    automaton = Automaton(parse("(.*a.{8}b)*", REGEX), Work())
    for number in range(300):
        automaton.matches(f"{number:b}".replace("0", "a").replace("1", "b") * 5)

    assert automaton._kept <= 20_000 + 1000


LETTERS = st.sampled_from("ab/.")
PIECES = st.one_of(
    st.sampled_from(["a", "b", "/", "\\.", "[ab]", "[^a]", ".", "^", "$", "\\w"]),
    st.sampled_from(["(?=a)", "(?!b)", "(?<=a)", "(?<!a)"]),
)
EXPRESSIONS = st.recursive(
    PIECES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}", "*?"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(EXPRESSIONS, st.text(LETTERS, max_size=7))
def test_expressions_match_as_any_engine_says(expression: str, text: str) -> None:
    try:
        expected = re.fullmatch(expression, text) is not None
    except re.error:
        return
    assert matches(expression, text, REGEX) is expected


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text("a.*/A", max_size=9), st.text("aA/.", max_size=7), st.sampled_from([SOURCE, HOST]))
def test_sources_and_hosts_match_as_any_engine_says(text: str, name: str, dialect: Dialect) -> None:
    wild = {"...": ".*", "*": "[^/]*"}
    pieces = re.findall(r"\.\.\.|.", text)
    flags = re.DOTALL | (re.IGNORECASE if dialect.folded else re.NOFLAG)
    expected = re.fullmatch("".join(wild.get(it, re.escape(it)) for it in pieces), name, flags)

    assert matches(text, name, dialect) is (expected is not None)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text("a*./|()\\b?{}[]0", max_size=12), st.text("ab/.*", max_size=8))
def test_any_text_is_matched_or_told_to_be_unreadable(pattern: str, name: str) -> None:
    with suppress(Unreadable):
        assert matches(pattern, name, SOURCE) in {True, False}
