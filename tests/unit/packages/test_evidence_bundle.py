"""The bundle and its verification: what was made passes, and nothing else."""

import hashlib
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_LZMA, ZipFile

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from backend.audit.signing import Signer
from backend.problems import Malformed
from backend.workloads.packages.evidence import bundle as made
from backend.workloads.packages.evidence import verification
from backend.workloads.packages.evidence.verification import verify
from tests.benchmark.upload_lock import lock
from tests.evidence_example import example

Members = dict[str, bytes]
Change = Callable[[Members], None]

PACKAGES = 20
LOCK = lock(PACKAGES, tag="bundle")


def new_signer() -> Signer:
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    return Signer.of(pem)


SIGNER = new_signer()


def members_of(content: bytes) -> Members:
    with ZipFile(BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def members() -> Members:
    return members_of(made.bundle(example(LOCK), SIGNER).content)


def packed(members: Members, folder: Path) -> Path:
    file = folder / "evidence.zip"
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file


def remade(members: Members) -> None:
    """Make the manifest fit, and take the signature away: what anybody can do."""
    manifest = json.loads(members[made.MANIFEST])
    manifest["members"] = [
        {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in members.items()
        if name not in {made.MANIFEST, made.SIGNATURE}
    ]
    members[made.MANIFEST] = json.dumps(manifest).encode()
    members.pop(made.SIGNATURE, None)


def test_a_bundle_passes_and_says_what_it_is_of(tmp_path: Path) -> None:
    bundle = made.bundle(example(LOCK), SIGNER)
    file = tmp_path / "evidence.zip"
    file.write_bytes(bundle.content)

    found = verify(file, key=SIGNER.public_key)

    assert (found.request, found.application) == (7, "shop-bundle 3.1.4")
    assert (found.packages, found.manifest_sha256) == (PACKAGES, bundle.manifest_sha256)
    assert found.key == SIGNER.public_key.hex()


def test_the_same_evidence_makes_the_same_bytes() -> None:
    assert made.bundle(example(LOCK), SIGNER) == made.bundle(example(LOCK), SIGNER)


def test_without_a_key_a_bundle_is_whole_and_unsigned(tmp_path: Path) -> None:
    file = tmp_path / "evidence.zip"
    file.write_bytes(made.bundle(example(LOCK), None).content)

    assert verify(file).key is None
    with pytest.raises(Malformed) as refused:
        verify(file, key=SIGNER.public_key)
    assert refused.value.code == "evidence-unsigned"


def test_another_key_than_the_one_that_is_trusted_is_refused(
    members: Members, tmp_path: Path
) -> None:
    with pytest.raises(Malformed) as refused:
        verify(packed(members, tmp_path), key=new_signer().public_key)

    assert refused.value.code == "evidence-other-key"


@pytest.mark.parametrize("name", sorted(made.MEMBERS))
def test_a_member_that_was_changed_is_named(members: Members, tmp_path: Path, name: str) -> None:
    members[name] += b" "

    with pytest.raises(Malformed, match=name) as refused:
        verify(packed(members, tmp_path))
    assert refused.value.code == "evidence-altered"


@pytest.mark.parametrize("name", sorted(made.MEMBERS))
def test_a_member_that_is_missing_is_named(members: Members, tmp_path: Path, name: str) -> None:
    del members[name]

    with pytest.raises(Malformed, match=name):
        verify(packed(members, tmp_path))


def test_a_member_that_is_too_many_is_named(members: Members, tmp_path: Path) -> None:
    members["../approved.json"] = b"{}"

    with pytest.raises(Malformed, match=r"approved\.json"):
        verify(packed(members, tmp_path))


def test_a_manifest_that_was_remade_does_not_match_its_signature(
    members: Members, tmp_path: Path
) -> None:
    signature = members[made.SIGNATURE]
    members[made.DECISIONS] = b"[]"
    remade(members)

    with pytest.raises(Malformed, match="signature"):
        verify(packed({**members, made.SIGNATURE: signature}, tmp_path))


def changed(name: str, change: Callable[[Any], None]) -> Change:
    def apply(members: Members) -> None:
        document = json.loads(members[name])
        change(document)
        members[name] = json.dumps(document).encode()

    return apply


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(changed(made.PACKAGES, lambda d: d[6]["bytes"].update(sha512="00" * 64)),
                     id="the hash of a package"),
        pytest.param(changed(made.PACKAGES, lambda d: d.pop()), id="a package is gone"),
        pytest.param(changed(made.FINDINGS, lambda d: d[6]["scan"]["findings"].clear()),
                     id="a finding is gone"),
        pytest.param(changed(made.FINDINGS, lambda d: d.pop()), id="a scan is gone"),
        pytest.param(changed(made.FINDINGS, lambda d: d[1]["flags"].pop(0)), id="a flag is gone"),
        pytest.param(changed(made.FINDINGS, lambda d: d[1].pop("flags")), id="all flags are"),
        pytest.param(changed(made.FINDINGS, lambda d: d[2]["flags"].extend(d[1]["flags"])),
                     id="flags of another"),
        pytest.param(changed(made.FINDINGS, lambda d: d[1]["flags"][0].update(stands=False)),
                     id="a flag that stands no more"),
        pytest.param(changed(made.FINDINGS, lambda d: d[1]["flags"][1].update(lifted_at=None)),
                     id="a flag lifted at no time"),
        pytest.param(changed(made.FINDINGS, lambda d: d[1]["flags"][1].update(
                         stands=True, lifted_at=None, lifted_because=None)),
                     id="a flag that was lifted"),
        pytest.param(changed(made.CYCLONEDX, lambda d: d["vulnerabilities"].pop(0)),
                     id="an advisory is not in the bill"),
        pytest.param(changed(made.LICENCES, lambda d: d.reverse()), id="licences of others"),
        pytest.param(changed(made.CYCLONEDX, lambda d: d["components"].pop()),
                     id="a component is gone"),
        pytest.param(changed(made.SPDX, lambda d: d["packages"].pop()), id="an SPDX package"),
        pytest.param(changed(made.DECISIONS, lambda d: d[0].update(id=99)),
                     id="another's decision"),
        pytest.param(changed(made.REQUEST, lambda d: d.update(id=8)), id="another request"),
        pytest.param(changed(made.AUDIT, lambda d: d.pop("seal")), id="no word of the audit log"),
        pytest.param(lambda m: m.update({made.LOCK: m[made.LOCK] + b" "}), id="the lock"),
        pytest.param(lambda m: m.update({made.PACKAGES: b"[" * 100}), id="no JSON"),
        pytest.param(lambda m: m.update({made.PACKAGES: b"[{}]"}), id="not of the form"),
    ],
)  # fmt: skip
def test_a_document_altered_by_itself_contradicts_the_others(
    members: Members, tmp_path: Path, change: Change
) -> None:
    change(members)
    remade(members)

    with pytest.raises(Malformed):
        verify(packed(members, tmp_path))


