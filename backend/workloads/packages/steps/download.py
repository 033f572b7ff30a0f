"""Downloading: the bytes, from the configured registry only, checked before anything opens them."""

from typing import Any

from pydantic import BaseModel

from backend.queue.pipeline import Done
from backend.workloads.packages.registry.download import download
from backend.workloads.packages.registry.witness import claim, integrity_of
from backend.workloads.packages.snapshot import PackageSnapshot
from backend.workloads.packages.steps.licence import refuse_internal
from backend.workloads.packages.tools import VettingTools, cache_errors


class DownloadResult(BaseModel):
    """``checked``: the algorithm of the lock's claim that the bytes matched, or "none"."""

    sha512: str
    size: int
    checked: str
    registry_agrees: bool | None


def fetch_bytes(package: PackageSnapshot, tools: VettingTools) -> Done:
    """Keep the package's bytes in the content store.

    Once an artifact's sha512 is known it is its identity: whatever weaker hash its lock named,
    no other bytes are ever taken for it.

    Raises:
        Transient: the network or the disk failed; worth another attempt.
        CircuitOpen: the registry, its CDN or the disk is failing and is left alone for now.
        Permanent: missing, too large, or other bytes than the lock or the registry names.
    """
    refuse_internal(package, tools)
    record = package.registry_record or {}
    declared = (package.integrity,) if package.integrity else ()
    known = (integrity_of(bytes.fromhex(package.sha512)),) if package.sha512 else ()
    with cache_errors(tools.breakers):
        kept = download(
            tools.origin,
            tools.cache,
            package.name,
            package.version,
            expected=known or declared,
            registry_integrity=record.get("integrity"),
            registry_shasum=record.get("shasum"),
            max_bytes=tools.download_max_bytes,
        )
    claimed = claim(declared)
    return Done(
        DownloadResult(
            sha512=kept.sha512_hex,
            size=kept.size,
            checked=claimed.algorithm if claimed else "none",
            registry_agrees=kept.registry_agrees,
        )
    )


def with_bytes(package: PackageSnapshot, result: DownloadResult, _answered: Any) -> PackageSnapshot:
    """The package as it stands once its bytes are known."""
    return package.model_copy(update={"sha512": result.sha512})
