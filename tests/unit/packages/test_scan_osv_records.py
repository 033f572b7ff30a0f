import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nodesemver import clean, compare, satisfies

from backend.workloads.packages.scanning.findings import Finding
from backend.workloads.packages.scanning.osv import AdvisoriesError, OsvRecords, load
from backend.workloads.packages.scanning.osv_record import read
from backend.workloads.packages.semver import parse, sort_key

Event = dict[str, str]


def affected(*events: Event, name: str = "demo", kind: str = "SEMVER", **fields: Any) -> Any:
    ranges = [{"type": kind, "events": list(events)}] if events else []
    return {"package": {"ecosystem": "npm", "name": name}, "ranges": ranges} | fields


def record(*blocks: Any, **fields: Any) -> dict[str, Any]:
    base = {"id": "GHSA-1", "modified": "2026-01-02T03:04:05Z", "affected": list(blocks)}
    return base | fields


def matched(document: dict[str, Any], version: str, name: str = "demo") -> list[Finding]:
    source = OsvRecords([read(document)], name="osv", complete=True, broken=[])
    return source.match(name, version)


def hit(version: str, *events: Event, **fields: Any) -> bool:
    kinds = [found.kind for found in matched(record(affected(*events, **fields)), version)]
    assert kinds in ([], ["vulnerability"])
    return bool(kinds)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.9.9", False), ("1.0.0-rc.1", False), ("1.0.0", True), ("1.9.9", True),
        ("2.0.0-beta", True), ("2.0.0", False), ("2.0.0+build", False), ("v1.5.0", True),
    ],
)  # fmt: skip
def test_a_version_is_hit_from_introduced_until_fixed(version: str, expected: bool) -> None:
    assert hit(version, {"introduced": "1.0.0"}, {"fixed": "2.0.0"}) is expected


def test_introduced_zero_is_before_everything() -> None:
    assert hit("0.0.0-alpha", {"introduced": "0"}, {"fixed": "2.0.0"})
    assert hit("99.0.0", {"introduced": "0"})


def test_last_affected_is_itself_affected() -> None:
    events = ({"introduced": "1.0.0"}, {"last_affected": "1.5.0"})
    assert hit("1.5.0", *events)
    assert not hit("1.5.1", *events)


def test_a_limit_ends_a_range_and_a_star_does_not() -> None:
    assert not hit("2.0.0", {"introduced": "0"}, {"limit": "2.0.0"})
    assert hit("1.9.9", {"introduced": "0"}, {"limit": "2.0.0"})
    assert hit("2.0.0", {"introduced": "0"}, {"limit": "*"})


def test_events_need_no_order_and_a_bug_may_come_back() -> None:
    events = ({"fixed": "3.0.0"}, {"introduced": "2.0.0"}, {"fixed": "1.5.0"}, {"introduced": "0"})
    assert [hit(v, *events) for v in ("1.0.0", "1.5.0", "2.0.0", "3.0.0")] == [
        True, False, True, False,
    ]  # fmt: skip
    again = ({"introduced": "0"}, {"fixed": "1.0.0"}, {"introduced": "1.0.0"}, {"fixed": "2.0.0"})
    assert hit("1.0.0", *again)


def test_ecosystem_ranges_and_listed_versions_count_too() -> None:
    assert hit("1.1.0", {"introduced": "1.0.0"}, {"fixed": "2.0.0"}, kind="ECOSYSTEM")
    assert hit("1.2.3", versions=["1.2.3"])
    assert not hit("1.2.4", versions=["1.2.3"])
    assert hit("not-semver", {"introduced": "5.0.0"}, versions=["not-semver"])


def test_any_of_several_blocks_may_match() -> None:
    document = record(
        affected({"introduced": "1.0.0"}, {"fixed": "1.5.0"}),
        affected({"introduced": "2.0.0"}, {"fixed": "2.5.0"}),
        affected({"introduced": "0"}, name="other"),
    )
    assert [bool(matched(document, v)) for v in ("1.2.0", "1.7.0", "2.1.0")] == [True, False, True]
    assert matched(document, "2.1.0")[0].fixed == ("2.5.0",)
    assert matched(document, "9.0.0", "other")[0].fixed is None


def test_the_nearest_fix_above_the_version_is_named() -> None:
    events = ({"introduced": "0"}, {"fixed": "1.5.0"}, {"introduced": "2.0.0"}, {"fixed": "2.10.0"})
    assert matched(record(affected(*events)), "2.2.0")[0].fixed == ("2.10.0",)
    assert matched(record(affected(*events)), "1.0.0")[0].fixed == ("1.5.0",)


