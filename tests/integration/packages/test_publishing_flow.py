"""What becomes of a row in the publisher's hands; the registry answers what each test wants."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backend.autocommit import Autocommit
from backend.workloads.packages.cache import ContentStore
from backend.workloads.packages.publishing.snapshot import read
from tests.integration.packages.approvals import (
    approve,
    decide,
    deeds,
    outcomes,
    recall,
    retry,
    row,
    vetted,
)
from tests.integration.packages.house import House, lock_of
from tests.registry_server import Answer, RegistryServer, dist, npm_package

NAME = "left"
PATH = f"/{NAME}"
NONE = Answer.json({"error": "no such package"}, status=404)
TAKEN = Answer.json({"ok": "created"}, status=201)


@pytest.fixture
def target() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


@pytest.fixture
def publishing(house: House, target: RegistryServer) -> House:
    house.changes["TARGET_REPOSITORY_URL"] = target.url
    return house


@pytest.fixture
def approved(publishing: House) -> int:
    """A package that was approved, to be published now."""
    row_id = vetted(publishing, NAME)[NAME]
    approve(publishing, row_id)
    return row_id


def there(house: House, **fields: Any) -> Answer:
    """The registry has the very bytes that were vetted."""
    sha512 = house.database.one("SELECT sha512 FROM artifacts")
    content = ContentStore(house.settings.package_cache_dir).open_verified(sha512).getvalue()
    version = {"version": "1.0.0", "dist": dist(content), **fields}
    return Answer.json({"name": NAME, "versions": {"1.0.0": version}})


def kept(house: House) -> Path:
    sha512 = house.database.one("SELECT sha512 FROM artifacts")
    return ContentStore(house.settings.package_cache_dir).path(sha512)


def written(target: RegistryServer) -> list[dict[str, Any]]:
    return [json.loads(sent.body) for sent in target.requests if sent.method == "PUT"]


def test_what_is_published_and_taken_back_is_recorded_with_its_deed(
    publishing: House, approved: int, target: RegistryServer
) -> None:
    house = publishing
    target.answer(PATH, NONE, TAKEN, there(house))
    house.publisher.run()

    assert row(house, approved).status == "Published"
    assert outcomes(house, approved) == ["done"]
    ((url, tag, verdict),) = house.database.rows(
        "SELECT target, tag, verdict_digest FROM publications"
    )
    assert (url, tag, verdict) == (target.url, "latest", row(house, approved).verdict_digest)

    recall(house, approved, "it phones home")
    target.answer(PATH, there(house), TAKEN)
    house.publisher.run()

    assert row(house, approved).status == "Recalled"
    assert written(target)[-1]["versions"]["1.0.0"]["deprecated"] == "recalled: it phones home"
    assert [action for action, _ in deeds(house, approved)] == [
        "package.published", "package.taken_back",
    ]  # fmt: skip
    assert house.database.one("SELECT taken_back FROM publications") == "deprecated"


def test_a_write_whose_answer_was_lost_is_found_and_not_repeated(
    publishing: House, approved: int, target: RegistryServer
) -> None:
    house = publishing
    target.answer(PATH, NONE, Answer(503), there(house))
    house.publisher.cycle()
    assert (row(house, approved).status, outcomes(house, approved)) == ("Approved", ["retry"])

    house.database.run("UPDATE package_status SET available_at = now()")
    house.publisher.run()

    assert row(house, approved).status == "Published"
    assert len(written(target)) == 1
    assert house.database.one("SELECT tag FROM publications") is None


def test_a_verdict_that_changed_since_it_was_approved_goes_back_to_a_person(
    publishing: House, approved: int, target: RegistryServer
) -> None:
    house = publishing
    claimed = house.publisher.claim()
    house.database.run("UPDATE package_status SET verdict_digest = 'another one'")

    house.publisher.finish(claimed[0])

    assert row(house, approved).status == "Pending Approval"
    assert outcomes(house, approved) == ["failed"]
    assert target.requests == []
    assert deeds(house, approved) == [("package.approval_voided", {})]


def test_a_recall_that_comes_while_it_is_published_is_not_lost(
    publishing: House, approved: int, target: RegistryServer
) -> None:
    house = publishing
    (lease,) = house.publisher.claim()
    decide(house, approved, "recall", "it phones home")
    house.database.run("UPDATE package_status SET recall = 'asked'")
    house.publisher.finish(lease)
    assert (row(house, approved).status, row(house, approved).recall) == ("Approved", "asked")
    assert target.requests == []

    target.answer(PATH, there(house), TAKEN)  # an earlier attempt had brought it there
    house.publisher.run()

    assert row(house, approved).status == "Recalled"
    assert written(target)[-1]["versions"]["1.0.0"]["deprecated"] == "recalled: it phones home"


def test_bytes_that_were_altered_on_disk_are_never_sent(
    publishing: House, approved: int, target: RegistryServer
) -> None:
    house = publishing
    answer = there(house)
    kept(house).chmod(0o644)
    kept(house).write_bytes(npm_package(NAME, "1.0.0", {"evil.js": "1"}))

    house.publisher.run()

    failed = row(house, approved)
    assert (failed.status, failed.failure, failed.step) == ("Rejected", "permanent", "Publishing")
    assert "bytes-altered" in failed.error
    assert target.requests == []
    # They were thrown away. Fetched again they are those that were vetted, and it was approved.
    target.answer(PATH, NONE, TAKEN, answer)
    retry(house, approved)
    house.publisher.run()
    assert row(house, approved).status == "Published"


def test_a_publisher_without_the_bytes_takes_no_others_for_them(
    publishing: House, approved: int, target: RegistryServer
) -> None:
    house = publishing
    elsewhere = house.reopened(PACKAGE_CACHE_DIR=house.folder / "other-cache")
    house.publish(NAME, files={"evil.js": "1"})  # what the source registry serves now

    elsewhere.publisher.run()

    failed = row(house, approved)
    assert (failed.status, failed.failure) == ("Rejected", "permanent")
    assert written(target) == []


def test_versions_of_one_package_have_their_turn_one_after_the_other(publishing: House) -> None:
    house = publishing
    entries = {
        location: house.entry(NAME, version, tarball=house.publish(NAME, version))
        for location, version in (
            (f"node_modules/{NAME}", "1.0.0"), (f"node_modules/a/node_modules/{NAME}", "2.0.0"),
        )
    }  # fmt: skip
    for package in house.vet(lock_of(entries))["packages"]:
        approve(house, package["id"])
    leases = house.publisher.claim()
    statements = Autocommit(house.engine)

    def turns() -> list[bool]:
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda lease: read(statements, lease.id), leases))
        return [package.turn for package in found if package is not None]

    first = turns()
    assert sorted(first) == [False, True]
    assert turns() == first
    house.publisher.release(leases.pop(first.index(True)))
    assert turns() == [True]
