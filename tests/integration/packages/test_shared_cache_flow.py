"""Machines that share no disk, but a bucket of a real S3 API server."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from backend.queue.breaker import FAILURES, LONGEST, Breakers, Rules
from backend.workloads.packages.cache import ContentStore, shared_key
from backend.workloads.packages.housekeeping import duties
from backend.workloads.packages.upkeep import caches
from backend.workloads.tasks.maintenance.cleaning import Cleaned, clean
from tests.integration.packages.approvals import approve, retry, row, vetted
from tests.integration.packages.house import House, lock_of, wait_until
from tests.registry_server import Answer, RegistryServer, dist, npm_package, tarball_path
from tests.s3_server import CREDENTIALS, REGION, serving
from tests.worker_process import worker_process

pytestmark = pytest.mark.slow

BUCKET = "artefacts"
NAMES = ("hull", "mast", "sail")
GONE = Answer(404)
SECONDS = 40


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with serving() as url:
        yield url


@pytest.fixture
def server(endpoint: str) -> Iterator[Any]:
    made = boto3.session.Session().client("s3", endpoint_url=endpoint, region_name=REGION)
    made.create_bucket(Bucket=BUCKET)
    yield made
    remove_bucket(made)


def remove_bucket(server: Any) -> None:
    for key in objects(server):
        server.delete_object(Bucket=BUCKET, Key=key)
    server.delete_bucket(Bucket=BUCKET)


def objects(server: Any) -> set[str]:
    listed = server.list_objects_v2(Bucket=BUCKET).get("Contents", ())
    return {found["Key"] for found in listed}


@pytest.fixture
def target() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


def takes_all(target: RegistryServer, house: House) -> None:
    """The target has none of the packages yet, and then the very bytes that were vetted."""
    query = "SELECT p.name, a.sha512 FROM artifacts a JOIN packages p ON p.id = a.package_id"
    for name, sha512 in house.database.rows(query):
        content = ContentStore(house.settings.package_cache_dir).open_verified(sha512)
        version = {"version": "1.0.0", "dist": dist(content.getvalue())}
        there = Answer.json({"name": name, "versions": {"1.0.0": version}})
        target.answer(f"/{name}", Answer(404), Answer.json({}, status=201), there)


@pytest.fixture
def first(house: House, endpoint: str, server: Any, target: RegistryServer) -> House:
    """The house as one machine has it; ``server`` has its bucket."""
    house.changes |= {
        "STORAGE_BACKEND": "s3", "S3_BUCKET": BUCKET, "S3_ENDPOINT_URL": endpoint,
        "S3_REGION": REGION, "TARGET_REPOSITORY_URL": target.url,
    }  # fmt: skip
    return house


def machine(house: House, name: str, **changes: Any) -> House:
    """Another machine, with a disk of its own."""
    return house.reopened(PACKAGE_CACHE_DIR=house.folder / name, **changes)


def cached(house: House) -> set[str]:
    return {path.name for path in ContentStore(house.settings.package_cache_dir).kept()}


def known(house: House) -> set[str]:
    return {sha512 for (sha512,) in house.database.rows("SELECT sha512 FROM artifacts")}


def withdraw(registry: RegistryServer) -> None:
    """The source has none of the tarballs any more."""
    for name in NAMES:
        registry.answer(tarball_path(name, "1.0.0"), GONE)


def fetched(registry: RegistryServer) -> int:
    return sum(registry.requested(tarball_path(name, "1.0.0")) for name in NAMES)


def worker(house: House, **changes: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """The worker that an operator starts."""
    environment = {
        "PATH": os.environ["PATH"], "WORKER_TYPE": "packages", "WORKER_SLEEP_INTERVAL": "0.2",
        "LEASE_TTL": "2", "DATABASE_URL": house.database_url,
        "SOURCE_REPOSITORY_URL": house.registry.url,
        "PACKAGE_CACHE_DIR": str(house.settings.package_cache_dir),
        **{name: str(value) for name, value in house.changes.items()}, **CREDENTIALS, **changes,
    }  # fmt: skip
    return worker_process(house.folder, environment)


def test_what_a_killed_machine_fetched_another_unpacks_and_a_third_publishes(
    first: House, server: Any, target: RegistryServer
) -> None:
    house, registry = first, first.registry
    registry.answer("/osv/v1/querybatch", Answer(silent=True))
    house.submit(house.lock(*NAMES))
    with worker(house, OSV_API_URL=f"{registry.url}/osv") as process:
        wait_until(
            lambda: registry.requested("/osv/v1/querybatch") >= len(NAMES),
            seconds=SECONDS, what="every package is being scanned",
        )  # fmt: skip
        process.kill()
        process.wait()
    assert objects(server) == {shared_key(sha512) for sha512 in cached(house)}
    assert fetched(registry) == len(objects(server)) == len(NAMES)

    shutil.rmtree(house.settings.package_cache_dir)
    withdraw(registry)
    second = machine(house, "second")
    seen = house.folder / "seen"
    with worker(second, TRIVY_BINARY=scanner(house.folder, seen)):
        wait_until(
            lambda: house.database.one(
                "SELECT count(*) = :all FROM package_status WHERE status = 'Pending Approval'",
                all=len(NAMES),
            ),
            seconds=SECONDS, what="the second machine finished what the first began",
        )  # fmt: skip
    assert cached(second) == known(house)
    assert len(seen.read_text().splitlines()) >= len(NAMES)
    assert house.database.one("SELECT count(*) FROM security_scans") == len(NAMES)

    third = machine(house, "third")
    for (row_id,) in house.database.rows("SELECT id FROM package_status"):
        approve(house, row_id)
    takes_all(target, second)
    third.publisher.run()
    statuses = house.database.rows("SELECT DISTINCT status FROM package_status")
    assert statuses == [("Published",)]
    assert sum(sent.method == "PUT" for sent in target.requests) == len(NAMES)
    assert cached(third) == known(house)
    assert fetched(registry) == len(NAMES)


def scanner(folder: Path, seen: Path) -> str:
    """Stands where Trivy would: notes that it was given the package's files, and finds nothing."""
    path = folder / "trivy"
    path.write_text(
        f"#!{sys.executable} -I\n"
        "import json, os, sys\n"
        "there = any('package.json' in files for _, _, files in os.walk(sys.argv[-1]))\n"
        f"there and open({str(seen)!r}, 'a').write('unpacked\\n')\n"
        "print(json.dumps({'SchemaVersion': 2, 'Results': []}))\n"
    )
    path.chmod(0o755)
    return str(path)


