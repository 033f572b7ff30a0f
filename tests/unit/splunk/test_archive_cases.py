"""Hostile and broken archives that nobody on this project made, each read in a child process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.cases

READ_ALL = """
import json, sys, time
from backend.queue.retry import Permanent
from backend.workloads.splunk.archive.members import Member, survey
from backend.workloads.splunk.places import UploadType
from backend.workloads.splunk.provenance import Placing

def read(path):
    placing, told = Placing(UploadType.DS_ETC, path), {}
    with open(path, "rb") as source:
        archive = survey(source, path, seen=placing.see)
        told |= {"kind": archive.kind, "files": {}, "skipped": {}, "root": placing.root}
        told["notices"] = [notice.code for notice in archive.notices]
        for one in archive.members():
            if not isinstance(one, Member):
                told["skipped"][one.path] = one.reason
                continue
            size = sum(map(len, iter(lambda: one.read(65536), b"")))
            place = placing.of(one.path)
            warned = [warning.code for warning in one.warnings]
            if len(told["files"]) < 300:
                told["files"][one.path] = [size, place and place.layer, warned]
    return told

for path in sys.argv[1:]:
    begin = time.process_time()
    try:
        told = read(path)
    except Permanent as error:
        told = {"refused": error.detail}
    told["seconds"] = time.process_time() - begin
    with open("/proc/self/status") as status:  # getrusage(2) counts what was there before exec
        peak = next(line for line in status if line.startswith("VmHWM"))
    told["mebibytes"] = int(peak.split()[1]) / 1024
    print(json.dumps(told))
"""
REFUSED = {
    "19-bomb-ratio.zip": "over 250 times its size", "25-encrypted.zip": "encrypted",
    "27-truncated.tar.gz": "truncated", "29-empty.tar.gz": "empty",
    "30-not-an-archive.tar.gz": "a text", "31-html-login-page.tgz": "an HTML page",
    "35-bz2-named.tar.gz": "a bzip2 file",
}  # fmt: skip
SKIPPED = {
    "01-traversal.tar.gz": ["traversal"] * 2, "02-absolute.tar.gz": ["absolute"],
    "03-symlink-escape.tar.gz": ["link-outside", "below-link"],
    "05-hardlink-escape.tar.gz": ["link-outside"], "06-hardlink-relative.tar.gz": ["link-outside"],
    "08-dev-fifo.tar.gz": ["device", "device", "fifo"], "10-symlink-inside.tar.gz": ["link"],
    "11-duplicates.tar.gz": ["replaced"], "16-long-name.tar.gz": ["too-long"] * 2,
    "22-traversal.zip": ["traversal", "absolute", "traversal", "absolute"],
    "23-symlink.zip": ["link-outside", "below-link"], "24-duplicates.zip": ["replaced"],
}  # fmt: skip


LONG = "17-100k-tiny.tar.gz"
Told = dict[str, dict[str, Any]]


def read_all(files: list[Path]) -> Told:
    """What a child process tells of each file, in one process for all."""
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, *map(str, files)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    lines = map(json.loads, done.stdout.splitlines())
    return {file.name: line for file, line in zip(files, lines, strict=True)}


@pytest.fixture(scope="module")
def told(cases: Path) -> Told:
    files = {*cases.glob("nasty/[0-9]*"), *cases.glob("archives/*")}
    return read_all(sorted(file for file in files if file.name != LONG))


def check_cost(told: Told) -> None:
    assert {name for name, one in told.items() if one["seconds"] > 15} == set()
    assert max(one["mebibytes"] for one in told.values()) < 200


def test_each_ends_within_its_time_and_memory(told: Told) -> None:
    check_cost(told)


@pytest.mark.slow
def test_a_hundred_thousand_members_end_within_theirs(cases: Path) -> None:
    told = read_all([cases / "nasty" / LONG])
    check_cost(told)
    assert told[LONG]["root"] == "etc"
    assert len(told[LONG]["files"]) == 300


def test_those_that_are_broken_are_refused_and_no_others(told: Told) -> None:
    refused = {name: one["refused"] for name, one in told.items() if "refused" in one}
    assert refused.keys() == REFUSED.keys()
    assert [name for name, detail in refused.items() if REFUSED[name] not in detail] == []


def test_bad_members_are_skipped_and_no_others(told: Told) -> None:
    skipped = {
        name: list(one["skipped"].values()) for name, one in told.items() if one.get("skipped")
    }
    # Two skipped members may have one path: the case of a duplicate keeps its winner beside it.
    assert skipped == {name: reasons for name, reasons in SKIPPED.items() if name in told}
    for name in SKIPPED:
        assert "etc/apps/good/default/inputs.conf" in told[name]["files"]


def test_all_others_are_read_whole(told: Told) -> None:
    assert all(one["files"] for one in told.values() if "refused" not in one)
    for name, size in (("40-conf-10mb-line.tar.gz", 10_000_015), ("20-bomb-nested.zip", 8052)):
        assert size in [file[0] for file in told[name]["files"].values()]


def test_the_root_is_found(told: Told) -> None:
    assert told["47-wrapped-prefix.tar.gz"]["root"] == "opt/splunk/etc"
    for name in ("48-deployment-apps-root.tar.gz", "06-deployment-apps.tar.gz"):
        layers = {file[1] for file in told[name]["files"].values()}
        assert layers - {None} == {"deployment-app"}


def test_names_and_kinds_are_noted(told: Told) -> None:
    for name in ("32-tar-named.zip", "33-zip-named.tar.gz", "34-plain-tar-named.tar.gz"):
        assert told[name]["notices"] == ["name-disagrees"]
    assert told["38-concatenated.tar.gz"]["notices"] == ["trailing-data"]
    for name, path in (
        ("13-unicode-names.tar.gz", "etc/apps/\\u202egpj/default/inputs.conf"),
        ("14-non-utf8-name.tar.gz", "etc/apps/\\xd3\\xe9/default/inputs.conf"),
    ):
        assert told[name]["files"][path][2] == ["unusual-name"]
