from typing import Any
from urllib.parse import urlsplit

import pytest

from backend.workloads.packages.origins import default_registry
from backend.workloads.packages.registry.errors import RegistryPermanent, RegistryTransient
from backend.workloads.packages.registry.npm import (
    VersionMetadata,
    license_text,
    package_document_url,
    tarball_url,
    version_document_url,
    version_metadata,
)

BASE = "https://registry.example.test/npm"


def metadata(**document: Any) -> VersionMetadata:
    return version_metadata({"name": "left", "version": "1.0.0", **document}, "left", "1.0.0")


def test_the_default_registry_is_a_bare_https_origin() -> None:
    parts = urlsplit(default_registry())
    assert (parts.scheme, parts.path, parts.query) == ("https", "", "")
    assert "." in parts.netloc


@pytest.mark.parametrize(
    ("name", "package", "tarball"),
    [
        ("left", f"{BASE}/left", f"{BASE}/left/-/left-1.0.0.tgz"),
        ("@a/left", f"{BASE}/@a%2Fleft", f"{BASE}/@a/left/-/left-1.0.0.tgz"),
        ("JSONStream", f"{BASE}/JSONStream", f"{BASE}/JSONStream/-/JSONStream-1.0.0.tgz"),
        ("it's", f"{BASE}/it%27s", f"{BASE}/it%27s/-/it%27s-1.0.0.tgz"),
    ],
)
def test_urls_are_built_from_coordinates(name: str, package: str, tarball: str) -> None:
    assert package_document_url(BASE, name) == package
    assert version_document_url(BASE, name, "1.0.0") == f"{package}/1.0.0"
    assert tarball_url(BASE, name, "1.0.0") == tarball


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../etc",
        "a/b",
        "a/../b",
        "@a/..",
        "@./b",
        "@../b",
        "@a/b/c",
        "a b",
        "a?b",
        "a#b",
        "a%2fb",
        "a\nb",
        "a\0b",
        "a\\b",
        "\ud800",
        ".hidden",
        "a" * 215,
    ],
)
def test_a_name_that_could_lead_elsewhere_is_refused(name: str) -> None:
    for build in (package_document_url, lambda base, bad: tarball_url(base, bad, "1.0.0")):
        with pytest.raises(RegistryPermanent) as caught:
            build(BASE, name)
        assert caught.value.code == "bad-coordinates"


@pytest.mark.parametrize(
    "version", ["", "..", "../1", "1.0.0/..", "1 0", "1?x", "1%2f", "^1", "1" * 257]
)
def test_a_version_that_could_lead_elsewhere_is_refused(version: str) -> None:
    for build in (version_document_url, tarball_url):
        with pytest.raises(RegistryPermanent) as caught:
            build(BASE, "left", version)
        assert caught.value.code == "bad-coordinates"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("MIT", "MIT"),
        (" (MIT OR Apache-2.0) ", "(MIT OR Apache-2.0)"),
        ("SEE LICENSE IN LICENSE.txt", "SEE LICENSE IN LICENSE.txt"),
        ({"type": "BSD", "url": "https://example.test"}, "BSD"),
        ({"name": "MIT"}, "MIT"),
        ([{"type": "MIT"}, {"type": "GPL-2.0"}], "MIT OR GPL-2.0"),
        (["MIT", "BSD-3-Clause AND CC0-1.0"], "MIT OR (BSD-3-Clause AND CC0-1.0)"),
        (["MIT", "MIT"], "MIT"),
        (["MIT"], "MIT"),
        ("", None),
        ([], None),
        ({}, None),
        (None, None),
        (7, None),
        (True, None),
        ({"type": {"type": "MIT"}}, None),
        (["MIT", 7], None),
        (["MIT", ["GPL-2.0"]], None),
        (["MIT", ""], None),
    ],
)
def test_every_form_of_a_licence_becomes_one_text_or_unknown(value: Any, text: str | None) -> None:
    assert license_text(value) == text


def test_the_legacy_licenses_field_is_read_where_license_is_absent() -> None:
    both = metadata(license="MIT", licenses=[{"type": "GPL-2.0"}])
    old = metadata(licenses=[{"type": "MIT"}, {"type": "Apache-2.0"}])
    assert (both.license_expression, old.license_expression) == ("MIT", "MIT OR Apache-2.0")


@pytest.mark.parametrize("text", ["MIT\0", "MIT\ud800", "x" * 1001])
def test_text_that_cannot_be_stored_is_unknown_and_never_cut_to_another_meaning(text: str) -> None:
    assert metadata(license=text).license_expression is None
    assert metadata(dist={"integrity": text}).integrity is None


@pytest.mark.parametrize(
    ("value", "notice"),
    [
        ("use right instead", "use right instead"),
        ("bad\0text", "bad?text"),
        ("x" * 2000, "x" * 1000),
        (True, "deprecated"),
        (False, None),
        ("", None),
        (None, None),
        ({"a": 1}, None),
    ],
)
def test_a_deprecation_is_kept_as_text(value: Any, notice: str | None) -> None:
    assert metadata(deprecated=value).deprecated == notice


@pytest.mark.parametrize(
    "document",
    [
        {"hasInstallScript": True},
        {"gypfile": True},
        {"scripts": {"preinstall": "x"}},
        {"scripts": {"install": "x"}},
        {"scripts": {"postinstall": "x"}},
    ],
)
def test_an_install_script_is_seen(document: dict[str, Any]) -> None:
    assert metadata(**document).has_install_script
    assert not metadata(scripts={"test": "x"}).has_install_script


def test_optional_fields_of_the_wrong_shape_count_as_absent() -> None:
    odd = metadata(dist=[1], scripts="x", license=3, deprecated=[])
    assert odd == metadata()
    assert metadata(dist={"unpackedSize": -1, "shasum": 5, "integrity": {}}) == metadata()
    assert metadata(dist={"unpackedSize": True}).unpacked_size is None
    assert metadata(dist={"unpackedSize": 10**4000}).unpacked_size is None


@pytest.mark.parametrize("document", [{}, {"name": "left"}, {"name": 1, "version": 2}])
def test_a_document_that_names_no_package_is_garbage_and_transient(
    document: dict[str, Any],
) -> None:
    with pytest.raises(RegistryTransient):
        version_metadata(document, "left", "1.0.0")


@pytest.mark.parametrize(
    "document",
    [{"name": "right", "version": "1.0.0"}, {"name": "left", "version": "1.0.1"}],
)
def test_a_document_of_another_package_is_permanent(document: dict[str, Any]) -> None:
    with pytest.raises(RegistryPermanent) as caught:
        version_metadata(document, "left", "1.0.0")
    assert caught.value.code == "wrong-package"
