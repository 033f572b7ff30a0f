"""The package cache of several machines that share a store, here a directory of its own kind."""

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from backend.storage.blobs import BlobMissing
from backend.storage.local import LocalBlobs
from backend.workloads.packages.cache import (
    SHARED,
    ContentAltered,
    ContentMissing,
    ContentStore,
    ContentUnavailable,
    shared_key,
)
from backend.workloads.packages.housekeeping import duties, evict
from tests.callers import make_settings

CONTENT = b"content " * 200_000  # more than one piece
SHA512 = hashlib.sha512(CONTENT).hexdigest()
DAY = timedelta(days=1)


@pytest.fixture
def bucket(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "bucket")


@pytest.fixture
def here(tmp_path: Path, bucket: LocalBlobs) -> ContentStore:
    return ContentStore(tmp_path / "here", bucket)


@pytest.fixture
def there(tmp_path: Path, bucket: LocalBlobs) -> ContentStore:
    return ContentStore(tmp_path / "there", bucket)


def put(store: ContentStore, content: bytes = CONTENT) -> str:
    with store.writer() as writer:
        writer.write(content)
        return writer.commit()


def put_alone(store: ContentStore, content: bytes = CONTENT) -> str:
    """As before there was a shared store."""
    return put(ContentStore(store.root), content)


def objects(bucket: LocalBlobs) -> list[str]:
    return [kept.key for kept in bucket.keys(SHARED)]


def alter(bucket: LocalBlobs, content: bytes) -> None:
    bucket.put(shared_key(SHA512), [content])


def away(tmp_path: Path) -> None:
    """Nothing can be read or written there."""
    (tmp_path / "bucket").rename(tmp_path / "bucket.away")
    (tmp_path / "bucket").write_text("in the way")


def back(tmp_path: Path) -> None:
    (tmp_path / "bucket").unlink()
    (tmp_path / "bucket.away").rename(tmp_path / "bucket")


def aged(path: Path, days: float) -> Path:
    then = path.lstat().st_mtime - days * 86_400
    os.utime(path, (then, then))
    return path


def parts(store: ContentStore) -> list[Path]:
    return list(store.unfinished())


def test_what_one_machine_commits_another_reads_and_keeps(
    here: ContentStore, there: ContentStore, bucket: LocalBlobs
) -> None:
    assert put(here) == SHA512
    assert objects(bucket) == [f"packages/{SHA512}"]

    assert there.open_verified(SHA512).read() == CONTENT
    bucket.delete(shared_key(SHA512))
    assert there.open_verified(SHA512).read() == CONTENT
    assert there.path(SHA512).stat().st_mode & 0o777 == 0o444
    assert parts(here) == parts(there) == []


def test_what_was_discarded_or_never_committed_is_shared_with_nobody(
    here: ContentStore, there: ContentStore, bucket: LocalBlobs
) -> None:
    with here.writer() as writer:
        writer.write(CONTENT)
    assert objects(bucket) == []
    with pytest.raises(ContentMissing):
        there.open_verified(SHA512)
    with pytest.raises(ContentMissing):
        list(there.chunks(SHA512))


def test_a_machine_that_lost_its_disk_has_all_again(here: ContentStore) -> None:
    put(here)
    shutil.rmtree(here.root)
    assert here.open_verified(SHA512).read() == CONTENT


def test_what_is_there_already_is_not_sent_again(here: ContentStore, tmp_path: Path) -> None:
    put(here)
    (object_,) = (path for path in (tmp_path / "bucket").rglob(SHA512))
    before = object_.stat().st_ino
    put(here)
    here.share(SHA512)
    assert object_.stat().st_ino == before


@pytest.mark.parametrize("altered", [b"", CONTENT[:-1], CONTENT + b"x", b"X" + CONTENT[1:]])
def test_an_altered_object_is_refused_and_removed_so_that_the_bytes_are_fetched_again(
    here: ContentStore, there: ContentStore, bucket: LocalBlobs, altered: bytes
) -> None:
    put(here)
    alter(bucket, altered)
    with pytest.raises(ContentAltered):
        there.open_verified(SHA512)
    assert objects(bucket) == []
    assert not there.path(SHA512).exists()
    assert parts(there) == []
    with pytest.raises(ContentMissing):
        there.open_verified(SHA512)
    assert here.open_verified(SHA512).read() == CONTENT  # its own were not altered

    put(there)
    assert objects(bucket) == [shared_key(SHA512)]


