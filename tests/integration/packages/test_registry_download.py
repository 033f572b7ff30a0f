import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backend.workloads.packages.cache import ContentStore, ContentUnavailable
from backend.workloads.packages.registry.download import Downloaded, download
from backend.workloads.packages.registry.errors import (
    RegistryError,
    RegistryPermanent,
    RegistryTransient,
)
from backend.workloads.packages.registry.origin import Origin
from tests.registry_server import (
    Answer,
    RegistryServer,
    dist,
    integrity,
    npm_package,
    tarball_path,
)

TARBALL = npm_package("left", "1.0.0", {"index.js": "module.exports = 1\n" * 5000})
PATH = tarball_path("left", "1.0.0")


@dataclass
class Fetcher:
    server: RegistryServer
    origin: Origin
    cache: ContentStore

    def __call__(self, name: str = "left", version: str = "1.0.0", **options: Any) -> Downloaded:
        defaults: dict[str, Any] = {
            "expected": (integrity(TARBALL),),
            "registry_integrity": None,
            "registry_shasum": None,
            "max_bytes": 1_000_000,
        }
        return download(self.origin, self.cache, name, version, **{**defaults, **options})

    def fails(self, kind: type[RegistryError], **options: Any) -> RegistryError:
        """The failure, after which the cache must be as empty as before."""
        with pytest.raises(kind) as caught:
            self(**options)
        assert [path for path in self.cache.root.rglob("*") if path.is_file()] == []
        return caught.value


@pytest.fixture
def fetch(tmp_path: Path) -> Iterator[Fetcher]:
    with RegistryServer() as server, Origin(server.url) as origin:
        server.publish("left", "1.0.0", TARBALL)
        yield Fetcher(server, origin, ContentStore(tmp_path / "cache"))


def test_bytes_that_match_are_kept_under_their_own_sha512(fetch: Fetcher) -> None:
    found = fetch(
        registry_integrity=dist(TARBALL)["integrity"], registry_shasum=dist(TARBALL)["shasum"]
    )
    assert found.sha512_hex == hashlib.sha512(TARBALL).hexdigest()
    assert found.integrity == integrity(TARBALL)
    assert (found.size, found.checked, found.registry_agrees) == (len(TARBALL), "sha512", True)
    assert fetch.cache.open_verified(found.sha512_hex).read() == TARBALL
    assert not found.from_cache


@pytest.mark.parametrize("algorithm", ["sha512", "sha384", "sha256", "sha1"])
def test_the_algorithm_that_decided_is_told(fetch: Fetcher, algorithm: str) -> None:
    found = fetch(expected=(integrity(TARBALL, algorithm),))
    assert found.checked == algorithm
    assert found.registry_agrees is None
    assert found.integrity == integrity(TARBALL)


@pytest.mark.parametrize("expected", [None, (), ("",), ("sha512-broken",), ("md5-AAAA",)])
def test_no_usable_hash_is_told_as_none(fetch: Fetcher, expected: tuple[str, ...] | None) -> None:
    assert fetch(expected=expected).checked == "none"


def test_any_of_several_expected_hashes_may_match(fetch: Fetcher) -> None:
    assert fetch(expected=(f"{integrity(b'other')} {integrity(TARBALL)}",)).checked == "sha512"
    assert fetch(expected=(integrity(b"other"), integrity(TARBALL))).checked == "sha512"


@pytest.mark.parametrize(
    "expected",
    [
        (integrity(b"other"),),
        (integrity(b"other", "sha1"),),
        (f"{integrity(TARBALL, 'sha1')} {integrity(b'other')}",),
    ],
)
def test_bytes_that_differ_from_what_was_expected_are_discarded(
    fetch: Fetcher, expected: tuple[str, ...]
) -> None:
    failed = fetch.fails(RegistryPermanent, expected=expected)
    assert failed.code == "integrity-mismatch"


@pytest.mark.parametrize("expected", [None, (integrity(TARBALL),)])
@pytest.mark.parametrize(
    "witness",
    [
        {"registry_integrity": integrity(b"other")},
        {"registry_shasum": hashlib.sha1(b"other").hexdigest()},
        {
            "registry_integrity": integrity(TARBALL),
            "registry_shasum": hashlib.sha1(b"other").hexdigest(),
        },
    ],
)
def test_bytes_that_contradict_the_registrys_own_word_are_discarded(
    fetch: Fetcher, expected: Any, witness: dict[str, str]
) -> None:
    failed = fetch.fails(RegistryPermanent, expected=expected, **witness)
    assert failed.code == "registry-integrity-mismatch"


def test_a_malformed_word_of_the_registry_counts_as_none(fetch: Fetcher) -> None:
    found = fetch(registry_integrity="sha512-x", registry_shasum="zz")
    assert found.registry_agrees is None


