"""Which members of an archive are read, and what becomes of the others."""

import io
import tarfile
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backend.queue.retry import Permanent
from backend.workloads.splunk.archive.limits import Limits
from backend.workloads.splunk.archive.members import Member, Skipped, survey
from backend.workloads.splunk.archive.naming import escaped, leads_out, normal
from tests.unit.splunk.packed import (
    CONF,
    content_of,
    contents,
    entry,
    refusal,
    skips,
    surveyed,
    tar,
    targz,
    zipped,
)

GOOD = ("etc/apps/good/default/inputs.conf", CONF)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../x", "traversal"), ("etc/../../x", "traversal"), ("etc/..", "traversal"),
        ("etc\\..\\x", "traversal"), ("/etc/passwd", "absolute"), ("\\\\host\\x", "absolute"),
        ("C:\\x", "absolute"), ("c:x", "absolute"), ("a" * 256, "too-long"),
        ("ü" * 128, "too-long"), ("x/" * 2048 + "x", "too-long"), ("x/" * 101 + "x", "too-deep"),
        (".", "unsafe-name"),
    ],
)  # fmt: skip
def test_a_name_that_is_not_followed(name: str, reason: str) -> None:
    (skipped,) = [one for one in surveyed(targz((name, b"x"), GOOD)).members()
                  if isinstance(one, Skipped)]  # fmt: skip
    assert (skipped.reason, skipped.number) == (reason, 1)
    assert len(skipped.path) <= 210
    assert skipped.detail.isprintable()


def test_a_name_with_a_nul_is_skipped() -> None:
    header = entry("x")
    header.pax_headers = {"path": "etc/a\0b.conf"}
    assert skips(targz((header, CONF), GOOD)) == {"etc/a\\u0000b.conf": "unsafe-name"}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("./etc/x.conf", "etc/x.conf"), ("etc//x.conf", "etc/x.conf"),
        ("etc/./x.conf", "etc/x.conf"), ("etc/..x/...", "etc/..x/..."), ("a" * 255, "a" * 255),
        ("x/" * 100 + "x", "x/" * 100 + "x"), ("etc/a:b", "etc/a:b"),
    ],
)  # fmt: skip
def test_a_name_that_is(name: str, path: str) -> None:
    assert contents(targz((name, CONF))) == {path: CONF}


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("etc/\udcd3\udce9", "etc/\\xd3\\xe9"), ("a\nb", "a\\u000ab"), ("\x1b[31m", "\\u001b[31m"),
        ("\u202egpj", "\\u202egpj"), ("a\\b", "a\\\\b"), ("\U000e0001", "\\U000e0001"),
    ],
)  # fmt: skip
def test_a_name_that_a_terminal_would_obey_is_escaped(raw: str, path: str) -> None:
    (member,) = surveyed(targz((raw, CONF))).members()
    assert isinstance(member, Member)
    assert member.path == path
    assert [warned.code for warned in member.warnings] == ["unusual-name"]


@given(st.text(), st.text())
@example("\\xd3", "\udcd3")
@example("\x85", "\udc85")
@settings(max_examples=50)
def test_no_two_names_are_escaped_alike(one: str, other: str) -> None:
    assert (escaped(one) == escaped(other)) == (one == other)
    assert escaped(one).isprintable()


def test_composed_and_decomposed_letters_stay_apart() -> None:
    assert list(contents(targz(("é", b"1"), ("e\u0301", b"2")))) == ["é", "e\u0301"]


@pytest.mark.parametrize(
    ("name", "target", "out"),
    [
        ("etc/a/l", "../b/x", False), ("etc/a/l", "../../x", False),
        ("etc/a/l", "../../../x", True), ("l", "x/../../y", True), ("l", "x/../y", False),
        ("l", "/x", True), ("l", "..\\x", True), ("l", "D:\\x", True), ("./a/l", "../x", False),
    ],
)  # fmt: skip
def test_where_a_link_leads(name: str, target: str, *, out: bool) -> None:
    assert leads_out(name, target, hard=False) is out
    data = targz(entry(name, tarfile.SYMTYPE, target), GOOD)
    assert skips(data) == {normal(name): "link-outside" if out else "link"}


def test_a_hard_link_counts_from_the_top() -> None:
    for target, reason in (("etc/x", "link"), ("../x", "link-outside"), ("/etc/x", "link-outside")):
        assert skips(targz(entry("etc/l", tarfile.LNKTYPE, target), GOOD)) == {"etc/l": reason}


