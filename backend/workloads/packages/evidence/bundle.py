"""The evidence bundle: one zip that can be read and checked with nothing else at hand.

``manifest.json`` names every other member with its size and sha256. Where a key is configured,
``signature.json`` holds an Ed25519 signature over the manifest's own sha256.
"""

import hashlib
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from operator import itemgetter
from typing import Final, Literal, Self
from uuid import NAMESPACE_URL, UUID, uuid5
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from pydantic_core import to_json

from backend.audit.signing import Signer
from backend.audit.statements import Sha256, Statement
from backend.workloads.packages.evidence.collected import Evidence
from backend.workloads.packages.evidence.cyclonedx import cyclonedx
from backend.workloads.packages.evidence.inventory import Stamp, inventory
from backend.workloads.packages.evidence.spdx import spdx
from backend.workloads.packages.evidence.stored_lock import Json

FORMAT: Final = "lockkeeper-evidence"
FORMAT_VERSION: Final = 1

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "signature.json"
REQUEST: Final = "request.json"
LOCK: Final = "package-lock.json"
PACKAGES: Final = "packages.json"
LICENCES: Final = "licences.json"
FINDINGS: Final = "findings.json"
DECISIONS: Final = "decisions.json"
POLICY: Final = "policy.json"
AUDIT: Final = "audit.json"
CYCLONEDX: Final = "sbom.cdx.json"
SPDX: Final = "sbom.spdx.json"

_WRITTEN: Final = (PACKAGES, LICENCES, FINDINGS, DECISIONS, POLICY, AUDIT)  # as in ``Written``
MEMBERS: Final = frozenset({REQUEST, LOCK, *_WRITTEN, CYCLONEDX, SPDX})

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can name
_READABLE: Final = 0o644 << 16


class EvidenceStatement(Statement):
    """What the signature of a bundle is over: its manifest, and so all of it."""

    kind: Literal["evidence"] = "evidence"
    manifest_sha256: Sha256


@dataclass(frozen=True, slots=True)
class Bundle:
    """``manifest_sha256`` (hex) stands for all of ``content``."""

    content: bytes
    manifest_sha256: str


def bundle(evidence: Evidence, signer: Signer | None) -> Bundle:
    """Make the bundle of a request; ``signer`` None makes an unsigned one."""
    with Zip() as archive:
        for name, data in _members(evidence):
            archive.add(name, data)
        manifest = to_json(_manifest(evidence, archive.added()))
        digest = hashlib.sha256(manifest).hexdigest()
        archive.add(MANIFEST, manifest)
        if signer is not None:
            archive.add(SIGNATURE, _signed(signer, digest).model_dump_json().encode())
    return Bundle(archive.content, digest)


def _members(evidence: Evidence) -> Iterator[tuple[str, bytes]]:
    """Those first that are there already: they are compressed while the others are made."""
    yield LOCK, evidence.lock
    for name, text in zip(_WRITTEN, evidence.written, strict=True):
        yield name, text.encode()
    yield REQUEST, to_json(_request(evidence))
    parts = inventory(evidence)
    stamp = Stamp(_serial(evidence), evidence.taken_at, version("lockkeeper"))
    yield CYCLONEDX, to_json(cyclonedx(parts, stamp))
    yield SPDX, to_json(spdx(parts, stamp))


def _request(evidence: Evidence) -> Json:
    summary = evidence.summary
    return {
        "id": summary.id,
        "application": {"name": summary.application_name, "version": summary.version},
        "status": summary.status,
        "requestor": summary.requestor,
        "created_at": summary.created_at,
        "lock": {
            "format": summary.lock_format,
            "entries": summary.entries,
            "sha256": evidence.lock_sha256,
        },
        "package_counts": summary.counts,
        "excluded": evidence.exclusions,
        "notices": evidence.notices,
    }


def _serial(evidence: Evidence) -> UUID:
    """Of this request as it is now, and no other."""
    seen = f"{evidence.summary.id} {evidence.taken_at} {evidence.lock_sha256}"
    return uuid5(NAMESPACE_URL, f"urn:lockkeeper:evidence:{seen}")


def _manifest(evidence: Evidence, members: list[Json]) -> Json:
    summary = evidence.summary
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "request": summary.id,
        "application": {"name": summary.application_name, "version": summary.version},
        "taken_at": evidence.taken_at,
        "members": members,
    }


def _signed(signer: Signer, manifest_sha256: str) -> EvidenceStatement:
    unsigned = EvidenceStatement(manifest_sha256=manifest_sha256)
    around = {"public_key": signer.public_key.hex(), "signature": signer.sign(unsigned).hex()}
    return unsigned.model_copy(update=around)


class Zip:
    """Compresses and hashes in a thread of its own what is added, without holding up who adds it.

    The same members in the same order make the same bytes.
    """

    def __init__(self) -> None:
        self._buffer = BytesIO()
        self._archive = ZipFile(self._buffer, "w")
        self._thread = ThreadPoolExecutor(1)
        self._added: list[Future[Json]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        self._archive.close()

    def add(self, name: str, data: bytes) -> None:
        self._added.append(self._thread.submit(self._write, name, data))

    def added(self) -> list[Json]:
        """Name, size in bytes and sha256 (hex) of each member so far, by name."""
        return sorted((one.result() for one in self._added), key=itemgetter("name"))

    @property
    def content(self) -> bytes:
        """All of it, once it is closed."""
        self.added()  # raises what went wrong
        return self._buffer.getvalue()

    def _write(self, name: str, data: bytes) -> Json:
        member = ZipInfo(name, _EPOCH)
        member.external_attr = _READABLE
        self._archive.writestr(member, data, ZIP_DEFLATED, zlib.Z_BEST_SPEED)
        return {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
