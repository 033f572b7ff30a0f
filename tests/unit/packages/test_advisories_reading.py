"""What an import reads, what it refuses, and that what it keeps means the same afterwards."""

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from backend.settings import SettingsError
from backend.workloads.packages.advisories import reading
from backend.workloads.packages.advisories.known import ImportedAdvisories
from backend.workloads.packages.advisories.stored import restored, staged
from backend.workloads.packages.scanning.findings import Component
from backend.workloads.packages.scanning.osv import AdvisoriesError
from backend.workloads.packages.scanning.osv_record import RecordError, finding, read
from tests.callers import make_settings

Record = dict[str, Any]


def record(identifier: str = "GHSA-1", name: str = "oar", **fields: Any) -> Record:
    return {
        "id": identifier,
        "modified": "2026-01-02T03:04:05Z",
        "affected": [
            {
                "package": {"ecosystem": "npm", "name": name},
                "ranges": [
                    {"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "1.2.0"}]},
                    {"type": "SEMVER", "events": "broken"},
                ],
                "versions": ["7.0.0"],
                "database_specific": {"severity": "CRITICAL"},
            }
        ],
        **fields,
    }


def lines(path: Path) -> list[Record]:
    with reading.from_path(path) as records:
        records.lines.seek(0)
        return [json.loads(row[0]) for row in csv.reader(records.lines)]


def refused(path: Path) -> str:
    with pytest.raises(AdvisoriesError) as caught, reading.from_path(path):
        pass
    return str(caught.value)


@pytest.mark.parametrize("version", ["1.1.9", "1.2.0", "7.0.0", "no version"])
def test_what_is_stored_matches_as_the_record_does(version: str) -> None:
    advisory = read(record(aliases=["CVE-1"], summary="broken"))
    kept = json.loads(staged(advisory))
    again = restored("oar", {**kept, "affected": kept["packages"]["oar"]})
    component = Component(name="oar", version=version)

    assert finding(again, component, "osv") == finding(advisory, component, "osv")


def test_a_record_about_two_packages_is_kept_by_package() -> None:
    both = record()
    both["affected"] += record(name="keel")["affected"]
    kept = json.loads(staged(read(both)))
    assert {name: len(blocks) for name, blocks in kept["packages"].items()} == {"oar": 1, "keel": 1}


def test_a_name_that_no_package_can_have_is_left_out() -> None:
    assert json.loads(staged(read(record(name="a" * 215))))["packages"] == {}


@pytest.mark.parametrize("name", ["o\0ar", "o\ud800ar"])
def test_characters_that_no_database_takes_make_a_record_unreadable(name: str) -> None:
    with pytest.raises(RecordError, match="cannot be stored"):
        staged(read(record(name=name)))


def test_a_directory_an_archive_and_a_single_record_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "feed" / "npm"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text(json.dumps(record()))
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(folder / "a.json", "npm/a.json")
        packed.writestr("README.md", "no record")

    found = [lines(path) for path in (tmp_path / "feed", archive, folder / "a.json")]
    assert found[0] == found[1] == found[2]
    assert [one["id"] for one in found[0]] == ["GHSA-1"]


def test_one_broken_file_refuses_all_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(json.dumps(record()))
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "worse.json").write_text(json.dumps({"affected": []}))
    said = refused(tmp_path)
    assert said.startswith("nothing is imported: 2 cannot be read: ")
    assert "bad.json: it is not JSON" in said
    assert "worse.json: id is missing" in said


def test_of_many_broken_files_the_first_are_named(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}.json").write_text("[]")
    assert refused(tmp_path).endswith("4.json: the record is not an object and 3 more")


def test_what_holds_no_record_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path).endswith("holds no record")
    cut = tmp_path / "cut.zip"
    with zipfile.ZipFile(cut, "w") as packed:
        packed.writestr("a.json", json.dumps(record()))
    cut.write_bytes(cut.read_bytes()[:-30])
    assert "cut.zip: it is not JSON" in refused(cut)
    assert "neither a directory nor a zip" in refused(tmp_path / "nothing")


def test_a_sync_without_a_url_and_with_a_wrong_one_names_the_setting() -> None:
    with (
        pytest.raises(SettingsError, match="ADVISORIES_URL is not set"),
        reading.from_url(make_settings()),
    ):
        pass
    with (
        pytest.raises(SettingsError, match="ADVISORIES_URL"),
        reading.from_url(make_settings(ADVISORIES_URL="ftp://feed.example.test/all.zip")),
    ):
        pass


def known(**fields: Any) -> dict[str, Any]:
    kept = json.loads(staged(read(record())))
    stored = {"package": "oar", **kept, "affected": kept["packages"]["oar"]}
    return {
        "records": 12,
        "newest": "2026-01-02T03:04:05+00:00",
        "digest": 7,
        "advisories": [stored],
        **fields,
    }


def test_imported_advisories_are_a_source_of_a_scan() -> None:
    source = ImportedAdvisories(known(), complete=True)
    here = Component(name="oar", version="1.0.0")
    bundled = Component(name="oar", version="1.0.0", path="node_modules/oar/package.json")
    other = Component(name="keel", version="1.0.0")

    answer = source.scan([here, bundled, other], None)

    assert [(found.id, found.component) for found in answer.findings] == [
        ("GHSA-1", "pkg:npm/oar@1.0.0")
    ]
    assert answer.coverage is not None
    assert (answer.coverage.records, answer.coverage.complete) == (12, True)
    assert answer.coverage.digest == "7"


def test_a_source_with_nothing_about_a_package_still_says_what_it_covers() -> None:
    answer = ImportedAdvisories(known(advisories=None, newest=None), complete=False).scan(
        [Component(name="oar", version="1.0.0")], None
    )
    assert answer.findings == ()
    assert answer.coverage is not None
    assert (answer.coverage.as_of, answer.coverage.complete) == (None, False)