def test_an_object_that_is_larger_than_any_package_is_not_read_to_its_end(
    here: ContentStore, bucket: LocalBlobs, tmp_path: Path
) -> None:
    put(here)
    small = ContentStore(tmp_path / "small", bucket, largest=len(CONTENT) - 1)

    with pytest.raises(ContentAltered):
        small.open_verified(SHA512)

    assert objects(bucket) == []
    assert list(small.unfinished()) == []


def test_altered_bytes_of_this_machine_are_given_to_nobody(
    here: ContentStore, bucket: LocalBlobs
) -> None:
    path = here.path(put_alone(here))
    path.chmod(0o600)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ContentAltered):
        here.share(SHA512)
    assert objects(bucket) == []
    assert not path.exists()


def test_a_store_that_is_away_is_told_in_one_sentence_and_what_is_here_can_be_read(
    here: ContentStore, there: ContentStore, bucket: LocalBlobs, tmp_path: Path
) -> None:
    put(here)
    away(tmp_path)
    assert here.open_verified(SHA512).read() == CONTENT
    told = r"^the shared package cache cannot be used: [^\n]*$"
    for ask in (
        lambda: there.open_verified(SHA512),
        lambda: put(there),
        lambda: here.share(SHA512),
    ):
        with pytest.raises(ContentUnavailable, match=told):
            ask()

    back(tmp_path)
    assert there.open_verified(SHA512).read() == CONTENT


def test_bytes_that_could_not_be_shared_are_kept_for_the_next_attempt(
    here: ContentStore, bucket: LocalBlobs, tmp_path: Path
) -> None:
    bucket.put(shared_key("0" * 128), [b"x"])
    away(tmp_path)
    with pytest.raises(ContentUnavailable):
        put(here)
    back(tmp_path)
    assert shared_key(SHA512) not in objects(bucket)

    assert here.open_verified(SHA512).read() == CONTENT
    here.share(SHA512)
    assert shared_key(SHA512) in objects(bucket)


def test_eight_threads_may_lack_the_same_bytes_at_once(
    here: ContentStore, there: ContentStore
) -> None:
    put(here)
    with ThreadPoolExecutor(8) as threads:
        read = list(threads.map(lambda _: there.open_verified(SHA512).getvalue(), range(16)))
    assert set(read) == {CONTENT}
    assert parts(there) == []


def test_old_files_go_once_the_store_has_them_and_young_ones_stay(
    here: ContentStore, bucket: LocalBlobs
) -> None:
    old = [aged(here.path(put(here)), 2), aged(here.path(put_alone(here, b"alone")), 2)]
    young = here.path(put(here, b"young"))
    altered = aged(here.path(put_alone(here, b"altered")), 0)
    altered.chmod(0o600)
    altered.write_bytes(b"x")
    aged(altered, 2)

    assert evict(here, DAY) == 2
    assert not any(path.exists() for path in (*old, altered))
    assert young.exists()
    assert here.open_verified(old[1].name).read() == b"alone"
    with pytest.raises(BlobMissing):
        bucket.open(shared_key(altered.name))


def test_nothing_goes_that_the_store_does_not_have(here: ContentStore, tmp_path: Path) -> None:
    path = aged(here.path(put(here)), 2)
    away(tmp_path)
    with pytest.raises(ContentUnavailable):
        evict(here, DAY)
    assert path.exists()


def test_what_killed_writers_left_is_swept_in_both_places(
    here: ContentStore, tmp_path: Path
) -> None:
    put(here)
    for folder in (here.root, tmp_path / "bucket" / SHARED):
        aged(folder / "incoming", 0)
        (folder / "incoming" / "part-young").touch()
        (folder / "incoming" / "part-old").touch()
        aged(folder / "incoming" / "part-old", 2)
    assert here.sweep(DAY) == 2
    assert [path.name for path in parts(here)] == ["part-young"]


def test_without_a_bucket_nothing_is_shared_and_nothing_evicted(tmp_path: Path) -> None:
    settings = make_settings(PACKAGE_CACHE_DIR=tmp_path)
    assert ContentStore.of(settings).shared is None
    assert duties(settings) == []
