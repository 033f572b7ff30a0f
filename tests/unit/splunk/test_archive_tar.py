"""Tar in all dialects, packed by gzip or not, and in all the ways in which it is broken."""

import gzip
import io
import tarfile
from collections.abc import Callable

import pytest

from backend.workloads.splunk.archive.limits import Limits
from backend.workloads.splunk.archive.members import Member, survey
from tests.unit.splunk.packed import (
    CONF,
    contents,
    entry,
    notices,
    refusal,
    skips,
    surveyed,
    tar,
    targz,
)

ONE = tar(("a/default/x.conf", CONF))
HEADER = 512
DIALECTS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def block(name: bytes, size: int = 0, kind: bytes = b"0", magic: bytes = b"ustar\x0000") -> bytes:
    """A header as no library writes it."""
    made = bytearray(HEADER)
    made[: len(name)] = name
    made[100:108], made[124:136] = b"0000644\0", b"%011o\0" % size
    made[156:157], made[257 : 257 + len(magic)] = kind, magic
    return sealed(made)


def sealed(header: bytearray, *, signed: bool = False) -> bytes:
    header[148:156] = b" " * 8
    total = sum(byte - 256 if signed and byte > 127 else byte for byte in header)
    header[148:156] = b"%06o\0 " % total
    return bytes(header)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % HEADER)


def pax(**records: str) -> bytes:
    text = b""
    for key, value in records.items():
        record = f" {key}={value}\n".encode()
        length = len(record) + 2
        text += b"%d" % (length if length < 100 else length + 1) + record
    return block(b"PaxHeader", len(text), b"x") + padded(text)


END = bytes(1024)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_all_dialects_with_short_and_long_names(dialect: int) -> None:
    long = "etc/apps/" + "a" * 90 + "/default/" + "b" * 60 + ".conf"
    files = {"etc/system/local/a.conf": b"[a]\n", long: CONF * 1000, "etc/z": b""}
    assert contents(tar(*files.items(), dialect=dialect)) == files
    assert contents(gzip.compress(tar(*files.items(), dialect=dialect))) == files