def test_package_names_are_compared_with_their_case_and_ecosystem() -> None:
    document = record(affected({"introduced": "0"}))
    assert matched(document, "1.0.0", "Demo") == []
    document["affected"][0]["package"]["ecosystem"] = "PyPI"
    assert matched(document, "1.0.0") == []


@pytest.mark.parametrize(
    "block",
    [
        affected({"introduced": "0"}, {"fixed": "someday"}),
        affected({"fixed": "1.0.0"}),
        affected({"introduced": "0"}, {"fixed": "1", "limit": "2"}),
        affected({"invented": "0"}),
        affected({"introduced": "0"}, kind="MOON"),
        affected({"introduced": "0"}, kind="GIT"),
        affected(ranges=[{"type": "SEMVER"}]),
        affected(),
    ],
)
def test_a_range_that_cannot_be_read_is_undetermined(block: Any) -> None:
    (found,) = matched(record(block), "1.0.0")
    assert found.kind == "undetermined"


def test_a_version_that_cannot_be_read_is_undetermined() -> None:
    (found,) = matched(record(affected({"introduced": "1.0.0"})), "latest")
    assert found.kind == "undetermined"


def test_a_readable_range_decides_even_beside_an_unreadable_one() -> None:
    document = record(affected({"introduced": "0"}), affected({"introduced": "0"}, kind="MOON"))
    assert [f.kind for f in matched(document, "1.0.0")] == ["vulnerability"]


def test_commits_beside_versions_leave_nothing_open() -> None:
    block = affected({"introduced": "1.0.0"})
    block["ranges"].append({"type": "GIT", "events": [{"introduced": "0"}]})
    assert matched(record(block), "0.5.0") == []


def test_withdrawn_records_are_ignored() -> None:
    document = record(affected({"introduced": "0"}), withdrawn="2026-01-01T00:00:00Z")
    assert matched(document, "1.0.0") == []


@pytest.mark.parametrize("ids", [{"id": "MAL-2026-1"}, {"aliases": ["MAL-2026-1"]}])
def test_malware_records_are_critical(ids: dict[str, Any]) -> None:
    (found,) = matched(record(affected({"introduced": "0"}), **ids), "1.0.0")
    assert (found.kind, found.severity) == ("malware", "critical")


V3 = {"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"}
V4 = {"type": "CVSS_V4", "score": "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"}


@pytest.mark.parametrize(
    ("fields", "severity"),
    [
        ({}, "unknown"),
        ({"severity": [V3]}, "high"),
        ({"severity": [V4]}, "unknown"),
        ({"severity": [V4], "database_specific": {"severity": "CRITICAL"}}, "critical"),
        ({"database_specific": {"severity": "MODERATE"}}, "medium"),
        ({"database_specific": {"severity": "LOW"}}, "low"),
        ({"database_specific": {"severity": "?"}}, "unknown"),
        ({"severity": [V3], "database_specific": {"severity": "LOW"}}, "high"),
    ],
)
def test_the_severity_is_the_worst_readable_rating(fields: dict[str, Any], severity: str) -> None:
    (found,) = matched(record(affected({"introduced": "0"}), **fields), "1.0.0")
    assert found.severity == severity


def test_a_block_may_carry_its_own_severity() -> None:
    block = affected({"introduced": "0"}, ecosystem_specific={"severity": "critical"})
    assert matched(record(block), "1.0.0")[0].severity == "critical"


NUMBERS = st.integers(0, 4)
RELEASES = st.builds("{}.{}.{}".format, NUMBERS, NUMBERS, NUMBERS)
TAGS = st.sampled_from(
    ["", "-0", "-1", "-9", "-10", "-a", "-a.1", "-a.b", "-rc.1", "-rc.1.x", "+b"]
)
VERSIONS = st.builds("{}{}".format, RELEASES, TAGS)


@given(RELEASES, RELEASES, RELEASES)
def test_a_simple_range_means_what_npm_means(version: str, start: str, end: str) -> None:
    start, end = sorted((start, end), key=sort_key)
    npm = satisfies(version, f">={start} <{end}")
    assert hit(version, {"introduced": start}, {"fixed": end}) is npm


