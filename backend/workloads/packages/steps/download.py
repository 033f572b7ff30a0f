"""Downloading: the bytes, from the configured registry only, checked before anything opens them."""

from pydantic import BaseModel

from backend.queue.pipeline import Done
from backend.workloads.packages.registry.download import download
from backend.workloads.packages.snapshot import PackageSnapshot
from backend.workloads.packages.steps.licence import refuse_internal
from backend.workloads.packages.tools import VettingTools, registry_errors


class DownloadResult(BaseModel):
    """``checked``: the algorithm of the lock's claim that the bytes matched, or "none"."""

    sha512: str
    size: int
    checked: str
    registry_agrees: bool | None


def fetch_bytes(package: PackageSnapshot, tools: VettingTools) -> Done:
    """Keep the package's bytes in the content store.

    Raises:
        Transient: the network or the disk failed; worth another attempt.
        Permanent: missing, too large, or other bytes than the lock or the registry names.
    """
    refuse_internal(package, tools)
    record = package.registry_record or {}
    with registry_errors():
        kept = download(
            tools.origin,
            tools.cache,
            package.name,
            package.version,
            expected=(package.integrity,) if package.integrity else None,
            registry_integrity=record.get("integrity"),
            registry_shasum=record.get("shasum"),
            max_bytes=tools.download_max_bytes,
        )
    return Done(
        DownloadResult(
            sha512=kept.sha512_hex,
            size=kept.size,
            checked=kept.checked,
            registry_agrees=kept.registry_agrees,
        )
    )
