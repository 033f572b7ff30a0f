"""The S3 store against a real S3 API server."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from backend.storage import s3
from backend.storage.blobs import BlobMissing, StorageUnavailable
from backend.storage.encryption import decrypted, encrypted, new_key
from backend.storage.s3 import S3Blobs
from tests.s3_server import REGION, serving

FOLDER = "splunk-0011"
KEY = f"{FOLDER}/{'ab' * 16}"
OTHER = f"{FOLDER}/{'0c' * 16}"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with serving() as url:
        yield url


@pytest.fixture(scope="module")
def server(endpoint: str) -> Any:
    made = boto3.session.Session().client("s3", endpoint_url=endpoint, region_name=REGION)
    made.create_bucket(Bucket="archives")
    return made


@pytest.fixture(scope="module")
def store(endpoint: str, server: Any) -> S3Blobs:
    return S3Blobs("archives", endpoint_url=endpoint, region=REGION)


@pytest.fixture
def blobs(store: S3Blobs, server: Any) -> S3Blobs:
    for found in server.list_objects_v2(Bucket="archives").get("Contents", ()):
        server.delete_object(Bucket="archives", Key=found["Key"])
    return store


def test_what_was_put_is_read_copied_listed_and_deleted(
    blobs: S3Blobs, server: Any, tmp_path: Path
) -> None:
    assert blobs.put(KEY, [b"one ", b"", b"two"]) == 7
    assert blobs.put(OTHER, []) == 0
    blobs.put(f"others-0022/{'e' * 32}", [b"x"])
    server.put_object(Bucket="archives", Key=f"{FOLDER}/", Body=b"")  # as consoles make a folder

    with blobs.open(KEY) as stream:
        assert stream.read() == b"one two"
    blobs.copy(KEY, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"one two"
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    listed = list(blobs.keys(FOLDER))
    assert [(kept.key, kept.size) for kept in listed] == [(OTHER, 0), (KEY, 7)]
    assert blobs.holds(KEY)
    assert abs(listed[0].since - datetime.now(UTC)) < timedelta(hours=1)

    blobs.delete(KEY)
    blobs.delete(KEY)
    assert not blobs.holds(KEY)
    assert [kept.key for kept in blobs.keys(FOLDER)] == [OTHER]
    with pytest.raises(BlobMissing):
        blobs.open(KEY)
    with pytest.raises(BlobMissing):
        blobs.copy(KEY, tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("size", [5 * MIB, 11 * MIB])
def test_a_long_blob_comes_in_parts_and_reads_back_from_any_place(
    blobs: S3Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(s3, "PART", 5 * MIB)
    key = new_key()
    pieces = [bytes([n]) * MIB for n in range(size // MIB)] + [b"!" * (size % MIB)]

    assert blobs.put(KEY, encrypted(pieces, key)) > size

    blobs.copy(KEY, tmp_path / "copy")
    with decrypted((tmp_path / "copy").open("rb"), key) as stream:
        stream.seek(4 * MIB - 1)
        assert stream.read(2) == b"\x03\x04"
        assert stream.seek(0, 2) == size


def test_a_source_that_fails_leaves_nothing_behind(
    blobs: S3Blobs, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "PART", 5 * MIB)

    def failing() -> Iterator[bytes]:
        for _ in range(12):
            yield b"x" * MIB
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        blobs.put(KEY, failing())
    assert list(blobs.keys(FOLDER)) == []
    assert "Uploads" not in server.list_multipart_uploads(Bucket="archives")


def test_what_a_killed_writer_left_is_swept_once_it_is_old(blobs: S3Blobs, server: Any) -> None:
    for name in (KEY, "others-0022/x"):
        server.create_multipart_upload(Bucket="archives", Key=name)

    # This server says of every upload that it began in 2010.
    assert blobs.sweep(FOLDER, timedelta(days=36_500)) == 0
    assert blobs.sweep(FOLDER, timedelta(hours=1)) == 1
    (left,) = server.list_multipart_uploads(Bucket="archives")["Uploads"]
    assert left["Key"] == "others-0022/x"


def test_a_server_that_refuses_or_is_not_there_is_told_in_one_sentence(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_CONFIG", Config(retries={"total_max_attempts": 1}))
    nowhere = S3Blobs("no-such-bucket", endpoint_url=endpoint, region=REGION)
    with pytest.raises(StorageUnavailable, match=r"refuses .*: NoSuchBucket"):
        nowhere.put(KEY, [b"x"])

    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    dead = S3Blobs("archives", endpoint_url=f"http://127.0.0.1:{port}", region=REGION)
    for ask in (dead.open, dead.delete, lambda key: dead.put(key, [b"x"])):
        with pytest.raises(StorageUnavailable, match="cannot be reached: EndpointConnectionError"):
            ask(KEY)


def test_an_answer_that_breaks_off_is_a_failure_and_not_a_short_blob(
    endpoint: str, tmp_path: Path
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 10)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        broken = S3Blobs("archives", endpoint_url=url, region=REGION)
        with pytest.raises(StorageUnavailable, match="cannot be reached"):
            broken.copy(KEY, tmp_path / "copy")
        thread.join()