@given(VERSIONS, VERSIONS)
def test_versions_are_ordered_as_npm_orders_them(left: str, right: str) -> None:
    first, second = parse(left), parse(right)
    assert first is not None
    assert second is not None
    assert (first > second) - (first < second) == compare(left, right, loose=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1",
        "1.2",
        "1.2.3.4",
        "1.2.3.x",
        "1.2.3-a b",
        "1." * 200,
        "\u0661.\u0662.\u0663",
        "9" * 5000,
    ],
)
def test_what_npm_would_not_take_for_a_version_is_unreadable(text: str) -> None:
    assert parse(text) is None


@given(st.text(alphabet="0123v=.-+ abx\t\n", max_size=14))
def test_no_text_breaks_the_version_reader(text: str) -> None:
    assert (parse(text) is None) is (clean(text, loose=True) is None)


Write = Callable[[dict[str, bytes | dict[str, Any]]], Path]


@pytest.fixture(params=["directory", "zip"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Write:
    def as_directory(files: dict[str, bytes | dict[str, Any]]) -> Path:
        for name, content in files.items():
            file = tmp_path / "osv" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(
                content if isinstance(content, bytes) else json.dumps(content).encode()
            )
        return tmp_path / "osv"

    def as_zip(files: dict[str, bytes | dict[str, Any]]) -> Path:
        folder = as_directory(files)
        with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name in files:
                archive.write(folder / name, name)
        return tmp_path / "all.zip"

    return as_zip if request.param == "zip" else as_directory


def test_records_are_found_in_folders_and_archives(write: Write) -> None:
    path = write({
        "npm/a.json": record(affected({"introduced": "0"})),
        "b.json": record(affected({"introduced": "0"}, name="other"), id="X",
                         modified="2026-02-01T00:00:00Z"),
        "python.json": record(id="PYSEC-1"),
        "readme.txt": b"not a record",
    })  # fmt: skip
    source = load(path, complete=True)
    assert [f.id for f in source.match("demo", "1.0.0")] == ["GHSA-1"]
    assert source.coverage.records == 2
    assert source.coverage.complete
    assert source.coverage.as_of == datetime(2026, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "broken",
    [b"{", b"[]", b"\xff", b"[" * 100_000, {"id": ""}, {"id": "X", "affected": "all"},
     {"id": "X", "affected": [{"package": {"name": 3, "ecosystem": "npm"}}]},
     {"id": "X", "aliases": [1]}, {"id": "X", "severity": {}}],
)  # fmt: skip
def test_a_broken_record_is_named_and_ends_the_claim_to_completeness(
    write: Write, broken: Any
) -> None:
    path = write({"bad.json": broken, "good.json": record(affected({"introduced": "0"}))})
    source = load(path, complete=True)
    assert [name.partition(":")[0] for name in source.coverage.broken] == ["bad.json"]
    assert not source.coverage.complete
    assert source.match("demo", "1.0.0")


def test_of_one_id_the_last_modified_record_counts(write: Write) -> None:
    path = write({
        "1.json": record(affected({"introduced": "0"}), modified="2026-03-01T00:00:00Z",
                         withdrawn="2026-03-01T00:00:00Z"),
        "2.json": record(affected({"introduced": "0"}), modified="2026-02-01T00:00:00Z"),
    })  # fmt: skip
    assert load(path, complete=True).match("demo", "1.0.0") == []


def test_a_damaged_zip_entry_is_a_broken_record(tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.json", json.dumps(record()))
    path.write_bytes(path.read_bytes().replace(b"GHSA-1", b"GHSA-2", 1))
    (name,) = load(path, complete=True).coverage.broken
    assert name.startswith("a.json")


def test_what_is_neither_directory_nor_zip_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "advisories.json"
    file.write_text("{}")
    with pytest.raises(AdvisoriesError, match=r"advisories\.json is neither"):
        load(file, complete=True)
    with pytest.raises(AdvisoriesError):
        load(tmp_path / "absent", complete=True)


def test_only_a_complete_and_fresh_source_covers() -> None:
    now = datetime(2026, 1, 3, tzinfo=UTC)
    document = record(affected({"introduced": "0"}), modified="2026-01-02T12:00:00Z")

    def covers(hours: int, *, complete: bool = True, modified: str | None = None) -> bool:
        advisory = read(document | ({"modified": modified} if modified else {}))
        source = OsvRecords([advisory], name="osv", complete=complete, broken=[])
        return source.coverage.covers(now, timedelta(hours=hours))

    assert covers(24)
    assert not covers(11)
    assert not covers(24, complete=False)
    assert not covers(24, modified="2099-01-01T00:00:00Z")
    assert not covers(24, modified="nonsense")
