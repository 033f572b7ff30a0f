"""Real locks that are kept outside the repository."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from backend.problems import Problem
from backend.workloads.packages.lockfile import ParsedLock, parse_lock

LOCKS = Path(__file__).resolve().parents[3].parent / "shared" / "cases" / "locks"

pytestmark = [
    pytest.mark.cases,
    pytest.mark.skipif(not LOCKS.is_dir(), reason="../shared/cases is not there"),
]

NPM_LOCKS = {
    "balena-cli-22.5.5.npm-shrinkwrap.json",
    "edge-mix.package-lock.v1.json",
    "edge-mix.package-lock.v2.json",
    "edge-mix.package-lock.v3.json",
    "etcher-2018.npm-shrinkwrap.v0.json",
    "npm-cli-audit-omit.package-lock.json",
    "npm-cli-dep-missing-resolved.package-lock.json",
    "npm-cli-tap-old-lockfile.package-lock.json",
    "npm-cli-two-bundled-deps.package-lock.json",
    "npm-cli.package-lock.v3.json",
    "pdfjs-2018.package-lock.v1.json",
}


def read(name: str) -> ParsedLock:
    return parse_lock(
        (LOCKS / name).read_bytes(),
        filename=name,
        origins=frozenset({"npm.example.test"}),
        max_bytes=20 * 1024 * 1024,
    )


def reasons(lock: ParsedLock) -> dict[str, int]:
    return dict(Counter(exclusion.reason for exclusion in lock.exclusions))


def algorithms(lock: ParsedLock) -> dict[str, int]:
    """Entries by the algorithm that names their bytes."""
    return dict(
        Counter(
            (package.integrity or "none").partition("-")[0]
            for package in lock.packages
            for _ in package.entries
        )
    )


@pytest.mark.parametrize("name", sorted(NPM_LOCKS))
def test_every_entry_of_a_real_lock_is_found_once(name: str) -> None:
    document = json.loads((LOCKS / name).read_bytes())
    lock = read(name)
    found = [entry for package in lock.packages for entry in package.entries]
    found += [exclusion.entry for exclusion in lock.exclusions]
    assert len(found) == lock.entries
    if "packages" in document:
        assert sorted(found) == sorted(document["packages"].keys() - {""})
    json.loads(lock.redacted)


def test_npm_cli_has_the_figures_that_were_counted_by_hand() -> None:
    lock = read("npm-cli.package-lock.v3.json")
    raw = json.loads((LOCKS / "npm-cli.package-lock.v3.json").read_bytes())["packages"]
    assert reasons(lock) == {"workspace": 16, "link": 16, "bundled": 163}
    registry_entries = lock.entries - 32
    assert registry_entries == 1241
    unique = {(package.name, package.version) for package in lock.packages}
    unique |= {(part.name, part.version or "") for part in lock.components}
    assert len(unique) == 1020
    bundled = {location for location, entry in raw.items() if entry.get("inBundle")}
    own_bytes = {name for package in lock.packages for name in package.entries} & bundled
    assert (len(bundled), len(own_bytes)) == (356, 193)
    assert {part.parent for part in lock.components} == {"pkg:npm/tap@16.3.10"}


def test_the_three_versions_of_one_projects_lock_want_the_same_packages() -> None:
    one, two, three = (read(f"edge-mix.package-lock.v{version}.json") for version in (1, 2, 3))
    keys = [
        {(package.name, package.version, package.integrity) for package in lock.packages}
        for lock in (one, two, three)
    ]
    assert keys[0] == keys[1] == keys[2]
    assert len(keys[0]) == 134
    assert [package.aliases for package in one.packages if package.aliases] == [
        ("lodash-old",),
        ("string-width-cjs",),
        ("strip-ansi-cjs",),
        ("wrap-ansi-cjs",),
    ]
    assert reasons(one) == {"file": 2}
    assert reasons(two) == reasons(three) == {"link": 2, "file": 1, "workspace": 1}
    assert two.differences == three.differences == ()
    assert sum(package.platform_limited for package in three.packages) == 25


def test_balena_has_a_git_entry_aliases_and_97_hashes_of_sha1() -> None:
    lock = read("balena-cli-22.5.5.npm-shrinkwrap.json")
    assert lock.entries == 2025
    assert reasons(lock) == {"git": 1}
    assert algorithms(lock) == {"sha512": 1927, "sha1": 97}
    assert sum(len(package.aliases) for package in lock.packages) == 3
    assert b"git@" not in lock.redacted


def test_etcher_is_a_lock_before_versions_and_before_hashes() -> None:
    lock = read("etcher-2018.npm-shrinkwrap.v0.json")
    assert (lock.format, lock.entries) == ("npm-lock-v0", 1840)
    assert algorithms(lock) == {"none": 1836}
    assert reasons(lock) == {"git": 4}


def test_pdfjs_has_999_hashes_of_sha1_and_false_for_resolved() -> None:
    lock = read("pdfjs-2018.package-lock.v1.json")
    assert (lock.format, lock.entries) == ("npm-lock-v1", 1577)
    assert algorithms(lock) == {"sha1": 999, "sha512": 512}
    assert reasons(lock) == {"bundled": 66}
    assert {part.parent for part in lock.components} == {"pkg:npm/fsevents@1.2.4"}


def test_a_dependency_without_a_version_is_excluded_and_a_difference() -> None:
    lock = read("npm-cli-dep-missing-resolved.package-lock.json")
    assert reasons(lock) == {"missing-version": 1}
    assert [difference.kind for difference in lock.differences] == [
        "only-in-packages",
        "conflicting-integrity",
    ]


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(LOCKS.glob("*")) if path.name not in NPM_LOCKS],
    ids=lambda path: path.name,
)
def test_another_tools_lock_is_refused_and_told_what_was_expected(path: Path) -> None:
    with pytest.raises(Problem, match=r"expected an npm package-lock\.json") as caught:
        read(path.name)
    assert caught.value.code in {"not-a-lock-file", "malformed-json"}


def test_a_megabyte_of_lock_is_read_in_a_fraction_of_a_second() -> None:
    started = time.process_time()
    read("balena-cli-22.5.5.npm-shrinkwrap.json")
    assert time.process_time() - started < 1  # second; measured: about 0.15
