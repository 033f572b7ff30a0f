import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from backend.workloads.packages.registry import npm
from backend.workloads.packages.registry.errors import RegistryPermanent, RegistryTransient
from backend.workloads.packages.registry.npm import fetch_version
from backend.workloads.packages.registry.origin import Origin
from tests.registry_server import Answer, RegistryServer, dist, npm_package

TARBALL = npm_package("left", "1.0.0")


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


@pytest.fixture
def origin(server: RegistryServer) -> Iterator[Origin]:
    with Origin(server.url) as opened:
        yield opened


def test_the_small_document_of_one_version_is_preferred(
    server: RegistryServer, origin: Origin
) -> None:
    server.publish("@a/left", "1.0.0", TARBALL, license="MIT", deprecated="old")
    found = fetch_version(origin, "@a/left", "1.0.0")
    assert [request.path for request in server.requests] == ["/@a%2Fleft/1.0.0"]
    assert server.requests[0].headers["accept"] == "application/json"
    assert found.license_expression == "MIT"
    assert found.deprecated == "old"
    assert (found.integrity, found.shasum) == tuple(dist(TARBALL).values())
    assert found.tarball == f"{server.url}/@a/left/-/left-1.0.0.tgz"
    assert found.published_at is None


@pytest.mark.parametrize("status", [404, 405])
def test_a_registry_without_it_is_asked_for_the_whole_package(
    server: RegistryServer, origin: Origin, status: int
) -> None:
    server.publish("left", "1.0.0", TARBALL, license="MIT")
    server.answer("/left/1.0.0", Answer(status))
    found = fetch_version(origin, "left", "1.0.0")
    assert found.license_expression == "MIT"
    assert found.published_at == datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC)


def test_a_version_that_the_package_does_not_have_is_permanent(
    server: RegistryServer, origin: Origin
) -> None:
    server.publish("left", "1.0.0", TARBALL)
    with pytest.raises(RegistryPermanent) as caught:
        fetch_version(origin, "left", "2.0.0")
    assert caught.value.code == "no-such-version"


def test_a_package_that_does_not_exist_is_permanent(origin: Origin) -> None:
    with pytest.raises(RegistryPermanent) as caught:
        fetch_version(origin, "left", "1.0.0")
    assert caught.value.code == "not-found"


def test_denial_is_permanent_and_not_asked_twice(server: RegistryServer, origin: Origin) -> None:
    server.answer("/left/1.0.0", Answer(403))
    with pytest.raises(RegistryPermanent) as caught:
        fetch_version(origin, "left", "1.0.0")
    assert caught.value.code == "registry-denied"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<!DOCTYPE html><title>Sign in</title>", "HTML"),
        (b"  <html>", "HTML"),
        (b"", "not JSON"),
        (b"\xff\xfe\x00garbage", "not JSON"),
        (b'{"name": "left"', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", "not JSON"),
        (b"[]", "not a package document"),
        (b"null", "not a package document"),
        (b"{}", "names no package"),
        (b'{"name": ["left"], "version": "1.0.0"}', "names no package"),
    ],
)
def test_garbage_is_transient_and_says_what_came(
    server: RegistryServer, origin: Origin, body: bytes, says: str
) -> None:
    server.answer("/left/1.0.0", Answer(body=body))
    with pytest.raises(RegistryTransient, match=says):
        fetch_version(origin, "left", "1.0.0")


@pytest.mark.parametrize("version_document", [True, False])
def test_a_document_about_another_package_is_permanent(
    server: RegistryServer, origin: Origin, version_document: bool
) -> None:
    other: dict[str, Any] = {"name": "right", "version": "1.0.0", "versions": {"1.0.0": {}}}
    server.answer("/left/1.0.0" if version_document else "/left", Answer.json(other))
    with pytest.raises(RegistryPermanent) as caught:
        fetch_version(origin, "left", "1.0.0")
    assert caught.value.code == "wrong-package"


@pytest.mark.parametrize("versions", [None, [], "x", {"1.0.0": "x"}, {"1.0.0": None}])
def test_a_package_document_with_odd_versions_has_no_such_version(
    server: RegistryServer, origin: Origin, versions: Any
) -> None:
    server.answer("/left", Answer.json({"name": "left", "versions": versions}))
    with pytest.raises(RegistryPermanent) as caught:
        fetch_version(origin, "left", "1.0.0")
    assert caught.value.code == "no-such-version"


def test_a_package_document_over_the_limit_is_cut_off(
    server: RegistryServer, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npm, "MAX_PACKAGE_DOCUMENT", 100_000)
    document = json.dumps({"name": "left", "readme": "x" * 100_000}).encode()
    server.answer("/left", Answer(body=document, gzip=True))
    with pytest.raises(RegistryPermanent) as caught:
        fetch_version(origin, "left", "1.0.0")
    assert caught.value.code == "too-large"
    assert npm.MAX_VERSION_DOCUMENT <= 64 * 1024 * 1024
