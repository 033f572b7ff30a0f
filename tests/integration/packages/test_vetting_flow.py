"""From an uploaded lock to a verdict for each of its entries, with a real worker."""

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.packages.house import House, wait_until
from tests.registry_server import npm_tarball

PACKAGES = 60
TTL = 2  # seconds
CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE :name"

StartWorker = Callable[[], subprocess.Popen[bytes]]


def status_of(house: House, request_id: int) -> dict[str, Any]:
    path = f"/api/packages/requests/{request_id}/status"
    found: dict[str, Any] = house.people.user("GET", path).get_json()
    return found


def finished(house: House, request_id: int) -> dict[str, Any] | None:
    progress = status_of(house, request_id)
    return progress if progress["progress_percentage"] == 100 else None


def test_an_uploaded_lock_is_vetted_to_pending_approval_with_all_that_was_found(
    house: House,
) -> None:
    house.advise("@acme/up")
    lock = house.lock("left", "right", "@acme/up")
    lock["packages"]["node_modules/git"] = {"resolved": "git://host.test/a", "version": "1.0.0"}
    with house.daemon():
        request_id = house.submit(lock)
        progress = wait_until(
            lambda: finished(house, request_id), seconds=20, what="all packages vetted"
        )
        said = house.people.user("GET", "/api/packages/processing/status").get_json()

    assert progress["status_counts"] == {"Pending Approval": 3}
    assert said["queue"]["workers"] == 1
    detail = house.detail(request_id)
    up, left, right = detail["packages"]
    assert detail["request"]["status"] == "pending_approval"
    for package in (up, left, right):
        assert package["license_identifier"] == "MIT"
        assert (package["license_status"], package["license_score"]) == ("always_allowed", 100)
        assert (package["type"], package["checked"]) == ("new", "sha512")
        assert (package["failure"], package["error"]) == (None, None)
        # The advisories here are a partial source: they convict and never cover.
        assert package["security_score"] is None
        assert [c["complete"] for c in package["coverage"]] == [False]
    assert [package["scan_result"] for package in (up, left, right)] == [
        "vulnerable", "not covered", "not covered",
    ]  # fmt: skip
    assert [(f["id"], f["severity"], f["fixed"]) for f in up["findings"]] == [
        ("GHSA-test", "high", ["2.0.0"])
    ]
    assert up["purl"] == "pkg:npm/%40acme/up@1.0.0"
    assert sorted(e for p in detail["packages"] for e in p["entries"]) == [
        "node_modules/@acme/up", "node_modules/left", "node_modules/right",
    ]  # fmt: skip
    assert [excluded["entry"] for excluded in detail["excluded"]] == ["node_modules/git"]


def test_a_complete_and_fresh_source_covers_and_gives_a_score(house: House) -> None:
    house.advise("left")
    house.changes["OSV_PATH_COMPLETE"] = True
    left, right = house.vet(house.lock("left", "right"))["packages"]

    assert (left["scan_result"], left["security_score"]) == ("vulnerable", 85)
    assert (right["scan_result"], right["security_score"]) == ("clean", 100)


def test_without_any_source_nothing_is_called_scanned(house: House) -> None:
    (package,) = house.vet(house.lock("left"))["packages"]

    assert (package["scan_result"], package["security_score"]) == ("not scanned", None)
    assert package["notes"] == [
        "no vulnerability source is configured",
        "guarddog: not run, GUARDDOG_BINARY is not set",
    ]


