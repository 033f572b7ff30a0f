"""A disk that is really full: packages wait, nothing half is kept, and space is all it takes."""

import os
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from backend.queue.breaker import FAILURES, LONGEST, Breakers, Rules
from backend.queue.pipeline import Isolation, Step
from backend.queue.retry import Transient
from backend.workloads.packages.cache import ContentStore, ContentUnavailable
from tests.conftest import open_directory
from tests.integration.packages.full_disk import write_to_a_full_disk
from tests.integration.packages.house import House, Lock, lock_of
from workers import isolation
from workers.isolation import Children

FULL = "the package cache is full: No space left on device"
KIB = 1024


class SmallDisk:
    """A file system of half a mebibyte, and what else is on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, *, left: int = 0) -> None:
        """Fill it up to ``left`` bytes."""
        with self._ballast.open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4 * KIB))
            except OSError:
                ballast.truncate(ballast.tell() - left)

    def free(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with open_directory() as path:
        mount = ["mount", "-t", "tmpfs", "-o", "size=512k,mode=0755", "lockkeeper", str(path)]
        try:
            subprocess.run(mount, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("a small disk cannot be mounted here: that takes root")
        try:
            yield SmallDisk(path)
        finally:
            subprocess.run(["umount", "-l", str(path)], check=True)


def kept(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def noise(size: int) -> bytes:
    """Bytes that no compression makes smaller."""
    return os.urandom(size)


def lock_with(house: House, **tarballs: bytes) -> Lock:
    return lock_of({name: house.entry(name, tarball=packed) for name, packed in tarballs.items()})


def vetted(house: House) -> list[Any]:
    return house.database.rows(
        "SELECT status, attempts, stalls, failure, error FROM package_status ORDER BY id"
    )


# The cache


def test_a_package_that_finds_the_cache_full_waits_and_is_vetted_once_there_is_space(
    house: House, disk: SmallDisk
) -> None:
    cache = disk.path / "cache"
    house.changes["PACKAGE_CACHE_DIR"] = cache
    large = house.publish("large", files={"data": noise(100 * KIB)})
    disk.fill(left=50 * KIB)
    house.submit(lock_with(house, large=large))
    house.worker.cycle()

    (row,) = vetted(house)
    assert (row.status, row.attempts, row.failure, row.error) == ("Requested", 1, None, FULL)
    assert kept(cache) == []

    disk.free()
    house.hurry()
    house.worker.run()
    (row,) = vetted(house)
    assert (row.status, row.error) == ("Pending Approval", None)
    assert [path.stat().st_size for path in kept(cache)] == [len(large)]


def test_a_cache_that_stays_full_exhausts_nobody_and_is_not_filled_in_vain(
    house: House, disk: SmallDisk
) -> None:
    now = [0.0]
    house.breakers = Breakers(Rules(clock=lambda: now[0]))
    house.changes["PACKAGE_CACHE_DIR"] = disk.path / "cache"
    names = [f"p{n}" for n in range(FAILURES + 3)]
    tarballs = {name: house.publish(name, files={"data": noise(20 * KIB)}) for name in names}
    house.submit(lock_with(house, **tarballs))
    disk.fill()
    for _ in range(8):
        house.worker.cycle()
        house.hurry()
        now[0] += LONGEST.total_seconds()
    outcomes = Counter(one for (one,) in house.database.rows("SELECT outcome FROM attempts"))
    assert outcomes["retry"] == FAILURES - 1
    assert set(outcomes) == {"retry", "snoozed"}
    asked = sum("/-/" in request.path for request in house.registry.requests)
    assert asked < len(names) + 8  # once each, then one probe a time

    disk.free()
    for _ in range(4):
        house.hurry()
        house.worker.cycle()
    assert {row.status for row in vetted(house)} == {"Pending Approval"}


@pytest.mark.parametrize("size", [1, 300 * KIB], ids=["seen at the end", "seen on the way"])
def test_where_no_small_disk_can_be_mounted_the_system_says_full_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """The part file is there, but its descriptor leads to the device that is always full."""
    store, make = ContentStore(tmp_path / "cache"), tempfile.mkstemp

    def leads_to_full(**options: Any) -> tuple[int, str]:
        descriptor, name = make(**options)
        with Path("/dev/full").open("wb") as full:
            os.dup2(full.fileno(), descriptor)
        return descriptor, name

    def write() -> str:
        with store.writer() as writer:
            writer.write(b"x" * size)
            return writer.commit()

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", leads_to_full)
        with pytest.raises(ContentUnavailable, match=f"^{FULL}$"):
            write()
    assert kept(store.root) == []
    whole = store.path(write())
    assert kept(store.root) == [whole]


# Temporary files


class Nothing(BaseModel):
    pass


def test_a_child_that_finds_its_disk_full_fails_as_transient_and_did_not_die() -> None:
    step = Step(
        "inspect", write_to_a_full_disk, timeout=timedelta(seconds=10),
        isolation=Isolation.PROCESS, result=Nothing,
    )  # fmt: skip
    children = Children(1)
    try:
        with pytest.raises(Transient, match="No space left on device"):
            children.run(step, Nothing(), started=threading.Event().set)
    finally:
        children.close()


@pytest.mark.parametrize("needs_files", [False, True], ids=["copied", "unpacked"])
def test_a_package_whose_scratch_folder_is_full_is_tried_again_and_blames_nobody(
    house: House, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch, needs_files: bool
) -> None:
    # What is unpacked is large and compresses well; what is copied is large by itself.
    data = bytes(600 * KIB) if needs_files else noise(600 * KIB)
    tarball = house.publish("large", files={"data": data})
    if needs_files:
        house.changes["TRIVY_BINARY"] = "/bin/false"  # it is not reached
    house.submit(lock_with(house, large=tarball))
    worker = house.worker
    monkeypatch.setattr(tempfile, "tempdir", str(disk.path))
    monkeypatch.setattr(isolation, "_roomiest", lambda: str(disk.path))
    worker.cycle()

    (row,) = vetted(house)
    assert (row.status, row.attempts, row.stalls, row.failure) == ("Requested", 1, 0, None)
    assert "o space" in row.error
    assert house.database.rows("SELECT outcome FROM attempts") == [("retry",)]
    assert house.database.one("SELECT step FROM package_status") == (
        "inspect" if needs_files else "download"
    )
    assert list(disk.path.iterdir()) == []
