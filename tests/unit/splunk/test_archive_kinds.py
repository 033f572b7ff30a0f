"""What an upload is, told by its content."""

import gzip
import io
import lzma
from collections.abc import Callable

import pytest

from backend.queue.retry import Permanent
from backend.workloads.splunk.archive.kinds import Kind, kind_of
from tests.unit.splunk.packed import CONF, notices, refusal, tar, targz, zipped


def kind(data: bytes) -> Kind:
    source = io.BytesIO(data)
    found = kind_of(source)
    assert source.tell() == 0
    return found


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tar(("a/default/x.conf", CONF)), Kind.TAR),
        (tar(("a/default/x.conf", CONF), dialect=0), Kind.TAR),
        (targz(("a/default/x.conf", CONF)), Kind.TAR_GZ),
        (zipped({"a/default/x.conf": CONF}), Kind.ZIP),
        (CONF, Kind.CONF),
        (b"key = value\n", Kind.CONF),
        (b"# nothing but a comment\n\n", Kind.CONF),
        (b"\xef\xbb\xbf[stanza]\r\nkey=value\r\n", Kind.CONF),
        (b"\xff\xfe" + "[stanza]\nkey=value\n".encode("utf-16-le"), Kind.CONF),
        ("[größe]\n".encode("latin-1"), Kind.CONF),
        (b"[a]\nkey = va\0lue\n", Kind.CONF),
        (b"a line that Splunk ignores\n[stanza]\nk = v\n", Kind.CONF),
        (b"[source::/var/log/...]\n", Kind.CONF),
        (b"SEDCMD-x = s/a/b/g\n", Kind.CONF),
    ],
)
def test_the_four_kinds(data: bytes, expected: Kind) -> None:
    assert kind(data) is expected


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\0" * 4096, "zeros"),
        (b"hello world\n" * 9, "a text without stanza or setting"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "an HTML page"),
        (b"\n <html lang=en>", "an HTML page"),
        (b"<?xml version='1.0'?><feed/>", "an XML document"),
        (b"<!-- note --><feed/>", "an XML document"),
        (b'{"messages": [{"type": "ERROR"}]}', "a JSON document"),
        (b'[{"a": 1}]', "a JSON document"),
        (b'["a", "b"]', "a JSON document"),
        (b"%PDF-1.7\n[x]\n", "a PDF document"),
        (b"BZh91AY&SY", "a bzip2 file"),
        (lzma.compress(b"x"), "an xz file"),
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
        (b"Rar!\x1a\x07\x00", "a RAR archive"),
        (b"\x28\xb5\x2f\xfd\0", "a zstandard file"),
        (b"PK\x07\x08PK\x03\x04", "one volume of a zip"),
        (b"-----BEGIN RSA PRIVATE KEY-----\n", "a key or certificate"),
        (b"#!/bin/sh\nA=1\n[ -f x ]\n", "a script"),
        (bytes(range(1, 32)) * 40, "binary data"),
    ],
)
def test_what_it_is_instead_is_said(data: bytes, words: str) -> None:
    with pytest.raises(Permanent, match=words):
        kind(data)


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        (b"", "the archive is empty"),
        (b"\0" * 10240, "the archive is empty"),
        (b"<html></html>", "no tar archive but an HTML page"),
        (CONF, "no tar archive but a single conf file"),
        (zipped({"a": b"b"}), "no tar archive but another archive"),
    ],
)
def test_a_gzip_file_must_hold_a_tar(inside: bytes, words: str) -> None:
    with pytest.raises(Permanent, match=words):
        kind(gzip.compress(inside))


@pytest.mark.parametrize(
    "text",
    [b"<!--a-->" * 8000, b"[" * 60_000, b'["' * 30_000, b" " * 60_000 + b"x", b"]\n" * 30000],
)
def test_a_hostile_text_is_told_in_linear_time(text: bytes) -> None:
    assert "not an archive but" in refusal(text)


def test_the_name_is_compared_with_the_content_and_never_believed() -> None:
    app = targz(("a/default/x.conf", CONF))
    assert notices(app, "app.zip") == ["name-disagrees"]
    assert notices(zipped({"a/default/x.conf": CONF}), "app.tgz") == ["name-disagrees"]
    assert notices(app, "app") == []
    for name in ("app.tgz", "app.SPL", "app.tar.gz"):
        assert notices(app, name) == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"[stanza]   # a remark\nk = v\n", Kind.CONF),
        (b"; a remark\nk = v\n", Kind.CONF),
        ("\ufeff[a]\nk = v\n".encode("utf-32-le"), Kind.CONF),
        (b"MZ and some code" + zipped({"a/default/x.conf": CONF}), Kind.ZIP),
        (b"[a]\nk = v\n" + zipped({"a/default/x.conf": CONF}), Kind.ZIP),
    ],
)
def test_what_does_not_begin_as_its_kind_mostly_does(data: bytes, expected: Kind) -> None:
    assert kind(data) is expected


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
@pytest.mark.parametrize("dialect", [0, 1, 2])  # ustar, GNU, pax
def test_a_tar_that_is_damaged_at_its_begin_is_no_conf_file(
    packed: Callable[[bytes], bytes], dialect: int
) -> None:
    two = CONF + b"[other]\nk = v\n"
    whole = tar(("a/default/x.conf", two), ("a/default/y.conf", two), dialect=dialect)
    old = whole[:257] + bytes(8) + whole[265:]
    for damaged in (b"x" + whole[1:], bytes(512) + whole, old):
        with pytest.raises(Permanent, match="the tar is damaged at byte 0"):
            kind(packed(damaged))
