"""The bytes of a conf file as text: encodings, marks, NUL, and what is no text."""

import os

import pytest

from backend.workloads.splunk.conf import reading
from backend.workloads.splunk.conf.parsing import parse
from backend.workloads.splunk.conf.reading import BINARY
from backend.workloads.splunk.conf.stanza import TooMuch

TEXT = "[säule]\nx = ä\n"
ASCII = "[column]\nindex = main\n"


@pytest.mark.parametrize(
    ("data", "encoding", "codes"),
    [
        (TEXT.encode(), "utf-8", []),
        (TEXT.encode("utf-8-sig"), "utf-8-sig", ["encoding"]),
        (b"\xff\xfe" + TEXT.encode("utf-16-le"), "utf-16-le", ["encoding"]),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "utf-16-be", ["encoding"]),
        (TEXT.encode("utf-16-le"), "utf-16-le", ["encoding"]),
        (TEXT.encode("utf-16-be"), "utf-16-be", ["encoding"]),
        (TEXT.encode("latin-1"), "latin-1", ["encoding"]),
    ],
)
def test_every_encoding_says_the_same(data: bytes, encoding: str, codes: list[str]) -> None:
    conf = parse(data)
    assert conf.encoding == encoding
    assert {stanza.name: stanza.settings for stanza in conf.stanzas} == {"säule": {"x": "ä"}}
    assert [warning.code for warning in conf.warnings] == codes


def test_a_mark_before_what_is_not_utf_8_does_not_become_text() -> None:
    conf = parse(b"\xef\xbb\xbf" + TEXT.encode("latin-1"))
    assert (conf.encoding, conf.stanzas[0].name) == ("latin-1", "säule")


def test_nul_is_replaced_and_its_line_is_told() -> None:
    conf = parse(b"[a]\nx = 1\n[b\0c]\nk\0 = v\0w\n")
    assert {stanza.name: stanza.settings for stanza in conf.stanzas} == {
        "a": {"x": "1"},
        "b\ufffdc": {"k\ufffd": "v\ufffdw"},
    }
    assert [(warning.code, warning.line) for warning in conf.warnings] == [("nul-byte", 3)]


@pytest.mark.parametrize(
    "data",
    [b"\x7fELF" + bytes(2000), os.urandom(5000), bytes(range(256)) * 20, b"\0" * 100],
    ids=["program", "noise", "all", "nothing"],
)
def test_what_is_no_text_is_not_read(data: bytes) -> None:
    conf = parse(data)
    assert (conf.encoding, conf.stanzas) == (BINARY, [])
    assert [warning.code for warning in conf.warnings] == ["binary"]


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xff", b"\0", b"a\0"])
def test_the_smallest_files_are_read(data: bytes) -> None:
    assert parse(data).stanzas == []


def test_a_broken_utf_16_file_is_read_as_far_as_it_goes() -> None:
    conf = parse(b"\xff\xfe" + ASCII.encode("utf-16-le") + b"x")
    assert conf.stanzas[0].settings == {"index": "main"}


def test_a_lone_surrogate_becomes_what_a_database_can_store() -> None:
    conf = parse(b"\xff\xfe" + "[a]\nx=".encode("utf-16-le") + b"\x00\xd8")
    assert conf.stanzas[0].settings == {"x": "\ufffd"}


def test_a_character_on_the_border_of_two_pieces_stays_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for piece in range(1, 12):
        monkeypatch.setattr(reading, "PIECE", piece)
        conf = parse("[日本]\nキー = 値\nx = 😀\n".encode())
        assert conf.encoding == "utf-8"
        assert conf.stanzas[0].settings == {"キー": "値", "x": "😀"}


def test_a_file_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST", 10)
    parse(b"[a]\nx = 12")
    with pytest.raises(TooMuch, match="a conf file of more than 10 bytes"):
        parse(b"[a]\nx = 123")


@pytest.mark.parametrize("encoding", ["utf-32-le", "utf-32-be"])
def test_the_mark_of_utf_32_is_not_taken_for_that_of_utf_16(encoding: str) -> None:
    conf = parse(("\ufeff" + TEXT).encode(encoding))
    assert (conf.encoding, conf.stanzas[0].settings) == (encoding, {"x": "ä"})


def test_marks_of_files_that_were_joined_are_left_out_and_told() -> None:
    mark = b"\xef\xbb\xbf"
    conf = parse(mark * 2 + b"[a]\nx = 1\n" + mark + b"[b]\n" + mark + b"y = 2" + mark + b"z\n")
    assert {stanza.name: stanza.settings for stanza in conf.stanzas} == {
        "a": {"x": "1"},
        "b": {"y": "2\ufeffz"},
    }
    told = [(warning.code, warning.line) for warning in conf.warnings]
    assert told == [("encoding", None), ("encoding", 3)]


def test_a_carriage_return_alone_ends_no_line_and_is_told_once() -> None:
    conf = parse(b"[a]\r\nx = 1\ry = 2\r\r\nz = 3\r4\n")
    assert conf.stanzas[0].settings == {"x": "1\ry = 2", "z": "3\r4"}
    assert [(warning.code, warning.line) for warning in conf.warnings] == [("carriage-return", 2)]
