"""The evidence bundle: one zip that can be read and checked with nothing else at hand.

``manifest.json`` names every other member with its size and sha256. Where a key is configured,
``signature.json`` holds an Ed25519 signature over the manifest's own sha256.
"""

import hashlib
import zlib
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from typing import Final, Literal
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
    members = _members(evidence)
    manifest = to_json(_manifest(evidence, members))
    digest = hashlib.sha256(manifest).hexdigest()
    members |= {MANIFEST: manifest}
    if signer is not None:
        members |= {SIGNATURE: _signed(signer, digest).model_dump_json().encode()}
    return Bundle(_zipped(members), digest)


def _members(evidence: Evidence) -> dict[str, bytes]:
    parts = inventory(evidence)
    stamp = Stamp(_serial(evidence), evidence.taken_at, version("lockkeeper"))
    written = zip(_WRITTEN, evidence.written, strict=True)
    return {
        REQUEST: to_json(_request(evidence)),
        LOCK: evidence.lock,
        **{name: text.encode() for name, text in written},
        CYCLONEDX: to_json(cyclonedx(parts, stamp)),
        SPDX: to_json(spdx(parts, stamp)),
    }


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


def _manifest(evidence: Evidence, members: dict[str, bytes]) -> Json:
    summary = evidence.summary
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "request": summary.id,
        "application": {"name": summary.application_name, "version": summary.version},
        "taken_at": evidence.taken_at,
        "members": [
            {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in sorted(members.items())
        ],
    }


def _signed(signer: Signer, manifest_sha256: str) -> EvidenceStatement:
    unsigned = EvidenceStatement(manifest_sha256=manifest_sha256)
    around = {"public_key": signer.public_key.hex(), "signature": signer.sign(unsigned).hex()}
    return unsigned.model_copy(update=around)


def _zipped(members: dict[str, bytes]) -> bytes:
    """The same members make the same bytes."""
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name, data in sorted(members.items()):
            member = ZipInfo(name, _EPOCH)
            member.external_attr = _READABLE
            archive.writestr(member, data, ZIP_DEFLATED, zlib.Z_BEST_SPEED)
    return buffer.getvalue()