def test_a_bundle_from_before_flags_passes(members: Members, tmp_path: Path) -> None:
    findings, bom = json.loads(members[made.FINDINGS]), json.loads(members[made.CYCLONEDX])
    for found in findings:
        del found["flags"]
    told = [it for it in bom["vulnerabilities"] if it["id"] != "GHSA-late"]
    members[made.FINDINGS] = json.dumps(findings).encode()
    members[made.CYCLONEDX] = json.dumps({**bom, "vulnerabilities": told}).encode()
    remade(members)

    assert verify(packed(members, tmp_path)).packages == PACKAGES


def test_what_anybody_could_remake_passes_and_bears_no_key(
    members: Members, tmp_path: Path
) -> None:
    remade(members)

    assert verify(packed(members, tmp_path)).key is None


@pytest.mark.parametrize("data", [b"", b"PK", b"\x1f\x8b", bytes(range(256)), b"[]"])
def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "evidence.zip"
    file.write_bytes(data)

    with pytest.raises(Malformed) as refused:
        verify(file)
    assert refused.value.code == "not-a-bundle"


@pytest.mark.parametrize("manifest", [b"{}", b"[]", b"1", b'{"format": "other"}', b"nonsense"])
def test_a_foreign_manifest_is_refused(members: Members, tmp_path: Path, manifest: bytes) -> None:
    members[made.MANIFEST] = manifest

    with pytest.raises(Malformed):
        verify(packed(members, tmp_path))


def test_a_bundle_of_a_later_release_is_said_to_be_one(members: Members, tmp_path: Path) -> None:
    changed(made.MANIFEST, lambda d: d.update(version=2))(members)

    with pytest.raises(Malformed, match="version 2"):
        verify(packed(members, tmp_path))


def test_a_bundle_cut_short_or_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    content = made.bundle(example(LOCK), SIGNER).content
    file = tmp_path / "evidence.zip"
    for altered in (content[:-30], content[: len(content) // 2], _flipped(content)):
        file.write_bytes(altered)
        with pytest.raises(Malformed):
            verify(file)


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def test_a_bomb_is_not_unpacked(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "MAX_UNPACKED", 1024**2)
    members[made.PACKAGES] = bytes(2 * 1024**2)

    with pytest.raises(Malformed, match="holds more"):
        verify(packed(members, tmp_path))


def test_another_packing_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "evidence.zip"
    with ZipFile(file, "w", ZIP_LZMA) as archive:
        archive.writestr(made.MANIFEST, b"{}")

    with pytest.raises(Malformed, match="packed"):
        verify(file)
