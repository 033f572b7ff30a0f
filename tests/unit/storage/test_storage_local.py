import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backend.storage.blobs import BlobMissing, StorageUnavailable
from backend.storage.local import LocalBlobs

KEY = "splunk-0011/" + "ab" * 16
OTHER = "splunk-0011/" + "0c" * 16
HOUR = timedelta(hours=1)


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "store")


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_what_was_put_is_read_copied_listed_and_deleted(blobs: LocalBlobs, tmp_path: Path) -> None:
    assert blobs.put(KEY, [b"one ", b"", b"two"]) == 7
    assert blobs.put(OTHER, []) == 0

    with blobs.open(KEY) as stream:
        assert stream.read() == b"one two"
    blobs.copy(KEY, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"one two"
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    listed = list(blobs.keys("splunk-0011"))
    assert [(kept.key, kept.size) for kept in listed] == [(OTHER, 0), (KEY, 7)]
    assert blobs.holds(KEY)
    assert abs(listed[0].since - datetime.now(UTC)) < HOUR

    blobs.delete(KEY)
    blobs.delete(KEY)
    assert not blobs.holds(KEY)
    assert [kept.key for kept in blobs.keys("splunk-0011")] == [OTHER]
    with pytest.raises(BlobMissing):
        blobs.open(KEY)
    with pytest.raises(BlobMissing):
        blobs.copy(KEY, tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_nobody_else_may_read_the_files(blobs: LocalBlobs, tmp_path: Path) -> None:
    blobs.put(KEY, [b"x"])

    (file,) = files(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o400
    folders = [path for path in (tmp_path / "store").rglob("*") if path.is_dir()]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


def test_a_source_that_fails_leaves_nothing_behind(blobs: LocalBlobs, tmp_path: Path) -> None:
    def failing() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise OSError(errno.EIO, "the sender's own failure")

    with pytest.raises(OSError, match="the sender's own failure"):
        blobs.put(KEY, failing())
    assert files(tmp_path) == []


def test_a_full_disk_is_told_and_leaves_nothing_behind(
    blobs: LocalBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _data: object) -> int:
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageUnavailable, match="is full"):
        blobs.put(KEY, [b"x"])
    assert files(tmp_path) == []


def test_nothing_is_there_before_the_last_byte_is(blobs: LocalBlobs) -> None:
    def watched() -> Iterator[bytes]:
        yield b"first"
        assert list(blobs.keys("splunk-0011")) == []
        with pytest.raises(BlobMissing):
            blobs.open(KEY)

    blobs.put(KEY, watched())
    assert len(list(blobs.keys("splunk-0011"))) == 1


def test_what_a_killed_writer_left_is_swept_once_it_is_old(
    blobs: LocalBlobs, tmp_path: Path
) -> None:
    blobs.put(KEY, [b"x"])
    incoming = tmp_path / "store" / "splunk-0011" / "incoming"
    (incoming / "part-young").write_bytes(b"y")
    (incoming / "part-old").write_bytes(b"o")
    os.utime(incoming / "part-old", (0, 0))

    assert blobs.sweep("splunk-0011", HOUR) == 1
    assert [path.name for path in incoming.iterdir()] == ["part-young"]
    assert len(list(blobs.keys("splunk-0011"))) == 1


def test_a_store_that_is_not_there_yet_is_empty(blobs: LocalBlobs) -> None:
    assert list(blobs.keys("splunk-0011")) == []
    assert blobs.sweep("splunk-0011", HOUR) == 0
    blobs.delete(KEY)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "x",
        "../" + "a" * 32,
        "splunk/" + "A" * 32,
        "splunk/" + "a" * 33,
        KEY + "\n",
        "packages/" + "a" * 127,
        "packages/ab/" + "a" * 128,
    ],
)
def test_no_other_key_leads_anywhere(blobs: LocalBlobs, key: str) -> None:
    with pytest.raises(ValueError, match="a blob's key"):
        blobs.open(key)
    with pytest.raises(ValueError, match="a blob's key"):
        blobs.put(key, [b"x"])


def test_a_link_in_the_store_is_not_followed(blobs: LocalBlobs, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    place = tmp_path / "store" / "splunk-0011" / "ab"
    place.mkdir(parents=True)
    (place / ("ab" * 16)).symlink_to(tmp_path / "secret")

    with pytest.raises(StorageUnavailable):
        blobs.open(KEY)


def test_what_somebody_else_put_there_is_not_listed(blobs: LocalBlobs, tmp_path: Path) -> None:
    blobs.put(KEY, [b"x"])
    (tmp_path / "store/splunk-0011/ab/notes.txt").write_text("mine")

    assert [kept.key for kept in blobs.keys("splunk-0011")] == [KEY]
