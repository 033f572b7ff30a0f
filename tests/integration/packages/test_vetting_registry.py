"""A registry that fails, lies or leads astray: each ends with a clear word, or is tried again.

All packages are vetted side by side, as they would be; each test looks at its own.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from backend.queue.breaker import Breakers, Rules
from tests.integration.packages.house import House, lock_of
from tests.registry_server import (
    Answer,
    RegistryServer,
    integrity,
    npm_package,
    npm_tarball,
    tarball_path,
)

OTHER = b"other bytes"
LIMIT = 4000  # bytes of a tarball
METADATA, TARBALL = "metadata", "tarball"
PLACES = (METADATA, TARBALL)

LEADS_INSIDE = {
    "to-loopback": "http://127.0.0.1:{port}/secret",
    "to-a-name-of-loopback": "http://localhost:{port}/secret",
    "to-cloud-metadata": "http://169.254.169.254/latest/meta-data/",
    "to-mapped-ipv6": "http://[::ffff:127.0.0.1]:{port}/secret",
    "to-a-file": "file:///etc/passwd",
}
NEVER_GIVES = {
    "403": (METADATA, Answer(403), "registry-denied: "),
    "another-package": (METADATA, Answer.json({"name": "x", "version": "1.0.0"}), "wrong-package"),
    "404": (TARBALL, Answer(404), "not-found: "),
    "410": (TARBALL, Answer(410), "not-found: "),
    "other-bytes": (TARBALL, Answer(body=OTHER), "integrity-mismatch: "),
    "large": (TARBALL, Answer(body=b"x" * (LIMIT + 1)), "too-large: "),
    "says-large": (TARBALL, Answer(length=str(LIMIT + 1)), "too-large: "),
    "larger-than-it-says": (TARBALL, Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n"
                                            + OTHER + b"more"), "integrity-mismatch: "),
}  # fmt: skip
RECOVERS = {
    "500": Answer(500),
    "503": Answer(503),
    "429": Answer(429, headers=(("Retry-After", "0"),)),
    "garbage": Answer(raw=b"garbage\r\n\r\n"),
    "breaks-off": Answer(body=b"short", length="300"),
    "silent": Answer(silent=True),
}
NEVER_RECOVERS = {
    "500": Answer(500),
    "html": Answer(body=b"<html>sign in</html>"),
    "no-object": Answer(body=b"[]"),
    "no-package": Answer(body=b"{}"),
}
NOT_THE_PACKAGE = {
    "another-name": (npm_package("right", "1.0.0"), "name-mismatch"),
    "another-version": (npm_package("not-another-version", "1.0.1"), "version-mismatch"),
    "no-manifest": (npm_tarball({"index.js": "1"}), "no-manifest"),
    "malformed": (npm_tarball({"package.json": "{"}), "manifest-malformed"),
    "html": (b"<html>not a tarball</html>", "not-gzip"),
    "truncated": (npm_package("not-truncated", "1.0.0")[:-20], "truncated"),
}
RESOLVED_INSIDE = {
    "loopback": "http://127.0.0.1:{port}",
    "a-name": "http://localhost:{port}",
    "cloud-metadata": "http://169.254.169.254",
    "mapped-ipv6": "http://[::ffff:127.0.0.1]:{port}",
}


@dataclass
class Troubles:
    """Packages in trouble by name, as they ended."""

    house: House
    internal: RegistryServer
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    packages: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, name: str, tarball: bytes | None = None, **fields: Any) -> None:
        tarball = self.house.publish(name, tarball=tarball)
        fields = {"integrity": integrity(tarball), **fields}
        self.entries[name] = self.house.entry(name, **fields)

    def answer(self, name: str, place: str, *answers: Answer, then: bool = False) -> None:
        """Script where a package's metadata or tarball is; ``then`` it is well again."""
        path = f"/{name}/1.0.0" if place == METADATA else tarball_path(name, "1.0.0")
        well = self.house.registry._script[path] if then else []
        self.house.registry.answer(path, *answers, *well)

    def vet(self) -> None:
        request_id = self.house.submit(lock_of(self.entries))
        for _ in range(12):
            self.house.worker.cycle()
            self.house.hurry()
        self.packages = {p["name"]: p for p in self.house.detail(request_id)["packages"]}