@pytest.mark.parametrize("dialect", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_longer_than_a_header_and_outside_ascii(dialect: int) -> None:
    long = "etc/" + "/".join(["größe" * 20] * 5) + "/x.conf"
    assert contents(tar((long, CONF), dialect=dialect)) == {long: CONF}


def test_a_header_older_than_any_standard() -> None:
    data = (
        block(b"a/default/x.conf", 4, b"\0", b"") + padded(b"[a]\n") + block(b"f/", 0, b"\0", b"")
    )
    assert contents(data + END) == {"a/default/x.conf": b"[a]\n"}


def test_the_prefix_field_counts_in_ustar_alone() -> None:
    for magic, path in ((b"ustar\x0000", "p/a.conf"), (b"ustar  \0", "a.conf")):
        header = bytearray(block(b"a.conf", 0, b"0", magic))
        header[345:346] = b"p"
        assert contents(sealed(header) + END) == {path: b""}


def test_a_checksum_of_signed_bytes_is_one() -> None:
    header = sealed(bytearray(block(b"gr\xc3\xb6n.conf")), signed=True)
    assert contents(header + END) == {"grön.conf": b""}


def test_a_size_in_base_256() -> None:
    header = bytearray(block(b"a.conf"))
    header[124:136] = b"\x80" + (4).to_bytes(11, "big")
    assert contents(sealed(header) + padded(b"[a]\n") + END) == {"a.conf": b"[a]\n"}
    header[124:136] = b"\xff" * 12
    assert "impossible size" in refusal(sealed(header) + END)


def test_an_extended_header_overrules_the_size_and_the_name() -> None:
    data = pax(path="etc/b.conf", size="4") + block(b"a.conf", 0) + padded(b"[a]\n") + END
    assert contents(data) == {"etc/b.conf": b"[a]\n"}


@pytest.mark.parametrize("text", [b"9 path=x", b"99 path=x\n", b"x\n", b"0 =\n", b"11 size=-4\n"])
def test_an_extended_header_that_is_none(text: bytes) -> None:
    data = block(b"x", len(text), b"x") + padded(text) + ONE
    assert "the tar is damaged" in refusal(data)


def test_a_global_header_may_comment_but_not_rename() -> None:
    comment = block(b"g", 13, b"g") + padded(b"13 comment=x\n")
    assert contents(comment + ONE) == {"a/default/x.conf": CONF}
    rename = block(b"g", 10, b"g") + padded(b"10 path=x\n")
    assert "all members" in refusal(rename + ONE)


def test_an_extended_header_of_megabytes_is_refused() -> None:
    assert "too large" in refusal(block(b"x", 2**21, b"L") + bytes(2**21) + ONE)


def test_sparse_files_are_skipped_with_their_maps_and_data() -> None:
    old = bytearray(block(b"s", HEADER, b"S"))
    old[482] = 1
    more = bytearray(HEADER)
    more[504] = 1
    data = sealed(old) + bytes(more) + bytes(HEADER) + b"d" * HEADER
    data += pax(**{"GNU.sparse.major": "1", "GNU.sparse.name": "real"})
    data += block(b"GNUSparseFile.0/real", 4) + padded(b"data") + ONE
    assert skips(data) == {"s": "sparse", "real": "sparse"}
    assert contents(data) == {"a/default/x.conf": CONF}


@pytest.mark.parametrize("dialect", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_links_target_may_be_long_too(dialect: int) -> None:
    link = entry("etc/l", tarfile.SYMTYPE, "x/" * 90 + "../" * 92)
    assert skips(tar(link, dialect=dialect)) == {"etc/l": "link-outside"}


def test_a_sparse_map_that_breaks_off() -> None:
    old = bytearray(block(b"s", 0, b"S"))
    old[482] = 1
    assert "map of a sparse file breaks off" in refusal(sealed(old) + bytes(100))


def test_what_is_no_file_is_skipped_by_name() -> None:
    data = targz(
        entry("etc"), entry("./", tarfile.DIRTYPE), entry("etc/c", tarfile.CHRTYPE),
        entry("etc/b", tarfile.BLKTYPE), entry("etc/f", tarfile.FIFOTYPE), ("etc/x.conf", CONF),
    )  # fmt: skip
    assert skips(data) == {"etc/c": "device", "etc/b": "device", "etc/f": "fifo"}
    assert contents(data) == {"etc": b"", "etc/x.conf": CONF}


def test_an_unknown_type_is_skipped_with_its_content() -> None:
    data = block(b"odd", 5, b"Q") + padded(b"12345") + block(b"f/", 5) + padded(b"12345") + ONE
    assert skips(data) == {"odd": "unsupported", "f": "unsupported"}
    assert contents(data) == {"a/default/x.conf": CONF}


def test_a_size_beside_a_link_or_folder_is_a_leftover() -> None:
    data = block(b"d", 4096, b"5") + block(b"l", 4096, b"1") + ONE
    assert contents(data) == {"a/default/x.conf": CONF}


def test_every_cut_of_a_tar_is_noticed() -> None:
    data = tar(("a.conf", CONF), ("b.conf", b"x" * 700), dialect=tarfile.USTAR_FORMAT)
    end = 2 * HEADER + 1024 + HEADER  # the first block of zeros would do as the end
    for cut in [*range(1, end, 97), HEADER, 2 * HEADER, end - HEADER]:
        detail = refusal(data[:cut])
        assert "truncated" in detail or cut < HEADER, (cut, detail)


def test_every_cut_of_a_tgz_is_noticed_with_its_byte() -> None:
    data = targz(("a.conf", bytes(range(256)) * 20), ("b.conf", CONF))
    for cut in range(30, len(data), 11):
        assert f"truncated: the gzip data breaks off at byte {cut}" == refusal(data[:cut])


def test_a_wrong_crc_and_a_wrong_length_are_noticed() -> None:
    data = bytearray(targz(("a.conf", CONF)))
    for at in (-8, -1):
        data[at] ^= 1
        assert "does not match its CRC or length" in refusal(bytes(data))
        data[at] ^= 1
    data[len(data) // 2] ^= 0xFF
    assert "the gzip data" in refusal(bytes(data))


def test_a_damaged_header_is_named_by_its_byte() -> None:
    data = bytearray(ONE)
    data[1024:1024] = b"\x01" * HEADER
    assert refusal(bytes(data)).startswith("the tar is damaged at byte 1024")


def test_gzip_in_several_members_is_one_stream() -> None:
    middle = 700
    data = gzip.compress(ONE[:middle]) + gzip.compress(ONE[middle:])
    assert contents(data) == {"a/default/x.conf": CONF}
    assert notices(data) == []


def test_what_follows_the_end_is_noted_and_not_read() -> None:
    other = tar(("b.conf", CONF))
    for data in (
        gzip.compress(ONE) + gzip.compress(other),
        gzip.compress(ONE) + b"junk",
        ONE + other,
    ):
        assert notices(data, "x") == ["trailing-data"]
        assert contents(data) == {"a/default/x.conf": CONF}
    assert notices(gzip.compress(ONE) + bytes(100)) == []
    broken = gzip.compress(ONE) + gzip.compress(other)[:-1]
    assert "truncated" in refusal(broken)


def test_an_end_marker_may_be_missing_where_gzip_vouches_for_the_length() -> None:
    bare = ONE[: 2 * HEADER]
    assert "no end marker" in refusal(bare)
    assert notices(gzip.compress(bare)) == ["no-end-marker"]


def test_an_archive_of_nothing_is_refused() -> None:
    assert refusal(gzip.compress(END)) == "the archive is empty"
    folders = targz(entry("etc", tarfile.DIRTYPE), entry("etc/apps", tarfile.DIRTYPE))
    assert refusal(folders) == "the archive holds folders but no file"


def test_bombs_are_refused_before_they_are_read() -> None:
    limits = Limits(ratio=20, ratio_from=100_000)
    assert contents(targz(("a.conf", bytes(90_000))), limits)
    assert "over 20 times its size" in refusal(targz(("a.conf", bytes(200_000))), limits)
    assert "the limit" in refusal(targz(("a.conf", bytes(5000))), Limits(unpacked=4000))
    assert "more than 4000 bytes" in refusal(tar(("a.conf", bytes(5000))), Limits(unpacked=4000))
    endless = gzip.compress(ONE) + gzip.compress(bytes(300_000))
    assert "over 20 times its size" in refusal(endless, limits)


def test_members_are_counted_and_long_names_too() -> None:
    names = tar(*((f"{number}.conf", b"") for number in range(11)))
    assert refusal(names, Limits(members=10)) == "the archive has more than 10 members"
    headers = b"".join(block(b"L", 3, b"L") + padded(b"abc") for _ in range(11))
    assert refusal(headers + ONE, Limits(members=10)) == "the archive has more than 10 members"


def test_a_file_over_its_limit_is_skipped_and_the_rest_read() -> None:
    data = targz(("big.csv", bytes(5000)), ("a.conf", CONF))
    assert skips(data, Limits(member=4000)) == {"big.csv": "too-large"}
    assert contents(data, Limits(member=4000)) == {"a.conf": CONF}


def test_contents_come_in_pieces_of_any_size_or_not_at_all() -> None:
    data = targz(("a", bytes(range(256)) * 9), ("b", b"unread"), ("c", CONF))
    read: list[bytes] = []
    for member in surveyed(data).members():
        assert isinstance(member, Member)
        if member.path != "b":
            read.append(b"".join(iter(lambda m=member: m.read(7), b"")))  # type: ignore[misc]
            assert member.read(7) == b""
    assert read == [bytes(range(256)) * 9, CONF]


def test_a_source_need_not_stand_at_its_begin() -> None:
    source = io.BytesIO(ONE)
    source.seek(77)
    assert survey(source, "x").files == 1


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_header_about_a_member_that_does_not_come_is_damage(
    pack: Callable[[bytes], bytes],
) -> None:
    whole = tar(("a/b.conf", CONF), ("n" * 150, b""))
    at = whole.rfind(b"n" * 100) // 512 * 512  # the member itself, behind its extended header
    assert "stands before no member" in refusal(pack(whole[:at] + bytes(1024)))
