import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backend.problems import Malformed
from backend.strictjson import loads


def refusal(data: bytes) -> str:
    with pytest.raises(Malformed) as caught:
        loads(data)
    assert caught.value.code == "malformed-json"
    return caught.value.detail


def test_ordinary_json_is_read_as_the_standard_library_reads_it() -> None:
    document = {"a": [1, -2.5, 1e3, True, None, "\u00e9\U0001f600\n\\u0000"], "b": {"": {}}}
    assert loads(json.dumps(document).encode()) == document
    assert loads(json.dumps(document, ensure_ascii=False, indent=1).encode()) == document


def test_a_byte_order_mark_is_tolerated() -> None:
    assert loads(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"a": "\xff"}', "not UTF-8, at line 1 column 8"),
        (b'[\n"\xed\xa0\x80"]', "not UTF-8, at line 2 column 2"),
        (b"", "not JSON"),
        (b'{"a": 1,\n "b" 2}', "line 2 column 6"),
        (b'{"a": 1} x', "Extra data"),
        (b'{"a": 1,}', "line 1 column 9"),
        (b"'a'", "not JSON"),
        (b'["a\nb"]', "Invalid control character"),
        (b'["a', "Unterminated string"),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(data: bytes, expected: str) -> None:
    assert expected in refusal(data)


def test_64_levels_are_read_and_65_are_refused() -> None:
    assert loads(b"[" * 64 + b"]" * 64)
    assert "deeper than 64" in refusal(b"[" * 65 + b"]" * 65)
    assert "deeper than 64" in refusal(b'{"a":' * 65 + b"1" + b"}" * 65)


def test_brackets_inside_strings_are_no_levels() -> None:
    assert loads(json.dumps(["[{" * 100, '"[' * 100, "\\" * 7 + "[" * 100]).encode())


def test_a_duplicate_key_is_named_with_its_path() -> None:
    detail = refusal(b'{"packages": {"node_modules/a": [{"x": 1, "version": 1, "version": 2}]}}')
    assert '"version" stands twice' in detail
    assert '["packages"]["node_modules/a"][0]' in detail


def test_a_duplicate_key_that_another_one_hides_is_still_refused() -> None:
    assert '"a" stands twice' in refusal(b'{"a": {"b": 1, "b": 2}, "a": 3}')


def test_keys_that_differ_only_in_their_escapes_are_duplicates() -> None:
    assert '"a" stands twice' in refusal(b'{"a": 1, "\\u0061": 2}')


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1.5E+999"])
def test_numbers_that_are_not_finite_are_refused_with_their_path(literal: bytes) -> None:
    detail = refusal(b'{"a": [0, %s]}' % literal)
    assert "not a finite number" in detail
    assert '["a"][1]' in detail


def test_numbers_of_more_than_100_digits_are_refused() -> None:
    assert loads(b"-" + b"9" * 100) == -int("9" * 100)
    assert loads(b"1." + b"9" * 99) == 2.0
    assert "101 digits" in refusal(b'{"a": %s}' % (b"9" * 101))
    assert "5000 digits" in refusal(b"[%s]" % (b"1" * 5000))
    assert "300 digits" in refusal(b"[0.%s]" % (b"1" * 299))


@pytest.mark.parametrize("data", [b'["\x00"]', b'["\\u0000"]', b'{"a\\\\\\u0000": 1}', b"\x00{}"])
def test_nul_is_refused_raw_and_escaped_in_keys_and_values(data: bytes) -> None:
    assert "NUL" in refusal(data)


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert loads(b'["\\\\u0000", "\\\\ud800"]') == ["\\u0000", "\\ud800"]


@pytest.mark.parametrize(
    "text",
    ["\\ud800", "\\udc00", "\\udc00\\ud800", "\\ud83d\\ud83d\\ude00", "\\uD83Dx", "\\\\\\udfff"],
)
def test_lone_surrogates_are_refused_and_pairs_are_read(text: str) -> None:
    detail = refusal(b'{"a":\n "\\ud83d\\ude00%s"}' % text.encode())
    assert "lone surrogate, at line 2" in detail


def test_surrogate_pairs_are_read() -> None:
    assert loads(b'["\\ud83d\\ude00\\uD83D\\uDE00"]') == ["\U0001f600\U0001f600"]


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 2_000_000,
        b'["' + b'\\"' * 1_000_000,
        b'"' + b"\\" * 2_000_001,
        b'"\\"' * 700_000,
        b"9" * 2_000_000,
        b"[" + b"1.e" * 600_000,
        b'["' + b"\\n" * 1_000_000 + b'\\u0000"]',
        b"]" * 2_000_000,
        b'{"a":' * 400_000,
    ],
)
def test_hostile_megabytes_cost_linear_time(data: bytes) -> None:
    started = time.process_time()
    refusal(data)
    assert time.process_time() - started < 5  # seconds; a quadratic reader needs hours


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.text() | st.floats(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@settings(deadline=None)
@given(JSON)
def test_any_json_is_read_unchanged_or_refused(document: Any) -> None:
    data = json.dumps(document).encode()
    try:
        parsed = loads(data)
    except Malformed:
        assert any(word in data for word in (b"NaN", b"Infinity", b"\\u0000", b"\\ud"))
    else:
        assert parsed == document


@given(st.binary())
@example(b"\xef\xbb\xbf")
@example(b'"\\')
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(Malformed):
        loads(data)