@pytest.fixture(scope="module")
def troubles(busy_house: House) -> Iterator[Troubles]:
    with RegistryServer() as internal:
        cdn = f"http://localhost:{internal.port}"
        busy_house.changes |= {
            "SOURCE_REPOSITORY_CDNS": cdn, "DOWNLOAD_MAX_BYTES": LIMIT, "DOWNLOAD_TIMEOUT": 1,
        }  # fmt: skip
        # Single packages are in trouble here, not the registry.
        busy_house.breakers = Breakers(Rules(failures=1000))
        busy_house.advise("evil")
        troubles = Troubles(busy_house, internal)
        for place in PLACES:
            for name, target in LEADS_INSIDE.items():
                troubles.add(f"{place}-{name}")
                answer = Answer.redirect(target.format(port=internal.port))
                troubles.answer(f"{place}-{name}", place, answer)
            for name, answer in RECOVERS.items():
                troubles.add(f"recovers-{place}-{name}")
                troubles.answer(f"recovers-{place}-{name}", place, answer, answer, then=True)
        for name, (place, answer, _) in NEVER_GIVES.items():
            troubles.add(f"never-{name}")
            troubles.answer(f"never-{name}", place, answer)
        for name, answer in NEVER_RECOVERS.items():
            troubles.add(f"hopeless-{name}")
            troubles.answer(f"hopeless-{name}", METADATA, answer)
        for name, (tarball, _) in NOT_THE_PACKAGE.items():
            troubles.add(f"not-{name}", tarball)
        for name, origin in RESOLVED_INSIDE.items():
            inside = f"{origin.format(port=internal.port)}{tarball_path(f'inside-{name}', '1.0.0')}"
            troubles.add(f"inside-{name}", resolved=inside)
        troubles.entries["unknown"] = busy_house.entry("unknown", tarball=b"any")
        add_hashes(troubles)
        bundled = json.dumps({"name": "evil", "version": "1.0.0", "license": "MIT"})
        files = {"node_modules/evil/package.json": bundled}
        troubles.add("bundles", npm_package("bundles", "1.0.0", files, license="MIT"))
        troubles.vet()
        yield troubles


def add_hashes(troubles: Troubles) -> None:
    for name in ("one-right", "strongest-wrong", "sha1", "sha256", "sha384", "none", "unreadable"):
        troubles.add(name)
        (tarball,) = troubles.house.registry._script[tarball_path(name, "1.0.0")]
        right, bytes_ = integrity(tarball.body), tarball.body
        troubles.entries[name]["integrity"] = {
            "one-right": f"sha1-AAAAAAAAAAAAAAAAAAAAAAAAAAA= {integrity(OTHER)} {right}",
            "strongest-wrong": f"{integrity(bytes_, 'sha1')} {integrity(OTHER)}",
            "none": "",
            "unreadable": "sha512-nonsense md5-AAAA",
        }.get(name) or (integrity(bytes_, name) if name.startswith("sha") else "")
    lying = npm_package("contradicts-itself", "1.0.0", license="MIT")
    dist = {"integrity": integrity(OTHER)}
    troubles.house.registry.publish("contradicts-itself", "1.0.0", lying, dist=dist)
    troubles.entries["contradicts-itself"] = troubles.house.entry("contradicts-itself")


def failed_for_good(package: dict[str, Any], error: str) -> None:
    assert (package["status"], package["failure"]) == ("Rejected", "permanent")
    assert package["error"].startswith(error)
    assert package["attempts"] == 1


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", LEADS_INSIDE)
def test_a_redirect_to_an_internal_address_is_refused_and_never_followed(
    troubles: Troubles, place: str, name: str
) -> None:
    # The one listed CDN is a name that resolves to a loopback address.
    refused = "address-refused: " if name == "to-a-name-of-loopback" else "redirect-refused: "
    failed_for_good(troubles.packages[f"{place}-{name}"], refused)
    assert troubles.internal.requests == []


@pytest.mark.parametrize("name", RESOLVED_INSIDE)
def test_a_pinned_entry_that_was_resolved_at_an_internal_host_is_fetched_by_name_only(
    troubles: Troubles, name: str
) -> None:
    package = troubles.packages[f"inside-{name}"]
    assert package["status"] == "Pending Approval"
    assert troubles.house.registry.requested(tarball_path(package["name"], "1.0.0")) == 1
    assert troubles.internal.requests == []


@pytest.mark.parametrize("name", NEVER_GIVES)
def test_a_registry_that_will_never_give_the_package_fails_it_for_good(
    troubles: Troubles, name: str
) -> None:
    failed_for_good(troubles.packages[f"never-{name}"], NEVER_GIVES[name][2])


def test_a_package_that_the_registry_does_not_have_fails_for_good(troubles: Troubles) -> None:
    failed_for_good(troubles.packages["unknown"], "not-found: ")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", RECOVERS)