def bomb() -> bytes:
    """A tarball of a few hundred KB that unpacks to far more than its limit."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w|") as archive,
    ):
        manifest = json.dumps({"name": "bomb", "version": "1.0.0"}).encode()
        for name, data in (("package/package.json", manifest), ("package/x", bytes(100 * 2**20))):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def deep_manifest() -> bytes:
    manifest = '{"name": "deep", "version": "1.0.0", "a": ' + "[" * 200_000 + "]" * 200_000 + "}"
    return npm_tarball({"package.json": manifest})


def test_a_tarball_that_attacks_its_reader_costs_only_itself(house: House) -> None:
    lock = house.lock("left", "right")
    attacks = {"bomb": bomb(), "deep": deep_manifest()}
    for name, tarball in attacks.items():
        house.publish(name, tarball=tarball)
        lock["packages"][f"node_modules/{name}"] = house.entry(name, tarball=tarball)
    packages = {p["name"]: p for p in house.vet(lock)["packages"]}

    assert {name: p["status"] for name, p in packages.items()} == {
        "bomb": "Rejected", "deep": "Rejected",
        "left": "Pending Approval", "right": "Pending Approval",
    }  # fmt: skip
    for name in attacks:
        assert packages[name]["failure"] == "permanent"
        assert "Traceback" not in packages[name]["error"]


@pytest.fixture
def start_worker(house: House) -> Iterator[StartWorker]:
    """Starts real worker processes against the house; kills what a test leaves running."""
    started: list[subprocess.Popen[bytes]] = []
    environment = {
        "PATH": os.environ["PATH"], "DATABASE_URL": house.database_url, "LEASE_TTL": str(TTL),
        "SOURCE_REPOSITORY_URL": house.registry.url, "WORKER_SLEEP_INTERVAL": "1",
        "PACKAGE_CACHE_DIR": str(house.folder / "cache"),
        "OSV_PATH": str(house.changes.get("OSV_PATH", "")), "LOG_FORMAT": "json",
    }  # fmt: skip
    command = "import sys; from workers.main import run; from backend.settings import Settings; "

    def start() -> subprocess.Popen[bytes]:
        environment["OSV_PATH"] = str(house.changes.get("OSV_PATH", ""))
        with (house.folder / f"worker-{len(started)}.log").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-c", f"{command}sys.exit(run(Settings.load()))"],
                env=environment, stderr=log,
            )  # fmt: skip
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.wait()


def count(house: House, where: str) -> int:
    found: int = house.database.one(f"SELECT count(*) FROM package_status WHERE {where}")
    return found


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_loses_nothing_and_doubles_nothing(
    house: House, start_worker: StartWorker
) -> None:
    names = [f"p{number}" for number in range(PACKAGES)]
    for name in names[::2]:
        house.advise(name, advisory=f"GHSA-{name}")
    request_id = house.submit(house.lock(*names))

    first = start_worker()
    wait_until(
        lambda: count(house, "status = 'Pending Approval'") >= PACKAGES // 4
        and count(house, "lease_token IS NOT NULL"),
        seconds=30, what="a quarter vetted",
    )  # fmt: skip
    first.kill()
    first.wait()
    wait_until(
        lambda: not house.database.one(CONNECTED, name=f"%-{first.pid}-%"),
        seconds=10, what="the server ended what the dead worker had sent",
    )  # fmt: skip
    held = count(house, "lease_token IS NOT NULL")
    killed_at = time.monotonic()

    second = start_worker()
    wait_until(
        lambda: count(house, "status = 'Pending Approval'") == PACKAGES,
        seconds=40, what="every row ended",
    )  # fmt: skip
    recovered = time.monotonic() - killed_at
    second.send_signal(signal.SIGTERM)

    assert second.wait(timeout=20) == 0
    assert held > 0
    assert recovered < 30
    detail = house.detail(request_id)
    assert detail["request"]["package_counts"] == {"Pending Approval": PACKAGES}
    assert house.database.one("SELECT count(*) FROM security_scans") == PACKAGES
    assert house.database.one("SELECT count(*) FROM findings") == PACKAGES // 2
    assert house.database.one("SELECT count(*) FROM attempts WHERE outcome = 'done'") == PACKAGES
    assert house.database.one("SELECT count(*) FROM attempts WHERE outcome = 'stalled'") == held
    assert {len(package["findings"]) for package in detail["packages"]} == {0, 1}


def test_a_worker_that_is_told_to_stop_drains_and_ends_with_zero(
    house: House, start_worker: StartWorker
) -> None:
    house.submit(house.lock(*(f"p{number}" for number in range(20))))
    worker = start_worker()
    wait_until(lambda: count(house, "lease_token IS NOT NULL"), seconds=20, what="work begun")
    worker.send_signal(signal.SIGTERM)

    assert worker.wait(timeout=20) == 0
    assert count(house, "lease_token IS NOT NULL") == 0
    assert count(house, "status IN ('Requested', 'Pending Approval')") == 20
    assert count(house, "attempts > 0 AND status = 'Requested'") == 0
    assert house.database.one("SELECT count(*) FROM workers") == 0