def alter(server: Any, sha512: str) -> None:
    server.put_object(
        Bucket=BUCKET, Key=shared_key(sha512), Body=npm_package("hull", "1.0.0", {"evil.js": "1"})
    )


def test_an_altered_object_is_never_published_and_gives_way_to_the_bytes_that_were_vetted(
    first: House, server: Any, target: RegistryServer
) -> None:
    house = first
    row_id = vetted(house, "hull")["hull"]
    (sha512,) = known(house)
    approve(house, row_id)
    takes_all(target, house)
    alter(server, sha512)

    second = machine(house, "second")
    second.publisher.run()

    failed = row(house, row_id)
    assert (failed.status, failed.failure) == ("Rejected", "permanent")
    assert "bytes-altered" in failed.error
    assert target.requests == []
    assert objects(server) == cached(second) == set()

    retry(house, row_id)
    second.publisher.run()
    assert row(house, row_id).status == "Published"
    assert fetched(house.registry) == 2
    assert objects(server) == {shared_key(sha512)}


def test_an_altered_object_is_fetched_again_before_anything_opens_it(
    first: House, server: Any
) -> None:
    house = first
    tarball = house.publish("hull")
    lock = lock_of({"hull": house.entry("hull", tarball=tarball)})
    store = ContentStore.of(house.settings)
    with store.writer() as writer:
        writer.write(tarball)
        sha512 = writer.commit()
    alter(server, sha512)

    second = machine(house, "second")
    assert second.vet_one(lock)["status"] == "Pending Approval"
    assert (fetched(house.registry), known(house)) == (1, {sha512})
    found = server.get_object(Bucket=BUCKET, Key=shared_key(sha512))["Body"].read()
    assert found == tarball


