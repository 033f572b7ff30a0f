"""The store that the settings name."""

from functools import lru_cache
from pathlib import Path

from backend.settings import Settings
from backend.storage.blobs import Blobs
from backend.storage.local import LocalBlobs


def blobs_of(settings: Settings) -> Blobs:
    """The one store of this process for these settings."""
    if settings.storage_backend == "s3":
        assert settings.s3_bucket is not None  # the settings demand it
        return _in_bucket(settings.s3_bucket, settings.s3_endpoint_url, settings.s3_region)
    return _in_directory(settings.storage_dir)


@lru_cache
def _in_directory(root: Path) -> Blobs:
    return LocalBlobs(root)


@lru_cache
def _in_bucket(bucket: str, endpoint_url: str | None, region: str | None) -> Blobs:
    from backend.storage.s3 import S3Blobs  # boto3 is large, and an extra

    return S3Blobs(bucket, endpoint_url=endpoint_url, region=region)
