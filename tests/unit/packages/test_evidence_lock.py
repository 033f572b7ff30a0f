"""The lock as uploaded, rewritten to the internal registry."""

import json
from base64 import b64encode
from typing import Any

import pytest

from backend.workloads.packages.evidence.rewriting import Vetted, rewritten
from backend.workloads.packages.evidence.stored_lock import read_stored
from backend.workloads.packages.lockfile.coordinates import of_tarball_path, tarball_path
from tests.evidence_example import HOST, parsed

REGISTRY = "https://npm.example.test/internal/"
SHA512 = "ab" * 64
PINNED = f"sha512-{b64encode(bytes.fromhex(SHA512)).decode()}"


def rewrite(document: dict[str, Any], *, sha512: str | None = SHA512) -> dict[str, Any]:
    """As the API does it: every package of the lock was vetted."""
    lock = parsed(json.dumps(document).encode())
    vetted = {
        entry: Vetted(package.name, package.version, sha512)
        for package in lock.packages
        for entry in package.entries
    }
    made = rewritten(read_stored(lock.redacted), vetted, registry=REGISTRY)
    found: dict[str, Any] = json.loads(made)
    return found


def at_source(name: str, version: str = "1.0.0") -> dict[str, Any]:
    return {"version": version, "resolved": f"https://{HOST}/{tarball_path(name, version)}"}


@pytest.mark.parametrize("name", ["left", "@acme/left", "old'name"])
def test_an_entry_is_resolved_at_the_internal_registry_and_pinned_to_the_vetted_bytes(
    name: str,
) -> None:
    location = f"node_modules/{name}"
    packages = {"": {"name": "shop"}, location: {**at_source(name), "integrity": "sha1-bad"}}
    found = rewrite({"lockfileVersion": 3, "packages": packages})

    assert found["packages"][location] == {
        "version": "1.0.0",
        "resolved": f"{REGISTRY}{tarball_path(name, '1.0.0')}",
        "integrity": PINNED,
    }


def test_bytes_that_nobody_has_seen_keep_the_hash_of_the_lock() -> None:
    entry = {**at_source("left"), "integrity": PINNED}
    packages = {"": {}, "node_modules/left": entry}
    found = rewrite({"lockfileVersion": 3, "packages": packages}, sha512=None)

    assert found["packages"]["node_modules/left"]["integrity"] == PINNED


def test_an_alias_is_resolved_as_what_it_stands_for() -> None:
    packages = {"": {}, "node_modules/short": {"name": "left", **at_source("left")}}
    found = rewrite({"lockfileVersion": 3, "packages": packages})

    assert found["packages"]["node_modules/short"]["resolved"].endswith("/left/-/left-1.0.0.tgz")


def test_what_was_not_vetted_stays_as_it_was() -> None:
    others = {
        "": {"name": "shop", "version": "1.0.0", "license": "UNLICENSED", "workspaces": ["lib"]},
        "lib": {"version": "0.1.0"},
        "node_modules/lib": {"resolved": "lib", "link": True},
        "node_modules/git": {
            "version": "1.0.0",
            "resolved": "git+ssh://git@example.test/a/b.git#1",
        },
    }
    document = {"lockfileVersion": 3, "packages": others}

    redacted = json.loads(parsed(json.dumps(document).encode()).redacted)
    assert rewrite(document) == redacted


def test_both_sections_of_a_version_2_lock_are_rewritten() -> None:
    found = rewrite(
        {
            "lockfileVersion": 2,
            "packages": {"": {}, "node_modules/left": {**at_source("left"), "integrity": PINNED}},
            "dependencies": {
                "left": {**at_source("left"), "integrity": PINNED},
                "only": {**at_source("only"), "integrity": PINNED},
            },
        }
    )

    for entry in (found["packages"]["node_modules/left"], *found["dependencies"].values()):
        assert entry["resolved"].startswith(REGISTRY)


def test_sections_that_name_different_versions_get_each_their_own() -> None:
    found = rewrite(
        {
            "lockfileVersion": 2,
            "packages": {"": {}, "node_modules/left": at_source("left")},
            "dependencies": {"left": at_source("left", "2.0.0")},
        }
    )

    assert found["packages"]["node_modules/left"]["resolved"].endswith("left-1.0.0.tgz")
    assert found["dependencies"]["left"]["resolved"].endswith("left-2.0.0.tgz")


def test_a_url_in_the_place_of_a_version_is_rewritten_too() -> None:
    url = at_source("left")["resolved"]
    found = rewrite({"lockfileVersion": 1, "dependencies": {"left": {"version": url}}})

    assert found["dependencies"]["left"]["version"] == f"{REGISTRY}left/-/left-1.0.0.tgz"


def test_nothing_secret_of_the_registrys_url_stands_in_the_lock() -> None:
    lock = read_stored(
        json.dumps({"packages": {"node_modules/left": {"version": "1.0.0"}}}).encode()
    )
    vetted = {"node_modules/left": Vetted("left", "1.0.0", None)}

    text = rewritten(lock, vetted, registry="https://me:secret@npm.example.test/x?key=secret")

    assert b"https://npm.example.test/x/left/-/left-1.0.0.tgz" in text
    assert b"secret" not in text


@pytest.mark.parametrize("name", ["left", "@acme/left", "it's~odd!"])
def test_a_tarballs_path_says_what_it_is(name: str) -> None:
    assert of_tarball_path(f"/{tarball_path(name, '1.0.0-rc.1+build')}") == (
        name,
        "1.0.0-rc.1+build",
    )
