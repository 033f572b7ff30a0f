import errno
import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from backend.workloads.packages.cache import (
    ContentAltered,
    ContentMissing,
    ContentStore,
    ContentUnavailable,
)

CONTENT = b"content " * 1000
SHA512 = hashlib.sha512(CONTENT).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "made" / "when" / "needed")


def put(store: ContentStore, content: bytes = CONTENT) -> str:
    with store.writer() as writer:
        for start in range(0, len(content), 100):
            writer.write(content[start : start + 100])
        return writer.commit()


def leftovers(store: ContentStore) -> list[Path]:
    return list((store.root / "incoming").iterdir())


def test_what_was_put_is_read_back_by_its_hash(store: ContentStore) -> None:
    assert put(store) == SHA512
    assert store.open_verified(SHA512).read() == CONTENT
    assert leftovers(store) == []


def test_files_are_read_only_and_directories_are_closed_to_others(store: ContentStore) -> None:
    path = store.path(put(store))
    assert path == store.root / "sha512" / SHA512[:2] / SHA512
    assert path.stat().st_mode & 0o777 == 0o444
    for directory in (path.parent, path.parent.parent, store.root, store.root / "incoming"):
        assert directory.stat().st_mode & 0o777 == 0o700


def test_bytes_that_are_not_committed_are_not_kept(store: ContentStore) -> None:
    with store.writer() as writer:
        writer.write(CONTENT)
    assert leftovers(store) == []
    with pytest.raises(ContentMissing):
        store.open_verified(SHA512)


def test_bytes_of_a_failed_download_are_not_kept(store: ContentStore) -> None:
    def fail() -> None:
        with store.writer() as writer:
            writer.write(CONTENT)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert leftovers(store) == []


@pytest.mark.parametrize("altered", [b"", CONTENT[:-1], CONTENT + b"x", b"X" + CONTENT[1:]])
def test_altered_bytes_are_told_once_and_then_missing_so_that_they_are_fetched_again(
    store: ContentStore, altered: bytes
) -> None:
    path = store.path(put(store))
    path.chmod(0o600)
    path.write_bytes(altered)
    with pytest.raises(ContentAltered):
        store.open_verified(SHA512)
    with pytest.raises(ContentMissing):
        store.open_verified(SHA512)
    put(store)
    assert store.open_verified(SHA512).read() == CONTENT


def test_putting_the_same_bytes_again_repairs_an_altered_file(store: ContentStore) -> None:
    path = store.path(put(store))
    path.chmod(0o600)
    path.write_bytes(b"altered")
    put(store)
    assert store.open_verified(SHA512).read() == CONTENT


def test_a_link_in_place_of_the_file_is_not_followed(store: ContentStore, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(CONTENT)
    path = store.path(put(store))
    path.unlink()
    path.symlink_to(elsewhere)
    with pytest.raises(ContentUnavailable):
        store.open_verified(SHA512)


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", SHA512.upper(), SHA512[:-1], SHA512 + "\n"]
)
def test_only_a_hash_names_a_file(store: ContentStore, name: str) -> None:
    with pytest.raises(ValueError, match="128 lower-case hex digits"):
        store.open_verified(name)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_as_such_and_leaves_nothing(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with store.writer() as writer:
        writer.write(CONTENT)
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ContentUnavailable, match=r"^the package cache is full: "):
            writer.commit()
    assert leftovers(store) == []
    assert not store.path(SHA512).exists()


WRITE_OVER_THE_LIMIT = """
import resource, sys
from pathlib import Path
from backend.workloads.packages.cache import ContentStore, ContentUnavailable

store = ContentStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with store.writer() as writer:
        for _ in range(100):
            writer.write(bytes(10_000))
        writer.commit()
except ContentUnavailable as error:
    print(error, len(list((store.root / "incoming").iterdir())))
"""


def test_a_write_that_the_system_really_refuses_leaves_nothing(store: ContentStore) -> None:
    run = subprocess.run(
        [sys.executable, "-c", WRITE_OVER_THE_LIMIT, str(store.root)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "the package cache cannot be used: File too large 0\n"


def test_a_cache_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ContentUnavailable):
        ContentStore(tmp_path / "file" / "cache").writer()


KILLED_AT_EACH_LINE = """
import os, signal, sys
from pathlib import Path
from backend.workloads.packages import cache

CONTENT = b"content " * 1000

def put(store):
    with store.writer() as writer:
        writer.write(CONTENT)
        writer.commit()

def killed_at(line, root):
    seen = 0
    def trace(frame, event, _):
        nonlocal seen
        if frame.f_code.co_filename != cache.__file__:
            return None
        seen += event == "line"
        if seen == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace
    child = os.fork()
    if child == 0:
        sys.settrace(trace)
        put(cache.ContentStore(root))
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])

line = 1
while killed_at(line, Path(sys.argv[1]) / str(line)):
    line += 1
print(line)
"""


def test_a_kill_at_any_line_leaves_the_whole_file_or_none(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EACH_LINE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = int(run.stdout)
    kept = []
    for line in range(1, lines + 1):
        store = ContentStore(tmp_path / str(line))
        path = store.path(SHA512)
        kept.append(path.exists())
        if path.exists():
            assert store.open_verified(SHA512).read() == CONTENT
        store.sweep(older_than=timedelta(0))
        assert not store.root.exists() or not any(store.root.glob("incoming/*"))
    assert lines > 20
    assert kept == sorted(kept)
    assert (kept[0], kept[-1]) == (False, True)


def test_sweep_removes_what_was_left_behind_a_day_ago_and_nothing_else(
    store: ContentStore,
) -> None:
    put(store)
    with store.writer() as running:
        running.write(b"still being written")
        stale = store.root / "incoming" / "part-stale"
        stale.write_bytes(b"left behind")
        yesterday = stale.stat().st_mtime - 86_401
        os.utime(stale, (yesterday, yesterday))
        assert store.sweep() == 1
        assert not stale.exists()
        running.commit()
    assert store.open_verified(SHA512).read() == CONTENT


def test_sweeping_a_store_that_was_never_used_finds_nothing(store: ContentStore) -> None:
    assert store.sweep() == 0


def test_eight_threads_may_put_the_same_and_other_bytes_at_once(store: ContentStore) -> None:
    contents = [CONTENT, b"other " * 5000] * 20
    with ThreadPoolExecutor(8) as threads:
        hashes = list(threads.map(lambda content: put(store, content), contents))
    for content, sha512 in zip(contents, hashes, strict=True):
        assert store.open_verified(sha512).read() == content
    assert leftovers(store) == []