def test_while_the_bucket_is_away_rows_wait_unharmed_and_go_on_once_it_is_back(
    first: House, server: Any
) -> None:
    house, now = first, [0.0]
    house.breakers = Breakers(Rules(clock=lambda: now[0]))
    remove_bucket(server)
    request_id = house.submit(house.lock(*NAMES))
    for _ in range(8):
        house.worker.cycle()
        house.hurry()
        now[0] += LONGEST.total_seconds()
    rows = house.database.rows("SELECT status, failure, attempts, error FROM package_status")
    assert {(found.status, found.failure) for found in rows} == {("Requested", None)}
    assert any("the shared package cache cannot be used" in found.error for found in rows)
    assert not any(sha512 for sha512 in known(house))  # no row names what is not there
    burnt = house.database.one("SELECT count(*) FROM attempts WHERE outcome = 'retry'")
    assert burnt == FAILURES - 1

    server.create_bucket(Bucket=BUCKET)
    for _ in range(2):
        now[0] += LONGEST.total_seconds()
        house.hurry()
        house.worker.run()
    packages = house.detail(request_id)["packages"]
    assert {package["status"] for package in packages} == {"Pending Approval"}
    assert objects(server) == {shared_key(sha512) for sha512 in known(house)}
    assert fetched(house.registry) == len(NAMES)  # what was kept here alone was not fetched again


def test_a_publisher_that_finds_no_bucket_waits_and_blames_nobody(
    first: House, server: Any, target: RegistryServer
) -> None:
    house, now = first, [0.0]
    row_id = vetted(house, "hull")["hull"]
    approve(house, row_id)
    takes_all(target, house)
    remove_bucket(server)
    second = machine(house, "second")
    second.breakers = Breakers(Rules(clock=lambda: now[0], failures=1))
    second.publisher.cycle()
    waiting = row(house, row_id)
    assert (waiting.status, waiting.attempts, waiting.failure) == ("Approved", 0, None)
    assert "the shared package cache cannot be used" in waiting.error

    server.create_bucket(Bucket=BUCKET)
    ContentStore.of(house.settings).share(next(iter(known(house))))
    now[0] += LONGEST.total_seconds()
    house.database.run("UPDATE package_status SET available_at = now()")
    second.publisher.run()
    assert row(house, row_id).status == "Published"
    assert fetched(house.registry) == 1


def test_no_package_loses_its_object_before_it_is_published(first: House, server: Any) -> None:
    house = first
    rows = vetted(house, *NAMES)
    house.database.run("ALTER TABLE package_status DISABLE TRIGGER USER")
    house.database.run("UPDATE package_status SET status = 'Published' WHERE id = :id",
                       id=rows["hull"])  # fmt: skip
    house.database.run("ALTER TABLE package_status ENABLE TRIGGER USER")
    key = shared_key("0" * 128)
    server.put_object(Bucket=BUCKET, Key=key, Body=b"of nobody, or of a package on its way")
    server.put_object(Bucket=BUCKET, Key="packages/notes.txt", Body=b"somebody else's")
    before = objects(server)

    def cleaned(*, expired_only: bool, dry_run: bool = False) -> Cleaned:
        (shared,) = (one for one in caches(house.settings) if one.name == "shared packages")
        return clean(house.sessions, shared, max_age=timedelta(days=1),
                     expired_only=expired_only, dry_run=dry_run)  # fmt: skip

    assert cleaned(expired_only=True).removed == 0
    dry = cleaned(expired_only=False, dry_run=True)
    assert objects(server) == before

    done = cleaned(expired_only=False)
    assert done == dry
    assert (done.entries, done.removed, done.failed) == (4, 1, 0)
    assert 0 < done.bytes_removed < done.bytes_before
    query = "SELECT a.sha512 FROM artifacts a JOIN package_status s ON s.artifact_id = a.id"
    (published,) = house.database.rows(f"{query} WHERE s.status = 'Published'")
    assert before - objects(server) == {shared_key(published.sha512)}


def test_a_worker_keeps_its_disk_small_and_gives_up_what_killed_uploads_left(
    first: House, server: Any
) -> None:
    house = first
    vetted(house, "hull")
    store = ContentStore.of(house.settings)
    (kept,) = store.kept()
    os.utime(kept, (0, 0))
    server.create_multipart_upload(Bucket=BUCKET, Key=shared_key("0" * 128))
    (duty,) = duties(house.settings)

    duty.run(house.sessions, None)  # type: ignore[arg-type]  # it asks the database nothing
    assert cached(house) == set()
    assert "Uploads" not in server.list_multipart_uploads(Bucket=BUCKET)
    assert store.open_verified(kept.name).read()

    elsewhere = machine(house, "never-used", S3_ENDPOINT_URL="http://127.0.0.1:1")
    (idle,) = duties(elsewhere.settings)
    idle.run(house.sessions, None)  # type: ignore[arg-type]  # a worker without packages asks nobody
