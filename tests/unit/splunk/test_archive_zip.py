"""Zip archives, whose directory is not believed."""

import io
import struct
import zipfile
from typing import IO, cast

import pytest

from backend.workloads.splunk.archive.limits import Limits
from backend.workloads.splunk.archive.members import Member
from tests.unit.splunk.packed import (
    CONF,
    content_of,
    contents,
    notices,
    refusal,
    skips,
    surveyed,
    zipped,
)

FILES = {"etc/apps/a/default/inputs.conf": CONF, "etc/system/local/b.conf": b"x" * 5000, "z": b""}
LISTED = b"PK\1\2"
LOCAL = b"PK\3\4"


def patched(data: bytes, magic: bytes, offset: int, value: bytes, *, nth: int = 0) -> bytes:
    """With ``value`` ``offset`` bytes behind the nth ``magic``."""
    at = -1
    for _ in range(nth + 1):
        at = data.index(magic, at + 1)
    at += offset
    return data[:at] + value + data[at + len(value) :]


def made_on_unix(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_stored_and_deflated_members(method: int) -> None:
    assert contents(zipped(FILES, method)) == FILES


def test_a_zip_written_to_a_pipe_has_its_sizes_behind_the_contents() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.written = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.written += bytes(cast("bytes", data))
            return len(cast("bytes", data))

    pipe = Pipe()
    with zipfile.ZipFile(cast("IO[bytes]", pipe), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    assert contents(pipe.written) == FILES


def test_zip64_headers_and_directory() -> None:
    made = io.BytesIO()
    with (
        zipfile.ZipFile(made, "w") as archive,
        archive.open("etc/a.conf", "w", force_zip64=True) as file,
    ):
        file.write(CONF)
    data = made.getvalue()
    assert contents(data) == {"etc/a.conf": CONF}
    end = data.rindex(b"PK\5\6")
    count, size, offset = struct.unpack("<HLL", data[end + 10 : end + 20])
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    narrow = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    assert contents(data[:end] + wide + locator + narrow) == {"etc/a.conf": CONF}
    assert "not at byte" in refusal(data[:end] + bytes(56) + locator + narrow)
    broken = patched(data, LISTED, 20, b"\xff" * 8)
    assert "size of member 1 is missing" in refusal(broken)


def test_an_empty_zip() -> None:
    assert refusal(zipped({})) == "the archive is empty"
    assert refusal(zipped({"etc/": b""})) == "the archive holds folders but no file"


def test_bytes_around_the_zip_are_noted() -> None:
    data = zipped(FILES)
    assert contents(data + b"trailing") == FILES
    assert notices(data + b"trailing", "x") == ["trailing-data"]
    # What stands before must begin like a zip, or it is told by what it begins with.
    assert notices(LOCAL + b"leading" + data, "x") == ["leading-data"]
    assert contents(LOCAL + b"leading" + data) == FILES


def test_a_comment_may_hold_anything() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a", b"b")
        archive.comment = b"PK\5\6" + bytes(10)
    assert contents(made.getvalue()) == {"a": b"b"}


def test_every_cut_is_noticed() -> None:
    data = zipped(FILES)
    for cut in range(4, len(data), 13):
        assert "truncated" in refusal(data[:cut])


@pytest.mark.parametrize("flag", [0x01, 0x41, 0x2001])
def test_encryption_is_said(flag: int) -> None:
    bits = struct.pack("<H", flag)
    data = patched(patched(zipped({"a.conf": CONF}), LISTED, 8, bits), LOCAL, 6, bits)
    assert refusal(data) == "the zip is encrypted (member 1, a.conf)"


def test_aes_is_encryption_whatever_the_flags_say() -> None:
    assert "encrypted" in refusal(patched(zipped({"a.conf": CONF}), LISTED, 10, b"\x63\0"))


def test_other_compressions_are_skipped() -> None:
    data = zipped({"a.conf": CONF}, zipfile.ZIP_LZMA)
    assert skips(data) == {"a.conf": "unsupported"}


def test_links_devices_and_pipes_by_their_mode() -> None:
    data = zipped([
        (made_on_unix("etc/l", 0o120777), b"../../etc/passwd"),
        (made_on_unix("etc/in", 0o120777), b"apps/a"), (made_on_unix("etc/p", 0o010644), b""),
        (made_on_unix("etc/d", 0o060644), b""), (made_on_unix("etc/f", 0o104755), CONF),
        ("etc/l/x.conf", CONF),
    ])  # fmt: skip
    assert contents(data) == {"etc/f": CONF}
    assert skips(data) == {
        "etc/l": "link-outside", "etc/in": "link", "etc/p": "fifo", "etc/d": "device",
        "etc/l/x.conf": "below-link",
    }  # fmt: skip


def test_a_mode_means_nothing_where_the_packer_knew_none() -> None:
    info = made_on_unix("a.conf", 0o120777)
    info.create_system = 0
    assert contents(zipped([(info, CONF)])) == {"a.conf": CONF}


def test_names_in_utf8_with_and_without_its_flag_and_in_a_code_page() -> None:
    flagged = zipped({"etc/größe.conf": CONF})
    assert contents(flagged) == {"etc/größe.conf": CONF}
    bare = patched(patched(flagged, LISTED, 8, b"\0\0"), LOCAL, 6, b"\0\0")
    assert contents(bare) == {"etc/größe.conf": CONF}
    assert contents(zipped({"etc/XX.conf": CONF}).replace(b"XX", b"\x81\x94")) == {
        "etc/üö.conf": CONF
    }


def test_a_backslash_separates_folders() -> None:
    data = zipped({"TA_x/default/a.conf": CONF}).replace(b"TA_x/default/", b"TA_x\\default\\")
    assert contents(data) == {"TA_x/default/a.conf": CONF}
    assert skips(zipped({"__/__/x": CONF}).replace(b"__/__/x", b"..\\..\\x")) == {
        "../../x": "traversal"
    }


def test_a_wrong_crc_is_named_with_its_member() -> None:
    data = zipped({"good": CONF, "a.conf": CONF})
    broken = patched(patched(data, LISTED, 16, b"crc!", nth=1), LOCAL, 14, b"crc!", nth=1)
    assert "at a.conf: it does not match its CRC" in refusal(broken)


@pytest.mark.parametrize(
    ("method", "stated", "words"),
    [
        (zipfile.ZIP_STORED, len(CONF) - 1, "bytes follow its content"),
        (zipfile.ZIP_STORED, len(CONF) + 1, "its content breaks off"),
        (zipfile.ZIP_STORED, 0, "bytes follow its content"),
        (zipfile.ZIP_DEFLATED, len(CONF) - 1, "it unpacks to more bytes than stated"),
        (zipfile.ZIP_DEFLATED, len(CONF) + 1, "it unpacks to fewer bytes than stated"),
        (zipfile.ZIP_DEFLATED, 0, "it unpacks to more bytes than stated"),
        (zipfile.ZIP_DEFLATED, 2**29, "it unpacks to fewer bytes than stated"),
    ],
)
def test_a_size_that_is_not_true(method: int, stated: int, words: str) -> None:
    size = struct.pack("<L", stated)
    data = patched(patched(zipped({"a.conf": CONF}, method), LISTED, 24, size), LOCAL, 22, size)
    detail = refusal(data, Limits(ratio_from=2**30))
    assert detail.startswith("the zip is damaged before byte")
    assert detail.endswith(f"at a.conf: {words}")


def test_a_packed_size_that_is_not_true() -> None:
    data = zipped({"a.conf": CONF, "b.conf": CONF})
    packed = struct.unpack("<L", data[18:22])[0]
    for nth, more, words in (
        (0, 1, "two members share byte"), (1, 1, "a member reaches into byte"),
        (0, -1, "at a.conf: its content breaks off"),
    ):  # fmt: skip
        size = struct.pack("<L", packed + more)
        lying = patched(patched(data, LISTED, 20, size, nth=nth), LOCAL, 18, size, nth=nth)
        assert words in refusal(lying)


def test_a_folder_with_content_is_skipped() -> None:
    assert skips(zipped({"etc/": CONF, "a.conf": CONF})) == {"etc": "unsupported"}


def test_damaged_data() -> None:
    data = zipped({"a.conf": CONF})
    broken = patched(data, LOCAL, 30 + len("a.conf"), b"\xff\xff\xff")
    assert "it cannot be unpacked" in refusal(broken)


@pytest.mark.parametrize(
    ("offset", "value"), [(6, b"\1\0"), (8, b"\0\0"), (14, b"abcd"), (22, b"\1\0\0\0"), (30, b"b")]
)
def test_two_headers_that_differ(offset: int, value: bytes) -> None:
    data = patched(zipped({"a.conf": CONF}), LOCAL, offset, value)
    assert "contradicts itself: the directory and byte 0 differ on member 1" in refusal(data)


def test_a_directory_that_lies_about_its_members() -> None:
    data = zipped(FILES)
    end = data.rindex(b"PK\5\6")
    assert "lists 3 members and states 2" in refusal(patched(data, b"PK\5\6", 10, b"\2\0"))
    assert "is not where" in refusal(patched(data, b"PK\5\6", 16, struct.pack("<L", end)))
    assert "member 2 is not at byte 1" in refusal(patched(data, LISTED, 42, b"\1\0\0\0", nth=1))
    assert "directory is damaged" in refusal(patched(data, LISTED, 0, b"PKxx", nth=1))
    assert "directory breaks off" in refusal(patched(data, LISTED, 32, b"\xff\xff", nth=2))
    assert "volumes" in refusal(patched(data, b"PK\5\6", 4, b"\1\0"))


def test_members_that_share_their_bytes_are_a_bomb() -> None:
    data = zipped({"a.conf": CONF, "b.conf": CONF})
    begin, end = data.index(LISTED), data.rindex(b"PK\5\6")
    first = data[begin : data.index(LISTED, begin + 1)]
    record = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, 2 * len(first), begin, 0)
    assert "two members share byte 0" in refusal(data[:begin] + first * 2 + record)
    assert end > begin


def test_a_stated_bomb_is_refused_before_anything_is_unpacked() -> None:
    data = zipped({"a": bytes(200_000)})
    assert "over 20 times its size" in refusal(data, Limits(ratio=20, ratio_from=100_000))
    assert "more than 2 members" in refusal(zipped(FILES), Limits(members=2))


def test_a_zip_inside_is_data() -> None:
    inner = zipped({"etc/apps/evil/local/x.conf": CONF})
    assert contents(zipped({"etc/n.zip": inner})) == {"etc/n.zip": inner}


@pytest.mark.parametrize("step", [1000, 64 * 1024])
def test_a_last_byte_that_stands_for_much_is_not_taken_for_a_cut(step: int) -> None:
    # Of 258 equal bytes each, packed into a few bits: zlib has read all long before it told all.
    for size in (1_000_003, 66_000, 258 * 1024):
        (member,) = surveyed(zipped({"a.conf": b"#" * size})).members()
        assert isinstance(member, Member)
        assert len(content_of(member, step)) == size


def wide_end(data: bytes, *, count: int | None = None) -> bytes:
    """With the ZIP64 records before the end that other packers write for a zip from a pipe."""
    at = data.rindex(b"PK\5\6")
    stated, size, offset = struct.unpack_from("<HLL", data, at + 10)
    count = stated if count is None else count
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
    return data[:at] + record + locator + data[at:]


def test_a_wide_end_beside_one_that_would_do() -> None:
    data = wide_end(zipped(FILES))
    assert contents(data) == FILES
    assert notices(data, "etc.zip") == []
    assert "its ends differ" in refusal(wide_end(zipped(FILES), count=2))


def test_what_the_directory_does_not_list_is_noted() -> None:
    whole = zipped({"a.conf": CONF, "b.conf": CONF * 9})
    first, second = whole.find(b"PK\1\2"), whole.rfind(b"PK\1\2")
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, second - first, first, 0)
    assert list(contents(whole[:second] + end)) == ["a.conf"]
    assert notices(whole[:second] + end, "a.zip") == ["unlisted-data"]
    assert notices(whole, "a.zip") == []
