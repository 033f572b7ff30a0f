"""Conf files by Splunk's rules: what is read, on which line, and what is warned of."""

import time
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.workloads.splunk.conf import holding, parsing, reading
from backend.workloads.splunk.conf.parsing import Parser, parse
from backend.workloads.splunk.conf.stanza import MOST_WARNINGS, Stanza, TooMuch


def said(text: str) -> dict[str, dict[str, str]]:
    return {stanza.name: stanza.settings for stanza in parse(text.encode()).stanzas}


def warned(text: str) -> list[tuple[str, int | None]]:
    return [(warning.code, warning.line) for warning in parse(text.encode()).warnings]


def only(text: str) -> Stanza:
    (stanza,) = parse(text.encode()).stanzas
    return stanza


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[web]\nhost=a\n port  =\t8089\t\n", {"web": {"host": "a", "port": "8089"}}),
        ("a = 1\n\n[s]\n", {"default": {"a": "1"}, "s": {}}),
        ("[default]\n[s]\nb = 2", {"default": {}, "s": {"b": "2"}}),
        ("# nothing\n\t# at all\n", {}),
        ("[s]\nx = 1 # no comment\ny=#\n", {"s": {"x": "1 # no comment", "y": "#"}}),
        ("[s]\nx = a \\\n   b \\\n\tc  \ny = 1", {"s": {"x": "a \n   b \n\tc", "y": "1"}}),
        ("[s]\nx = \\\n one", {"s": {"x": "one"}}),
        ("[s]\nx = one \\\n\n[t]\n", {"s": {"x": "one"}, "t": {}}),
        ("[a]b]\nx=1", {"a]b": {"x": "1"}}),
        ("[]\nexport = system", {"": {"export": "system"}}),
        ("[a]\nx=1\n[b]\n[a]\ny=2\nx=3", {"a": {"x": "3", "y": "2"}, "b": {}}),
        ("[s]\r\nx = 1 \\\r\n two\r\n", {"s": {"x": "1 \n two"}}),
        ("[s]\nx=\u00a0nbsp\u2028line\x0b\x85\n", {"s": {"x": "\u00a0nbsp\u2028line\x0b\x85"}}),
        ("[s]\n= 1\nx\n; y = 2\n[open\nz=3", {"s": {"z": "3"}}),
        ("[s]\njunk \\\nx = 1\ny = 2", {"s": {"y": "2"}}),
        ("[s]\n# comment \\\nx = 1", {"s": {"x": "1"}}),
        ("[ s ] trailing\nx=1", {" s ": {"x": "1"}}),
    ],
)
def test_what_a_file_says(text: str, expected: Mapping[str, Mapping[str, str]]) -> None:
    assert said(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[s]\nx=1\nx=2\n", [("duplicate-key", 3)]),
        ("x=1\nx=2\n", [("duplicate-key", 2)]),
        ("x=1\n[default]\nx=2\nx=3\n", [("duplicate-key", 4)]),
        ("[default]\nx=1\n[default]\nx=2\n", [("duplicate-stanza", 3), ("duplicate-key", 4)]),
        ("[a]\n[b]\n[a]\n", [("duplicate-stanza", 3)]),
        ("[s]\njunk\n= 1\n", [("junk-line", 2), ("junk-line", 3)]),
        ("[s]\n| eval a=1\nmy key = 1\n(x=1\n",
         [("suspicious-key", 2), ("suspicious-key", 3), ("suspicious-key", 4)]),
        ("[s]\n; x = 1", [("semicolon-line", 2)]),
        ("[s\n[t] x", [("unclosed-header", 1), ("text-after-header", 2)]),
        ("[s]\nx = 1 \\ \ny=2", [("blank-after-backslash", 2)]),
        ("[s]\nx = a \\\n b \\ \ny=2", [("blank-after-backslash", 3)]),
        ("[s]\nx = 1\\", [("continuation-at-end", 2)]),
        ("[s]\np = C:\\\nq = 1", [("continuation-swallowed-key", 3)]),
        ("[s]\np = C:\\\n[t]\n", [("continuation-swallowed-header", 3)]),
        ("[s]\nsearch = index=a \\\n b=1 \\\n| c", []),
        ("[s]\nx = two words \\\n[search index=a]", []),
    ],
)  # fmt: skip
def test_what_it_is_warned_of(text: str, expected: list[tuple[str, int]]) -> None:
    assert warned(text) == expected


def test_each_setting_has_the_line_on_which_it_begins_and_its_earlier_values() -> None:
    stanza = only("# c\n[s]\nx = 1\ny = a \\\nb \\\nc\n\nx = 2\nx = 3\n")
    assert (stanza.line, stanza.lines) == (2, {"x": 9, "y": 4})
    assert stanza.history == {"x": [(3, "1"), (8, "2")]}


def test_a_stanza_that_recurs_keeps_its_first_header_and_place() -> None:
    stanzas = parse(b"x=0\n[a]\nx=1\n[b]\n[a]\nx=2\n").stanzas
    assert [(stanza.name, stanza.line) for stanza in stanzas] == [
        ("default", 1),
        ("a", 2),
        ("b", 4),
    ]
    assert stanzas[1].history == {"x": [(3, "1")]}