def test_a_registry_in_trouble_is_tried_again_until_it_recovers(
    troubles: Troubles, place: str, name: str
) -> None:
    package = troubles.packages[f"recovers-{place}-{name}"]
    assert (package["status"], package["error"]) == ("Pending Approval", None)
    history = troubles.house.database.rows(
        "SELECT outcome, error FROM attempts WHERE row_id = :id ORDER BY id", id=package["id"]
    )
    assert [line.outcome for line in history] == ["retry", "retry", "done"]
    assert all(line.error for line in history[:2])


@pytest.mark.parametrize("name", NEVER_RECOVERS)
def test_a_registry_that_never_recovers_exhausts_the_attempts_and_says_why(
    troubles: Troubles, name: str
) -> None:
    package = troubles.packages[f"hopeless-{name}"]
    assert (package["status"], package["failure"]) == ("Rejected", "exhausted")
    assert f"hopeless-{name}" in package["error"]
    assert package["attempts"] == 4
    assert troubles.house.registry.requested(f"/hopeless-{name}/1.0.0") == 4


@pytest.mark.parametrize("name", NOT_THE_PACKAGE)
def test_a_tarball_that_is_not_the_package_fails_for_good(troubles: Troubles, name: str) -> None:
    failed_for_good(troubles.packages[f"not-{name}"], NOT_THE_PACKAGE[name][1])


def test_of_several_hashes_one_right_sha512_suffices(troubles: Troubles) -> None:
    package = troubles.packages["one-right"]
    assert (package["status"], package["checked"]) == ("Pending Approval", "sha512")


def test_of_several_hashes_a_wrong_strongest_one_fails_whatever_the_weaker_ones_say(
    troubles: Troubles,
) -> None:
    failed_for_good(troubles.packages["strongest-wrong"], "integrity-mismatch: ")


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384"])
def test_a_weaker_hash_is_checked_and_marked(troubles: Troubles, algorithm: str) -> None:
    package = troubles.packages[algorithm]
    assert package["status"] == "Pending Approval"
    assert package["integrity"].startswith(f"{algorithm}-")
    assert package["checked"] == algorithm


@pytest.mark.parametrize("name", ["none", "unreadable"])
def test_a_missing_or_unreadable_hash_is_marked(troubles: Troubles, name: str) -> None:
    package = troubles.packages[name]
    assert package["status"] == "Pending Approval"
    assert (package["integrity"], package["checked"]) == ("none", "none")


def test_bytes_that_the_registry_itself_names_otherwise_fail(troubles: Troubles) -> None:
    failed_for_good(troubles.packages["contradicts-itself"], "registry-integrity-mismatch: ")


def test_a_vulnerable_package_that_is_only_bundled_counts_against_its_parent(
    troubles: Troubles,
) -> None:
    package = troubles.packages["bundles"]
    assert package["scan_result"] == "vulnerable"
    assert [(f["id"], f["component"]) for f in package["findings"]] == [
        ("GHSA-test", "pkg:npm/evil@1.0.0")
    ]


def test_a_registry_that_says_when_to_come_back_is_left_alone_until_then(house: House) -> None:
    lock = house.lock("left")
    house.registry.answer("/left/1.0.0", Answer(429, headers=(("Retry-After", "120"),)))
    house.submit(lock)
    house.worker.run()

    wait = house.database.one(
        "SELECT extract(epoch FROM available_at - updated_at) FROM package_status"
    )
    assert 119 <= wait <= 121


@pytest.mark.parametrize("scopes", ["@acme", "acme", "ACME"])
def test_an_internal_scope_is_never_asked_of_a_public_registry(
    house: House, monkeypatch: pytest.MonkeyPatch, scopes: str
) -> None:
    public = "backend.workloads.packages.origins.default_registry"
    monkeypatch.setattr(public, lambda: house.registry.url)
    house.changes |= {"INTERNAL_SCOPES": scopes, "SOURCE_REPOSITORY_URL": None}
    package = house.vet_one(house.lock("@acme/left"))

    failed_for_good(package, "internal-scope: ")
    assert house.registry.requests == []


@pytest.mark.parametrize("harm", ["altered", "gone"])
def test_bytes_that_were_altered_or_lost_in_the_cache_are_fetched_again(
    house: House, harm: str
) -> None:
    tarball = house.publish("left")
    request_id = house.submit(lock_of({"left": house.entry("left")}))
    house.worker.run()
    (path,) = (house.folder / "cache" / "sha512").glob("*/*")
    path.unlink()
    if harm == "altered":
        path.write_bytes(OTHER)
    house.database.run(
        "UPDATE package_status SET status = 'Requested', step = 'download', completed_at = NULL"
    )
    for _ in range(3):
        house.worker.run()
        house.hurry()

    assert house.package(request_id)["status"] == "Pending Approval"
    assert path.read_bytes() == tarball
