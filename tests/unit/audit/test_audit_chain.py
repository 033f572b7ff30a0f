"""Lines, links, statements and keys, to the byte; and files that no Lockkeeper wrote."""

import gzip
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa, x25519
from pydantic import ValidationError

from backend.audit import chain, segments, signing
from backend.audit.model import AuditSeal
from backend.audit.signing import Signer
from backend.audit.statements import HEAD, SealStatement
from backend.audit.verification import verify_file
from backend.audit.walking import Walk
from backend.problems import Malformed
from backend.settings import SettingsError

LINES = [b'{"id":1,"one":1}', b'{"id":2,"two":2}']
ZEROS = "00" * 32


def row(**changes: Any) -> Any:
    facts = {
        "id": 7, "xid": 9, "at": "2026-01-02T03:04:05.000006Z", "actor_id": None, "actor": "test",
        "action": "thing.done", "subject": "a:1", "detail": '{"b": 1.10}',
    }  # fmt: skip
    return SimpleNamespace(**facts | changes)


def statement(lines: list[bytes], **changes: Any) -> SealStatement:
    facts: dict[str, Any] = {
        "seal": 1, "count": len(lines), "total": len(lines), "previous": ZEROS,
        "head": chain.head(chain.GENESIS, lines).hex(), "sealed_at": "2026-01-02T03:04:05.000000Z",
    }  # fmt: skip
    return SealStatement(**facts | changes)


def written(file: Path, lines: Iterable[bytes]) -> Path:
    with gzip.open(file, "wb") as packed:
        packed.writelines(line + b"\n" for line in lines)
    return file


def beginning(**changes: Any) -> bytes:
    facts = {"kind": "lockkeeper-audit", "version": 1, "seal": 0, "total": 0, "head": ZEROS}
    return json.dumps(facts | changes).encode()


def test_a_line_is_the_entry_as_one_json_object_with_its_detail_as_the_database_writes_it() -> None:
    assert chain.line(row()) == (
        b'{"id":7,"xid":9,"at":"2026-01-02T03:04:05.000006Z","actor_id":null,"actor":"test",'
        b'"action":"thing.done","subject":"a:1","detail":{"b": 1.10}}'
    )
    assert json.loads(chain.line(row(actor_id=3, actor='"\u2028\n')))["actor"] == '"\u2028\n'


@pytest.mark.parametrize(
    "changes",
    [
        {"id": 8}, {"xid": 10}, {"at": "2026-01-02T03:04:05.000007Z"}, {"actor_id": 1},
        {"actor": "toast"}, {"action": "thing.undone"}, {"subject": "a:2"}, {"detail": "{}"},
    ],
)  # fmt: skip
def test_every_fact_of_an_entry_is_in_its_line(changes: dict[str, Any]) -> None:
    assert chain.line(row(**changes)) != chain.line(row())


def test_a_link_is_over_the_link_before_and_the_hash_of_the_line() -> None:
    first = sha256(bytes(32) + sha256(LINES[0]).digest()).digest()

    assert chain.head(chain.GENESIS, LINES) == sha256(first + sha256(LINES[1]).digest()).digest()
    assert chain.head(chain.GENESIS, []) == chain.GENESIS
    assert chain.head(chain.GENESIS, LINES[::-1]) != chain.head(chain.GENESIS, LINES)


def test_what_is_signed_is_everything_but_the_signature_with_sorted_keys() -> None:
    seal = AuditSeal(
        id=1, entries=[5, 6], total=2, previous=bytes(32), head=bytes.fromhex("ab" * 32),
        sealed_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )  # fmt: skip

    assert SealStatement.of(seal).to_be_signed() == (
        b'{"count":2,"head":"' + b"ab" * 32 + b'","kind":"seal","previous":"' + b"00" * 32 + b'",'
        b'"seal":1,"sealed_at":"2026-01-02T03:04:05.000000Z","total":2}'
    )


@pytest.mark.parametrize(
    "changes", [{"seal": 2}, {"count": 1}, {"total": 3}, {"head": ZEROS}, {"sealed_at": "now"}]
)
def test_a_signature_is_of_one_statement_and_one_key(changes: dict[str, Any]) -> None:
    mine, other = (Signer.of(signing.new_key().encode()) for _ in range(2))
    plain = statement(LINES)
    around = {"public_key": mine.public_key.hex(), "signature": mine.sign(plain).hex()}
    signed = plain.model_copy(update=around)

    assert signing.verifies(signed)
    assert not signing.verifies(plain)
    assert not signing.verifies(signed.model_copy(update=changes))
    assert not signing.verifies(signed.model_copy(update={"public_key": other.public_key.hex()}))
    assert signing.fingerprint(mine.public_key) != signing.fingerprint(other.public_key)