def test_an_empty_default_stands_where_its_header_is() -> None:
    stanzas = parse(b"[a]\n[default]\nx=1\n").stanzas
    assert [(stanza.name, stanza.line) for stanza in stanzas] == [("a", 1), ("default", 2)]


def test_warnings_of_a_hostile_file_are_counted_not_kept() -> None:
    warnings = parse(b"[s]\n" + b"junk\n" * (MOST_WARNINGS + 5)).warnings
    assert len(warnings) == MOST_WARNINGS + 1
    assert (warnings[-1].code, warnings[-1].message) == ("more-warnings", "5 more were not kept")


def test_no_warning_repeats_a_value() -> None:
    text = "[s]\npassword = hunter2\npassword = hunter2 \\ \n| hunter2 = hunter2\nhunter2\n"
    assert not any("hunter2" in warning.message for warning in parse(text.encode()).warnings)


LINES = st.lists(
    st.sampled_from([
        "", "# c", "[a]", "[b]", "[default]", "x = 1", "y=2 \\", "z = C:\\", "junk", "junk \\",
        "| a=1", "[open", "= 1", "; c", "[a] b", "\tx = 3 ", "x = ä", "x = \0",
    ]),
    max_size=40,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(LINES, st.sampled_from(["\n", "\r\n"]))
def test_large_and_small_files_are_read_alike(lines: list[str], end: str) -> None:
    data = end.join(lines).encode()
    whole = parse(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing, "WHOLE", 0)
        patch.setattr(reading, "PIECE", 3)
        in_pieces = parse(data)
    assert in_pieces == whole
    for stanza in whole.stanzas:
        assert stanza.settings.keys() == stanza.lines.keys()
        assert stanza.history.keys() <= stanza.settings.keys()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    for stanza in parse(data).stanzas:
        texts = [stanza.name, *stanza.settings, *stanza.settings.values()]
        assert not any("\0" in text for text in texts)
        "".join(texts).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 500_000, b"[a]" * 200_000, b"x=" + b"a" * 500_000, b"x = 1 \\\n" * 50_000,
        b" " * 300_000 + b"=" + b" " * 300_000, b"[a]\nx=1\n" * 5_000, b"\\\n" * 100_000,
        b"\n" * 200_000, b"x" * 500_000 + b"]=[", b"=" * 500_000, b"a b = \\ \n" * 10_000,
    ],
    ids=range(11),
)  # fmt: skip
def test_hostile_files_take_linear_time(data: bytes) -> None:
    started = time.process_time()
    parse(data)
    assert time.process_time() - started < 2  # seconds; a quadratic step takes many


@pytest.mark.parametrize(
    "text",
    ["".join(f"x{number}=1\n" for number in range(600)), "x=1\n" * 600, "[a]\n[b]\n[a]\n" * 300],
)
def test_a_file_that_would_fill_the_memory_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "MOST_HELD", 500)
    if text.startswith("["):
        text = "".join(f"[s{number}]\n" for number in range(600))
    with pytest.raises(TooMuch, match="more than 500"):
        parse(text.encode())


def test_a_large_files_names_that_do_not_recur_are_not_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parsing, "WHOLE", 0)
    monkeypatch.setattr(reading, "PIECE", 64)
    monkeypatch.setattr(holding, "MOST_HELD", 150)
    data = "".join(f"[s{number}]\nx=1\n" for number in range(1000)) + "[s0]\ny=2\n"
    names = [stanza.name for stanza in Parser(data.encode()).stanzas()]
    assert len(names) == 1000
    assert "s0" in names[-100:]


def test_lines_and_values_have_a_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST", 100)
    monkeypatch.setattr(parsing, "LONGEST", 100)
    with pytest.raises(TooMuch, match="a line of more than 100 bytes"):
        parse(b"x=" + b"a" * 100)
    monkeypatch.setattr(reading, "LONGEST", 10_000)
    with pytest.raises(TooMuch, match="a value of more than 100 characters"):
        parse(b"x=\\\n" + b"aaaa\\\n" * 100)


@pytest.mark.parametrize("name", ["a] # see [b", "a] # b"])
def test_a_header_that_seems_to_end_earlier_is_told(name: str) -> None:
    conf = parse(f"[{name}]\n[source::[0-9] x]\n".encode())
    assert [stanza.name for stanza in conf.stanzas] == [name, "source::[0-9] x"]
    assert [(one.code, one.line) for one in conf.warnings] == [("suspicious-header", 1)]


def test_lines_that_say_nothing_are_counted_beyond_the_warnings_that_are_kept() -> None:
    parser = Parser(b"[s]\n" + b"junk\n" * (MOST_WARNINGS + 5) + b"[open\nx = 1\nx = 2\n")
    list(parser.stanzas())
    assert parser.unread == MOST_WARNINGS + 6
