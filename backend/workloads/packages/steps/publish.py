"""Publishing the very bytes that were vetted to the house's own registry; taking them back."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from backend.queue.pipeline import Done, Reject, Snooze
from backend.queue.retry import Permanent
from backend.workloads.packages.cache import ContentAltered, ContentMissing
from backend.workloads.packages.publishing.reading import manifest_of
from backend.workloads.packages.publishing.release import BytesChanged, Release
from backend.workloads.packages.publishing.snapshot import ApprovedPackage
from backend.workloads.packages.publishing.tools import PublishingTools
from backend.workloads.packages.registry.download import download
from backend.workloads.packages.registry.witness import integrity_of
from backend.workloads.packages.tools import cache_errors, registry_errors

TURN: Final = timedelta(seconds=1)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Publication:
    """What the target registry has now. ``tag`` is None where it had these very bytes before."""

    registry: str
    integrity: str
    shasum: str
    tag: str | None
    verdict: str | None


@dataclass(frozen=True, slots=True)
class TakenBack:
    """``how``: deprecated, unpublished, or absent where the registry had nothing to take back."""

    registry: str
    how: str


@dataclass(frozen=True, slots=True)
class Voided:
    """The verdict is no longer the one that was approved: the package waits for a person again."""


def publish(package: ApprovedPackage, tools: PublishingTools) -> Done | Reject | Snooze:
    """Publish one package, or take it back.

    Runs outside any transaction and may run twice for one row: what the registry has already is
    compared, never sent again.

    Returns:
        ``Reject`` where another verdict was approved than the one that stands now; ``Snooze``
        where another version of the package is being published.

    Raises:
        Transient: the network or the registry failed; worth another attempt.
        CircuitOpen: the registry is failing and is left alone for now.
        Permanent: it refuses us, has other bytes under this version, or our own bytes changed.
    """
    if package.recall == "asked":
        return Done()  # nothing was sent in this attempt; what an earlier one sent is taken back
    if not package.turn:
        return Snooze(TURN, f"another version of {package.name} is being published")
    if package.recall is not None:
        return Done(_take_back(package, tools))
    if not package.approved:
        reason = "verdict-changed: it is no longer the verdict that was approved"
        return Reject(reason, Voided())
    release = _release(package, tools)
    with registry_errors():
        published = tools.target.publish(release)
    return Done(
        Publication(
            registry=tools.target.url,
            integrity=release.integrity,
            shasum=release.shasum,
            tag=published.tag,
            verdict=package.verdict,
        )
    )


def _release(package: ApprovedPackage, tools: PublishingTools) -> Release:
    name, version = package.name, package.version
    content = _content(package, tools)
    manifest = manifest_of(content, name, version)
    try:
        return Release.of(name, version, content, manifest, sha512=package.sha512)
    except BytesChanged as error:
        raise _altered(package, str(error)) from None


def _content(package: ApprovedPackage, tools: PublishingTools) -> bytes:
    """The bytes that were vetted, out of the cache, where every reader hashes what it reads.

    Another machine's cache may hold them alone, and share none. Then they are fetched: their sha512
    is known, and no others are taken for them.
    """
    try:
        with cache_errors(tools.breakers):
            try:
                return tools.cache.open_verified(package.sha512).getvalue()
            except ContentMissing:
                _fetch(package, tools)
                return tools.cache.open_verified(package.sha512).getvalue()
    except ContentAltered as error:
        raise _altered(package, str(error)) from None


def _fetch(package: ApprovedPackage, tools: PublishingTools) -> None:
    download(
        tools.source,
        tools.cache,
        package.name,
        package.version,
        expected=(integrity_of(bytes.fromhex(package.sha512)),),
        registry_integrity=None,
        registry_shasum=None,
        max_bytes=tools.download_max_bytes,
    )


def _altered(package: ApprovedPackage, detail: str) -> Permanent:
    log.error("publish.bytes_altered", package=f"{package.name}@{package.version}", detail=detail)
    return Permanent(f"bytes-altered: {detail}; nothing was published")


def _take_back(package: ApprovedPackage, tools: PublishingTools) -> TakenBack:
    """An installed version is warned about; where the house wants that, it is gone."""
    name, version = package.name, package.version
    with registry_errors():
        if tools.unpublishes:
            how, there = "unpublished", tools.target.unpublish(name, version)
        else:
            reason = package.reason or "no reason given"
            how, there = "deprecated", tools.target.deprecate(name, version, reason)
    return TakenBack(tools.target.url, how if there else "absent")
