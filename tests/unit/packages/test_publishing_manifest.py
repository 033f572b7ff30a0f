from collections.abc import Mapping
from typing import Any

from backend.workloads.packages.publishing.manifest import version_document

DIST = {"integrity": "sha512-…", "shasum": "…", "tarball": "…"}


def document(
    manifest: dict[str, Any], install_scripts: Mapping[str, str] = {}, name: str = "left"
) -> dict[str, Any]:
    return version_document(
        manifest, name=name, version="1.0.0", install_scripts=install_scripts, dist=DIST
    )


def test_what_an_installer_reads_is_told_as_the_package_tells_it() -> None:
    told: dict[str, Any] = {
        "dependencies": {"a": "^1.0.0"},
        "optionalDependencies": {"b": "2"},
        "peerDependencies": {"c": "3"},
        "peerDependenciesMeta": {"c": {"optional": True}},
        "engines": {"node": ">=18"},
        "bin": {"left": "run.js"},
        "os": ["linux"],
        "cpu": ["!arm"],
        "libc": ["glibc"],
        "license": "MIT",
        "exports": {".": "./index.js"},
        "bundleDependencies": ["a"],
    }
    assert {key: document(told)[key] for key in told} == told


def test_what_a_package_wishes_of_a_registry_is_left_out() -> None:
    wished = {
        "name": "other",
        "version": "9.9.9",
        "_id": "other@9.9.9",
        "_attachments": {},
        "dist": {"tarball": "http://elsewhere.test"},
        "dist-tags": {"latest": "9.9.9"},
        "deprecated": "use other",
        "publishConfig": {"registry": "http://elsewhere.test", "tag": "latest"},
        "private": True,
        "hasInstallScript": False,
        "readme": "# left",
    }
    assert document(wished) == {
        "_id": "left@1.0.0", "name": "left", "version": "1.0.0", "dist": DIST,
    }  # fmt: skip


def test_a_single_command_is_named_as_its_package_without_the_scope() -> None:
    assert document({"bin": "run.js"}, name="@acme/left")["bin"] == {"left": "run.js"}
    assert "bin" not in document({"bin": ""})


def test_fields_of_a_wrong_type_are_none() -> None:
    odd = {"dependencies": ["a"], "scripts": "x", "bin": 3, "bundledDependencies": "a"}
    assert document(odd).keys() == {"_id", "name", "version", "dist"}
    assert document({"dependencies": {"a": 1, "b": "2"}})["dependencies"] == {"b": "2"}


def test_a_build_that_no_script_names_is_told_as_npm_tells_it() -> None:
    found = document({"scripts": {"test": "x"}}, {"install": "node-gyp rebuild"})
    assert found["hasInstallScript"] is True
    assert found["scripts"] == {"test": "x", "install": "node-gyp rebuild"}


def test_the_old_spelling_of_bundled_dependencies_is_told_in_the_new_one() -> None:
    assert document({"bundledDependencies": True})["bundleDependencies"] is True
