"""Whether a bundle is what was made: offline, with the file alone, and a public key where one is.

A bundle comes from strangers: sizes are counted on what comes out, never taken from the archive.
"""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from backend import strictjson
from backend.audit import signing
from backend.audit.statements import SealStatement
from backend.problems import Malformed
from backend.workloads.packages.evidence import bundle
from backend.workloads.packages.evidence.bundle import EvidenceStatement
from backend.workloads.packages.evidence.flags import contradiction
from backend.workloads.packages.evidence.stored_lock import Json
from backend.workloads.packages.scanning.findings import Finding
from backend.workloads.packages.verdict_digest import verdict_digest

MAX_FILE: Final = 256 * 1024**2  # bytes of the archive
MAX_UNPACKED: Final = 1024**3  # bytes of all members
_CHUNK: Final = 1024**2
_ENCRYPTED: Final = 0x1


class Altered(Malformed):
    """The bundle is not, or not whole, what was made."""

    code = "evidence-altered"


@dataclass(frozen=True, slots=True)
class Verified:
    """What a bundle says that is whole.

    ``key`` is the public key (hex) whose signature it bears, ``seal`` that of the audit log's
    newest seal; both None where there is none. Whose keys they are, the bundle cannot say.
    """

    request: int
    application: str
    taken_at: str
    packages: int
    manifest_sha256: str
    key: str | None
    seal: SealStatement | None


def verify(file: Path, *, key: bytes | None = None) -> Verified:
    """Check every member, the signatures, and that the documents agree with each other.

    Args:
        file: the bundle.
        key: the raw public key that must have signed it; without one a signature is checked
            against the key that the bundle names.

    Raises:
        Malformed: ``not-a-bundle``; ``evidence-unsigned`` or ``evidence-other-key`` with a ``key``.
        Altered: ``evidence-altered``, with the member that gives it away.
        OSError: the file cannot be read.
    """
    members = _members(file)
    digest = hashlib.sha256(members[bundle.MANIFEST]).hexdigest()
    try:
        manifest = strictjson.loads(members[bundle.MANIFEST])
        _check_format(manifest)
        _check_members(manifest, members)
        documents = _read(members)
        seal = _checked_seal(documents[bundle.AUDIT])
        _check_agreement(manifest, members, documents)
        signed_by = _signed_by(members, digest)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Altered(
            f"The bundle does not have the form of one: {type(error).__name__}."
        ) from None
    _demand_key(signed_by, key)
    application = manifest["application"]
    return Verified(
        request=manifest["request"],
        application=f"{application['name']} {application['version']}",
        taken_at=manifest["taken_at"],
        packages=len(documents[bundle.PACKAGES]),
        manifest_sha256=digest,
        key=signed_by,
        seal=seal,
    )


