"""From an approval to a real registry, and back: the whole way of a row, as npm sees it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.workloads.packages.cache import ContentStore
from tests import verdaccio
from tests.integration.packages import deciding
from tests.integration.packages.approvals import (
    approve,
    deeds,
    outcomes,
    retry,
    row,
    vetted,
)
from tests.integration.packages.house import House, lock_of
from tests.registry_server import integrity, npm_package
from tests.verdaccio import Verdaccio

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verdaccio]:
    """One for all tests here: each has packages of its own."""
    with verdaccio.running(tmp_path_factory.mktemp("verdaccio")) as registry:
        registry.sign_in()
        yield registry


@pytest.fixture
def publishing(house: House, target: Verdaccio) -> House:
    house.changes |= {"TARGET_REPOSITORY_URL": target.url, "TARGET_TOKEN": target.token}
    return house


def test_an_approved_package_is_installed_from_the_registry_and_taken_back(
    publishing: House, target: Verdaccio, tmp_path: Path
) -> None:
    house = publishing
    packed = npm_package("@acme/flow", "1.0.0", {"index.js": "1"}, license="MIT", bin="index.js")
    house.publish("@acme/flow", tarball=packed)
    lock = lock_of({"@acme/flow": house.entry("@acme/flow", tarball=packed)})
    package = house.vet_one(lock)
    row_id = package["id"]

    house.publisher.run()
    assert row(house, row_id).status == "Pending Approval"  # nobody approved it
    deciding.approved(house, package)
    house.publisher.run()
    assert row(house, row_id).status == "Approved"  # nobody asked for it to be published
    asked = house.people.approver("POST", f"/api/approver/packages/publish/{row_id}")
    assert asked.status_code == 200, asked.text
    house.publisher.run()

    assert row(house, row_id).status == "Published"
    ((url, found, tag),) = house.database.rows("SELECT target, integrity, tag FROM publications")
    assert (url, found, tag) == (target.url, integrity(packed), "latest")
    document = target.document("@acme/flow")
    assert document is not None
    assert document["dist-tags"] == {"latest": "1.0.0"}
    assert document["versions"]["1.0.0"]["bin"] == {"flow": "index.js"}
    assert target.tarball("@acme/flow", "1.0.0") == packed
    done = target.npm_install(tmp_path / "shop", "@acme/flow")
    assert done.returncode == 0, done.stderr
    installed = json.loads((tmp_path / "shop" / "package-lock.json").read_text())
    assert installed["packages"]["node_modules/@acme/flow"]["integrity"] == integrity(packed)

    deciding.recall(house, row_id)
    house.publisher.run()

    assert row(house, row_id).status == "Recalled"
    done = target.npm_install(tmp_path / "other", "@acme/flow")
    assert done.returncode == 0, done.stderr
    assert "recalled: a backdoor was found" in done.stderr
    assert [action for action, _ in deeds(house, row_id)] == [
        "package.published", "package.taken_back",
    ]  # fmt: skip
    assert house.database.one("SELECT taken_back FROM publications") == "deprecated"


def test_a_recalled_package_is_gone_where_the_house_wants_that(
    publishing: House, target: Verdaccio, tmp_path: Path
) -> None:
    house = publishing
    house.changes |= {"RECALL_UNPUBLISHES": True, "AUTO_PUBLISH": True}
    (package,) = house.vet(house.lock("gone"))["packages"]
    deciding.approved(house, package)
    house.publisher.run()
    assert target.tarball("gone", "1.0.0") is not None

    deciding.recall(house, package["id"])
    house.publisher.run()

    assert row(house, package["id"]).status == "Recalled"
    done = target.npm_install(tmp_path / "shop", "gone")
    assert done.returncode != 0
    assert "E404" in done.stderr
    assert target.document("gone") is None
    assert target.tarball("gone", "1.0.0") is None
    assert deeds(house, package["id"])[-1] == (
        "package.taken_back", {"registry": target.url, "how": "unpublished"},
    )  # fmt: skip


def test_bytes_that_were_altered_on_disk_are_never_published(
    publishing: House, target: Verdaccio
) -> None:
    house = publishing
    ids = vetted(house, "altered")
    approve(house, ids["altered"])
    sha512 = house.database.one("SELECT sha512 FROM artifacts")
    kept = ContentStore(house.settings.package_cache_dir).path(sha512)
    kept.chmod(0o644)
    kept.write_bytes(npm_package("altered", "1.0.0", {"evil.js": "1"}))

    house.publisher.run()

    failed = row(house, ids["altered"])
    assert (failed.status, failed.failure, failed.step) == ("Rejected", "permanent", "Publishing")
    assert "bytes-altered" in failed.error
    assert target.document("altered") is None
    # They were thrown away. Fetched again, they are those that were vetted, or the attempt fails.
    retry(house, ids["altered"])
    house.publisher.run()
    assert row(house, ids["altered"]).status == "Published"
    assert target.tarball("altered", "1.0.0") is not None


def test_other_bytes_under_the_same_version_are_a_loud_failure(
    publishing: House, target: Verdaccio
) -> None:
    house = publishing
    target.publish("taken", "1.0.0", npm_package("taken", "1.0.0", {"evil.js": "1"}))
    ids = vetted(house, "taken")
    approve(house, ids["taken"])

    house.publisher.run()

    failed = row(house, ids["taken"])
    assert (failed.status, failed.failure) == ("Rejected", "permanent")
    assert "published-differs" in failed.error
    assert failed.failed_from == "Approved"  # it keeps its approval


def test_a_wrong_token_and_a_registry_that_is_down_cost_no_approval(
    publishing: House, target: Verdaccio
) -> None:
    house = publishing
    ids = vetted(house, "denied")
    approve(house, ids["denied"])
    stranger = house.reopened(TARGET_TOKEN=target.stranger)
    stranger.publisher.run()
    failed = row(house, ids["denied"])
    assert (failed.status, failed.failure) == ("Rejected", "permanent")
    assert "TARGET_TOKEN" in failed.error
    assert target.stranger not in failed.error

    retry(house, ids["denied"])
    closed = f"http://127.0.0.1:{verdaccio.free_port()}"
    house.reopened(TARGET_REPOSITORY_URL=closed).publisher.cycle()
    waiting = row(house, ids["denied"])
    assert (waiting.status, waiting.attempts) == ("Approved", 1)
    assert outcomes(house, ids["denied"]) == ["failed", "retry"]

    house.database.run("UPDATE package_status SET available_at = now()")
    house.publisher.run()
    assert row(house, ids["denied"]).status == "Published"


def test_versions_of_one_package_take_turns_and_latest_ends_at_the_highest(
    publishing: House, target: Verdaccio
) -> None:
    house = publishing
    versions = ("1.0.0", "1.1.0", "1.2.0")
    packed = {version: house.publish("turns", version) for version in versions}
    entries = {
        f"node_modules/{'a/node_modules/' * nested}turns": house.entry(
            "turns", v, tarball=packed[v]
        )
        for nested, v in enumerate(versions)
    }
    rows = {found["version"]: found["id"] for found in house.vet(lock_of(entries))["packages"]}
    for row_id in rows.values():
        approve(house, row_id)

    assert house.publisher.cycle() == 3  # claimed at once, and run side by side
    published = [v for v, row_id in rows.items() if row(house, row_id).status == "Published"]
    assert 1 <= len(published) < 3
    while len(published) < 3:
        house.database.run("UPDATE package_status SET available_at = now()")
        house.publisher.run()
        published = [v for v, row_id in rows.items() if row(house, row_id).status == "Published"]

    document = target.document("turns")
    assert document is not None
    assert document["dist-tags"]["latest"] == "1.2.0"
    assert "snoozed" in [outcome for row_id in rows.values() for outcome in outcomes(house, row_id)]