def test_a_registry_that_serves_different_bytes_the_second_time_is_noticed(fetch: Fetcher) -> None:
    fetch.server.answer(PATH, Answer(body=TARBALL), Answer(body=npm_package("left", "6.6.6")))
    fetch(expected=None)
    with pytest.raises(RegistryPermanent, match="do not have the sha512"):
        fetch(expected=None, registry_integrity=integrity(TARBALL))


@pytest.mark.parametrize("chunked", [True, False])
def test_a_tarball_that_is_larger_than_allowed_is_cut(fetch: Fetcher, chunked: bool) -> None:
    fetch.server.answer(PATH, Answer(body=TARBALL, chunked=chunked))
    assert fetch.fails(RegistryPermanent, max_bytes=len(TARBALL) - 1).code == "too-large"


def test_a_tarball_that_is_larger_than_it_says_does_not_match(fetch: Fetcher) -> None:
    fetch.server.answer(PATH, Answer(body=TARBALL, length=len(TARBALL) - 1))
    assert fetch.fails(RegistryPermanent).code == "integrity-mismatch"


def test_a_tarball_that_is_smaller_than_it_says_is_transient(fetch: Fetcher) -> None:
    fetch.server.answer(PATH, Answer(body=TARBALL, length=len(TARBALL) + 1))
    fetch.fails(RegistryTransient)


def test_a_connection_lost_half_way_is_transient_and_the_next_attempt_succeeds(
    fetch: Fetcher,
) -> None:
    half = Answer(body=TARBALL[: len(TARBALL) // 2], length=len(TARBALL))
    fetch.server.answer(PATH, half, Answer(body=TARBALL))
    fetch.fails(RegistryTransient)
    assert fetch().checked == "sha512"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, RegistryPermanent), (429, RegistryTransient), (500, RegistryTransient)],
)
def test_a_status_is_told_apart(fetch: Fetcher, status: int, kind: type[RegistryError]) -> None:
    fetch.server.answer(PATH, Answer(status, b"no", (("Retry-After", "5"),)))
    fetch.fails(kind)


def test_html_in_place_of_a_tarball_does_not_match(fetch: Fetcher) -> None:
    fetch.server.answer(PATH, Answer(body=b"<html>sign in</html>"))
    assert fetch.fails(RegistryPermanent).code == "integrity-mismatch"


def test_a_redirect_elsewhere_is_refused(fetch: Fetcher) -> None:
    fetch.server.answer(PATH, Answer.redirect("https://elsewhere.example.test/left.tgz"))
    assert fetch.fails(RegistryPermanent).code == "redirect-refused"


def test_kept_bytes_are_used_without_the_network(fetch: Fetcher) -> None:
    fetch()
    found = fetch(registry_shasum=dist(TARBALL)["shasum"])
    assert found.from_cache
    assert (found.size, found.checked, found.registry_agrees) == (len(TARBALL), "sha512", True)
    assert fetch.server.requested(PATH) == 1


def test_kept_bytes_are_still_compared_with_the_registrys_word(fetch: Fetcher) -> None:
    fetch()
    with pytest.raises(RegistryPermanent) as caught:
        fetch(registry_integrity=integrity(b"other"))
    assert caught.value.code == "registry-integrity-mismatch"


def test_kept_bytes_are_not_used_for_a_weak_or_absent_claim(fetch: Fetcher) -> None:
    fetch()
    assert not fetch(expected=(integrity(TARBALL, "sha1"),)).from_cache
    assert not fetch(expected=None).from_cache


def test_kept_bytes_that_were_altered_are_fetched_again(fetch: Fetcher) -> None:
    path = fetch.cache.path(fetch().sha512_hex)
    path.chmod(0o600)
    path.write_bytes(b"altered")
    found = fetch()
    assert not found.from_cache
    assert path.read_bytes() == TARBALL


def test_an_unusable_cache_is_told_before_anything_is_fetched(
    fetch: Fetcher, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    fetch.cache = ContentStore(tmp_path / "file")
    with pytest.raises(ContentUnavailable):
        fetch()
    assert fetch.server.requests == []


def test_eight_threads_download_at_once_through_one_origin(fetch: Fetcher) -> None:
    tarballs = {
        f"@a/package-{number}": npm_package(f"@a/package-{number}", "1.0.0", {"x": bytes(number)})
        for number in range(60)
    }
    for name, tarball in tarballs.items():
        fetch.server.publish(name, "1.0.0", tarball)

    def one(name: str) -> bytes:
        found = fetch(name, expected=(integrity(tarballs[name]),))
        return fetch.cache.open_verified(found.sha512_hex).getvalue()

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(one, tarballs)) == list(tarballs.values())