def _members(file: Path) -> dict[str, bytes]:
    if file.stat().st_size > MAX_FILE:
        raise _no_bundle(f"it is larger than {MAX_FILE >> 20} MiB")
    left = MAX_UNPACKED
    members: dict[str, bytes] = {}
    try:
        with ZipFile(file) as archive:
            if bundle.MANIFEST not in archive.namelist():
                raise _no_bundle(f"it has no {bundle.MANIFEST}")
            known = bundle.MEMBERS | {bundle.MANIFEST, bundle.SIGNATURE}
            for member in archive.infolist():
                if member.filename not in known or member.filename in members:
                    raise Altered(f"The member {strictjson.shown(member.filename)} is too many.")
                members[member.filename] = _unpacked(archive, member, left)
                left -= len(members[member.filename])
    except (BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
        raise _no_bundle(f"it is no sound zip archive ({error})") from None
    return members


def _unpacked(archive: ZipFile, member: ZipInfo, limit: int) -> bytes:
    if member.flag_bits & _ENCRYPTED or member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise _no_bundle(f"its member {member.filename} is packed in a way that we do not read")
    chunks, size = [], 0
    with archive.open(member) as stream:
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            if size > limit:
                raise _no_bundle(f"it holds more than {MAX_UNPACKED >> 30} GiB")
            chunks.append(chunk)
    return b"".join(chunks)


def _check_format(manifest: Any) -> None:
    if not isinstance(manifest, dict) or manifest.get("format") != bundle.FORMAT:
        raise _no_bundle("its manifest is not ours")
    if manifest["version"] != bundle.FORMAT_VERSION:
        raise Malformed(
            f"The bundle is of version {manifest['version']!r}; this release reads version"
            f" {bundle.FORMAT_VERSION}.",
            code="not-a-bundle",
        )


def _check_members(manifest: Json, members: Mapping[str, bytes]) -> None:
    named = {it["name"]: it for it in manifest["members"]}
    there = members.keys() - {bundle.MANIFEST, bundle.SIGNATURE}
    if odd := (bundle.MEMBERS ^ there) | (bundle.MEMBERS ^ named.keys()):
        raise Altered(f"{', '.join(sorted(odd))}: missing, in the bundle or in its manifest.")
    for name, said in named.items():
        if len(members[name]) != said["size"] or _sha256(members[name]) != said["sha256"]:
            raise Altered(f"{name} is not what the manifest says.")


def _read(members: Mapping[str, bytes]) -> dict[str, Any]:
    """Our own documents; the lock is a stranger's, and its bytes are all that counts."""
    return {name: strictjson.loads(members[name]) for name in bundle.MEMBERS - {bundle.LOCK}}


def _checked_seal(audit: Json) -> SealStatement | None:
    if audit["seal"] is None:
        return None
    seal = SealStatement.model_validate(audit["seal"])
    if seal.signature is not None and not signing.verifies(seal):
        raise Altered("The signature of the audit log's seal does not match it.")
    return seal


def _check_agreement(
    manifest: Json, members: Mapping[str, bytes], documents: Mapping[str, Any]
) -> None:
    """One document altered by itself, with the manifest to fit, contradicts the others."""
    request = documents[bundle.REQUEST]
    if request["id"] != manifest["request"] or request["application"] != manifest["application"]:
        raise Altered("The request is not the one that the manifest names.")
    if request["lock"]["sha256"] != _sha256(members[bundle.LOCK]):
        raise Altered(f"{bundle.LOCK} is not the lock of the request.")
    packages = {package["id"]: package for package in documents[bundle.PACKAGES]}
    for name in (bundle.LICENCES, bundle.FINDINGS):
        if [it["id"] for it in documents[name]] != [*packages]:
            raise Altered(f"{name} and {bundle.PACKAGES} do not speak of the same packages.")
    if not {decision["id"] for decision in documents[bundle.DECISIONS]} <= packages.keys():
        raise Altered(f"{bundle.DECISIONS} speaks of a package that the request has not.")
    for found in documents[bundle.FINDINGS]:
        _check_verdict(packages[found["id"]], found["scan"])
    if odd := contradiction(packages, documents):
        raise Altered(odd)
    _check_boms(packages, documents)


def _check_verdict(package: Json, scan: Json | None) -> None:
    """The verdict digest, which an approver named, is over the very facts in the bundle."""
    verdict = package["verdict"]
    if verdict["verdict_digest"] is None:
        return
    findings = [
        Finding(
            id=it["advisory"], kind=it["kind"], severity=it["severity"], component=it["component"],
            source=it["source"],
        )
        for it in (scan["findings"] if scan else ())
    ]  # fmt: skip
    made = verdict_digest(
        sha512=package["bytes"]["sha512"],
        expression=verdict["license_identifier"],
        tier=verdict["license_status"],
        findings=findings,
        scan_result=verdict["scan_result"],
        policy_digest=verdict["policy_digest"],
        waivers=[waiver["id"] for waiver in verdict.get("waivers", ())],
    )
    if made != verdict["verdict_digest"]:
        raise Altered(f"The verdict digest of {package['purl']} does not match what is said of it.")


def _check_boms(packages: Mapping[int, Json], documents: Mapping[str, Any]) -> None:
    expected = {
        f"package-{number}": package["bytes"]["sha512"] for number, package in packages.items()
    }
    listed = {
        it["bom-ref"]: it["hashes"][0]["content"] if "hashes" in it else None
        for it in documents[bundle.CYCLONEDX]["components"]
    }
    named = {
        it["SPDXID"].removeprefix("SPDXRef-"): it["checksums"][0]["checksumValue"]
        if "checksums" in it
        else None
        for it in documents[bundle.SPDX]["packages"]
    }
    for name, bom in ((bundle.CYCLONEDX, listed), (bundle.SPDX, named)):
        if any(ref not in bom or bom[ref] != sha512 for ref, sha512 in expected.items()):
            raise Altered(f"{name} does not list the packages, or not with their hashes.")


def _signed_by(members: Mapping[str, bytes], manifest_sha256: str) -> str | None:
    if bundle.SIGNATURE not in members:
        return None
    statement = EvidenceStatement.model_validate(strictjson.loads(members[bundle.SIGNATURE]))
    if statement.manifest_sha256 != manifest_sha256 or not signing.verifies(statement):
        raise Altered("The signature does not match the manifest.")
    return statement.public_key


def _demand_key(signed_by: str | None, key: bytes | None) -> None:
    if key is None:
        return
    if signed_by is None:
        raise Malformed("The bundle is not signed.", code="evidence-unsigned")
    if signed_by != key.hex():
        raise Malformed("The bundle is signed with another key.", code="evidence-other-key")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _no_bundle(why: str) -> Malformed:
    return Malformed(f"This is no evidence bundle: {why}.", code="not-a-bundle")
