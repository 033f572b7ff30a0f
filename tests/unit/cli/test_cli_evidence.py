"""``evidence verify`` and the words it has for what it finds."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from backend import cli
from backend.audit.signing import Signer, fingerprint
from backend.workloads.packages.evidence.bundle import bundle
from tests.benchmark.upload_lock import lock
from tests.evidence_example import example

KEY = Ed25519PrivateKey.generate()
PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed")
    evidence = example(lock(3, tag="cli"))
    (folder / "signed.zip").write_bytes(bundle(evidence, Signer.of(PRIVATE)).content)
    (folder / "unsigned.zip").write_bytes(bundle(evidence, None).content)
    (folder / "public.pem").write_bytes(PUBLIC)
    other = Ed25519PrivateKey.generate().public_key()
    (folder / "other.pem").write_bytes(
        other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (folder / "no.pem").write_text("nonsense")
    return folder


def test_a_bundle_that_is_whole_says_whose_key_signed_it(
    signed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evidence", "verify", str(signed / "signed.zip")]) == 0

    said = capsys.readouterr().out
    assert said.startswith("whole: evidence of request 7 (shop-cli 3.1.4), 3 packages")
    assert f"key {fingerprint(KEY.public_key().public_bytes_raw())}; is it yours?" in said


def test_with_the_trusted_key_there_is_no_question_left(
    signed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--key", str(signed / "public.pem")]
    assert cli.main(["evidence", "verify", str(signed / "signed.zip"), *arguments]) == 0

    assert "signed with the given key\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "key", "code", "said"),
    [
        ("signed.zip", "other.pem", 1, "is signed with another key"),
        ("unsigned.zip", "public.pem", 1, "is not signed"),
        ("signed.zip", "no.pem", 2, "holds no Ed25519 key"),
        ("signed.zip", "missing.pem", 2, "cannot read"),
        ("missing.zip", "public.pem", 2, "cannot read"),
        ("public.pem", "public.pem", 1, "This is no evidence bundle"),
    ],
)
def test_what_is_against_it_is_one_line_and_an_exit_code(
    signed: Path, capsys: pytest.CaptureFixture[str], file: str, key: str, code: int, said: str
) -> None:
    arguments = [str(signed / file), "--key", str(signed / key)]
    assert cli.main(["evidence", "verify", *arguments]) == code

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def test_a_program_gets_all_of_it_as_json(signed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evidence", "verify", str(signed / "unsigned.zip"), "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert (found["request"], found["packages"], found["key"], found["seal"]) == (7, 3, None, None)