def test_what_would_be_written_through_a_link_is_skipped() -> None:
    link = entry("etc/apps/l", tarfile.SYMTYPE, "good")
    data = targz(("etc/apps/l/early", b""), link, ("etc/apps/l/a/b.conf", CONF),
                 ("etc/apps/lx", CONF), ("etc/apps/l/early", b"again"), GOOD)  # fmt: skip
    assert list(contents(data)) == ["etc/apps/l/early", "etc/apps/lx", GOOD[0]]
    members = surveyed(data).members()
    assert [one.number for one in members if isinstance(one, Skipped)] == [2, 3, 5]


@pytest.mark.parametrize("zip_it", [False, True])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_members_of_one_name_the_last_is_read(*, zip_it: bool) -> None:
    twins = [("a", b"1"), ("b", b"2"), ("./a", b"3"), ("A", b"4"), ("a", b"5")]
    data = zipped(twins) if zip_it else targz(*twins)
    told = [
        (one.number, one.reason) if isinstance(one, Skipped)
        else (one.number, one.path, content_of(one), [warned.code for warned in one.warnings])
        for one in surveyed(data).members()
    ]  # fmt: skip
    assert told == [
        (1, "replaced"), (2, "b", b"2", []), (3, "replaced"), (4, "A", b"4", []),
        (5, "a", b"5", ["duplicate-member"]),
    ]  # fmt: skip
    assert surveyed(data).files == 3


def test_modes_do_not_matter() -> None:
    header = entry("etc/x.conf")
    for mode in (0, 0o6777):
        header.mode = mode
        assert contents(targz((header, CONF))) == {"etc/x.conf": CONF}


def test_the_survey_tells_the_paths_of_all_that_may_be_read() -> None:
    seen: list[str] = []
    data = targz(("a\nb", b""), ("../x", b""), ("./c", b""), entry("d", tarfile.DIRTYPE))
    archive = survey(io.BytesIO(data), "x", seen=seen.append)
    assert seen == ["a\\u000ab", "c"]
    assert (archive.entries, archive.files) == (4, 2)


def test_members_can_be_gone_over_again() -> None:
    archive = surveyed(targz(GOOD, ("b", b"2")))
    for _ in range(2):
        assert [one.path for one in archive.members()] == [GOOD[0], "b"]


@pytest.mark.parametrize("name", ["props.conf", "C:\\temp\\props.conf", "/var/tmp/props.conf"])
def test_a_single_conf_file_is_an_archive_of_one(name: str) -> None:
    archive = survey(io.BytesIO(CONF), name)
    (member,) = archive.members()
    assert isinstance(member, Member)
    assert (member.path, member.size, content_of(member)) == ("props.conf", len(CONF), CONF)
    assert archive.notices == ()


def test_a_single_conf_file_over_the_limit_is_skipped() -> None:
    (skipped,) = survey(io.BytesIO(CONF), "x.conf", Limits(member=3)).members()
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "too-large"


def test_memory_does_not_grow_with_names_or_contents() -> None:
    long = "n" * 250
    files = ((f"{long}/{long}/{long}/{number}.conf", bytes(3000)) for number in range(300))
    source = io.BytesIO(targz(*files))
    tracemalloc.start()
    try:
        for member in survey(source, "x").members():
            assert isinstance(member, Member)
            content_of(member)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 500_000  # bytes; the names are 0.2 MB and the contents 0.9 MB


SAMPLES = (
    targz(GOOD, ("b/" + "n" * 120, b"x" * 900), entry("l", tarfile.SYMTYPE, "b")),
    tar(GOOD, ("c" * 120, b""), dialect=tarfile.GNU_FORMAT),
    zipped({GOOD[0]: CONF, "b": b"x" * 900, "c/": b""}),
)


@given(st.sampled_from(SAMPLES), st.data())
@settings(max_examples=100)
def test_whatever_is_damaged_the_archive_is_read_or_refused_in_words(
    sample: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(sample) - 1))] = data.draw(st.integers(0, 255))
    try:
        contents(bytes(damaged))
    except Permanent as error:
        assert error.detail  # noqa: PT017 - either end is right


def test_a_refusal_is_one_line_whatever_the_names_hold() -> None:
    data = bytearray(zipped({"a\x1b\n.conf": CONF}))
    data[len(CONF) + 20] ^= 0xFF
    assert refusal(bytes(data)).isprintable()


@pytest.mark.parametrize("name", ["", "..", "a" * 300, "x/"])
def test_a_single_conf_file_is_read_whatever_its_name(name: str) -> None:
    (member,) = surveyed(CONF, name).members()
    assert isinstance(member, Member)
    assert (member.path, content_of(member)) == ("unnamed.conf", CONF)