def pem(key: Any, password: bytes | None = None) -> bytes:
    encryption = forms.BestAvailableEncryption(password) if password else forms.NoEncryption()
    return bytes(key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, encryption))


def public_pem(key: Any) -> bytes:
    return bytes(
        key.public_key().public_bytes(
            forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo
        )
    )  # fmt: skip


def test_a_public_key_is_read_from_either_half() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    raw = key.public_key().public_bytes_raw()

    assert signing.public_key(pem(key)) == signing.public_key(public_pem(key)) == raw
    assert Signer.of(pem(key)).public_key == raw


@pytest.mark.parametrize(
    "content",
    [
        b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        pem(ed25519.Ed25519PrivateKey.generate(), b"secret"),
        pem(x25519.X25519PrivateKey.generate()),
        pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)),
        public_pem(ed25519.Ed25519PrivateKey.generate()),
    ],
    ids=["empty", "text", "broken", "encrypted", "x25519", "rsa", "public"],
)  # fmt: skip
def test_a_wrong_key_file_is_named_by_its_setting_and_not_shown(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(content)

    with pytest.raises(SettingsError, match=r"^AUDIT_SIGNING_KEY_FILE: no unencrypted Ed25519"):
        signing.signer(file)


def test_a_key_file_that_is_missing_is_said_and_none_is_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="AUDIT_SIGNING_KEY_FILE: No such file"):
        signing.signer(tmp_path / "missing")
    assert signing.signer(None) is None


@pytest.mark.parametrize(
    "content", [b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
                public_pem(x25519.X25519PrivateKey.generate())],
)  # fmt: skip
def test_what_is_no_public_key_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        signing.public_key(content)


def test_a_file_of_ours_is_followed(tmp_path: Path) -> None:
    said = statement(LINES).model_dump_json().encode()
    walk = Walk()

    verify_file(written(tmp_path / "log", [beginning(), *LINES, said]), walk)

    assert (walk.faults, walk.entries, walk.seals, walk.head.hex()) == (
        [], 2, 1, chain.head(chain.GENESIS, LINES).hex(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], "ends before a seal"),
        ([beginning()], "ends before a seal"),
        ([beginning(), *LINES], "ends before a seal"),
        ([*LINES], "Line 1 of the file is neither"),
        ([statement(LINES).model_dump_json().encode()], "Line 1 of the file is not where"),
        ([beginning(), beginning()], "Line 2 of the file is not where"),
        ([beginning(version=2)], "Line 1 of the file is neither"),
        ([beginning(head="ff")], "Line 1 of the file is neither"),
        ([beginning(total=-1)], "Line 1 of the file is neither"),
        ([beginning(seal=2**63)], "Line 1 of the file is neither"),
        ([beginning(), b'{"kind":"seal"}'], "Line 2 of the file is neither"),
        ([beginning(), b"[" * 100_000], "Line 2 of the file is neither"),
        ([beginning(), b"\xff\x00"], "Line 2 of the file is neither"),
        ([beginning(), b"{" + b" " * segments.LONGEST_LINE], "Line 2 of the file is too long"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_in_its_line(
    tmp_path: Path, lines: list[bytes], found: str
) -> None:
    with pytest.raises(Malformed, match=found):
        verify_file(written(tmp_path / "log", lines), Walk())


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b"x" + b, lambda b: b"", bytes.upper]
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Any) -> None:
    said = statement(LINES).model_dump_json().encode()
    file = written(tmp_path / "log", [beginning(), *LINES, said])
    file.write_bytes(damage(file.read_bytes()))

    with pytest.raises(Malformed):
        verify_file(file, Walk())


def test_a_line_that_was_altered_in_a_file_is_a_fault_of_its_seal(tmp_path: Path) -> None:
    said = statement(LINES).model_dump_json().encode()
    walk = Walk()

    verify_file(written(tmp_path / "log", [beginning(), LINES[0], b'{"id":2}', said]), walk)

    assert walk.faults == ["An entry of seal 1, or the seal, is not what was sealed."]


@pytest.mark.parametrize(
    "changes", [{"signature": "0" * 127}, {"head": "F" * 64}, {"seal": 0}, {"x": 1}]
)
def test_a_statement_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HEAD.validate_python({**statement(LINES).model_dump(), **changes})
