"""Blobs in a bucket of Amazon S3, or of a server that speaks its protocol.

Credentials come as boto3 finds them: its environment variables, its files, or the machine's role.
"""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from backend.storage.blobs import (
    BlobMissing,
    Kept,
    StorageUnavailable,
    checked,
    is_key,
    written,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PART: Final = 8 * 1024 * 1024
"""Bytes of one part of an upload, which is what it takes in memory; S3 wants 5 MiB or more."""

_CONFIG: Final = Config(
    connect_timeout=5,  # seconds
    read_timeout=60,  # seconds
    retries={"mode": "standard", "total_max_attempts": 3},
    # Others than Amazon may not know the newer checksums; the bytes bear their own.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
_MISSING: Final = {"NoSuchKey", "404"}


class S3Blobs:
    """Objects named by their keys; what is longer than :data:`PART` comes in several parts."""

    def __init__(
        self, bucket: str, *, endpoint_url: str | None = None, region: str | None = None
    ) -> None:
        self._bucket = bucket
        self._s3: Any = boto3.session.Session().client(
            "s3", endpoint_url=endpoint_url, region_name=region, config=_CONFIG
        )

    def put(self, key: str, chunks: Iterable[bytes]) -> int:
        parts = _parts(chunks)
        first, second = next(parts), next(parts, None)
        if second is not None:
            return self._put_parts(key, first, second, parts)
        with _failures(key):
            self._s3.put_object(Bucket=self._bucket, Key=checked(key), Body=first)
        return len(first)

    def _put_parts(self, key: str, first: bytes, second: bytes, rest: Iterator[bytes]) -> int:
        upload = {"Bucket": self._bucket, "Key": checked(key)}
        with _failures(key):
            upload["UploadId"] = self._s3.create_multipart_upload(**upload)["UploadId"]
        try:
            size, tags = 0, []
            for number, part in enumerate(_chained(first, second, rest), 1):
                with _failures(key):
                    answer = self._s3.upload_part(**upload, PartNumber=number, Body=part)
                tags.append({"PartNumber": number, "ETag": answer["ETag"]})
                size += len(part)
            with _failures(key):
                self._s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": tags})
        except BaseException:
            with suppress(BotoCoreError, ClientError):  # else the next sweep
                self._s3.abort_multipart_upload(**upload)
            raise
        return size

    def open(self, key: str) -> BinaryIO:
        with _failures(key):
            answer = self._s3.get_object(Bucket=self._bucket, Key=checked(key))
        return io.BufferedReader(_Body(key, answer["Body"]), 1 << 16)

    def holds(self, key: str) -> bool:
        with suppress(BlobMissing), _failures(key):
            self._s3.head_object(Bucket=self._bucket, Key=checked(key))
            return True
        return False

    def copy(self, key: str, path: Path) -> None:
        with self.open(key) as source:
            try:
                written(source, path)
            except OSError as error:
                raise StorageUnavailable(f"{path.parent}: {error.strerror}") from error

    def delete(self, key: str) -> None:
        with _failures(key):
            self._s3.delete_object(Bucket=self._bucket, Key=checked(key))

    def keys(self, folder: str) -> Iterator[Kept]:
        pages = self._s3.get_paginator("list_objects_v2")
        with _failures(folder):
            for page in pages.paginate(Bucket=self._bucket, Prefix=f"{folder}/"):
                for found in page.get("Contents", ()):
                    if not is_key(found["Key"]):
                        continue  # a console's mark of a folder, say
                    yield Kept(found["Key"], found["LastModified"], found["Size"])

    def sweep(self, folder: str, older_than: timedelta) -> int:
        horizon = datetime.now(UTC) - older_than
        removed = 0
        pages = self._s3.get_paginator("list_multipart_uploads")
        with _failures(folder):
            for page in pages.paginate(Bucket=self._bucket, Prefix=f"{folder}/"):
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < horizon:
                        self._s3.abort_multipart_upload(
                            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        removed += 1
        return removed


class _Body(io.RawIOBase):
    """An object's bytes as they come; a connection that breaks is a failure of the storage."""

    def __init__(self, key: str, body: Any) -> None:
        super().__init__()
        self._key, self._body = key, body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        wanted = memoryview(buffer).cast("B")
        with _failures(self._key):
            piece = self._body.read(len(wanted))
        wanted[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._body.close()
        super().close()


def _parts(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """``chunks`` in pieces of :data:`PART` bytes, at least one; the last may be shorter."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) > PART:
            yield bytes(memoryview(waiting)[:PART])
            del waiting[:PART]
    yield bytes(waiting)


def _chained(first: bytes, second: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield second
    yield from rest


@contextmanager
def _failures(what: str) -> Iterator[None]:
    """The server's answers as ours; it names no bucket, no credentials and no address."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        if code in _MISSING:
            raise BlobMissing(f"nothing is kept under {what}") from None
        raise StorageUnavailable(f"the S3 server refuses {what}: {code}") from error
    except BotoCoreError as error:
        reason = type(error).__name__
        raise StorageUnavailable(f"the S3 server cannot be reached: {reason}") from error
