"""``lockkeeper audit``: what it says, and its exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.audit import signing
from backend.cli import main
from tests.integration.audit.conftest import Note, Tamper

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "key.pem"
    file.write_text(signing.new_key())
    return file


@pytest.fixture
def run(
    database_url: str, key: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:  # fmt: skip
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("AUDIT_SIGNING_KEY_FILE", str(key))

    def once(*arguments: str | Path) -> tuple[int, str, str]:
        code = main(["audit", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return once


def document(said: tuple[int, str, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said[1])
    return found


def test_a_checkpoint_is_kept_and_compared_with_later(
    run: Run, note: Note, tamper: Tamper, tmp_path: Path
) -> None:
    note("a:1", "a:2")
    kept = tmp_path / "kept.json"

    made = run("checkpoint", "-o", kept)
    again = document(run("checkpoint"))
    fine = run("verify", "--against", kept)
    tamper("DELETE FROM audit_log; DELETE FROM audit_seals")
    cut = run("verify", "--against", kept, "--json")

    assert made == (0, "", "")
    assert (again["seal"], again["total"]) == (1, 2)
    assert again == json.loads(kept.read_text())
    assert fine[0] == 0
    assert "2 entries in 1 seal." in fine[1]
    assert "vouches up to seal 1" in fine[1]
    assert fine[1].endswith("All fits.\n")
    assert cut[0] == 1
    assert document(cut)["faults"] == ["Seal 1, which was witnessed, is gone: the end is cut off."]


def test_what_is_archived_is_verified_in_its_file(
    run: Run, note: Note, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note("a:1")
    run("checkpoint")
    file, copy = tmp_path / "log.gz", tmp_path / "copy.gz"

    planned = run("archive", "--keep-days", "0", "-o", file, "--dry-run")
    exported = run("export", "-o", copy)
    archived = run("archive", "--keep-days", "0", "-o", file)
    left = document(run("verify", "--json"))
    monkeypatch.delenv("DATABASE_URL")
    offline = run("verify", "--file", file)

    assert (planned[0], planned[1].startswith("would archive everything up to seal 1 ")) == (
        0,
        True,
    )
    assert exported[:2] == (0, "wrote seals 1 to 1 with 1 entry\n")
    assert archived[0] == 0
    assert "archived seals 1 to 1 with 1 entry; SHA-256 of the file: " in archived[1]
    assert file.read_bytes() == copy.read_bytes()
    assert (left["ok"], left["entries"], left["begins_after"], left["unsealed"]) == (True, 0, 1, 1)
    assert offline[0] == 0
    assert "1 entry in 1 seal." in offline[1]


def test_a_log_that_was_altered_is_exit_code_one(run: Run, note: Note, tamper: Tamper) -> None:
    note("a:1")
    run("checkpoint")
    tamper("UPDATE audit_log SET subject = 'x'")

    code, said, _ = run("verify")

    assert code == 1
    assert "WRONG: An entry of seal 1" in said
    assert "All fits" not in said


def test_what_cannot_be_done_is_one_line_and_an_exit_code(
    run: Run, note: Note, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = tmp_path / "nothing"
    (junk := tmp_path / "junk").write_text("{}")
    wrong: list[tuple[list[str | Path], int, str]] = [
        (["checkpoint"], 1, "the audit log is empty"),
        (["export", "-o", nothing], 1, "There are no such seals"),
        (["archive", "--keep-days", "3", "-o", nothing], 1, "older than 3 days"),
        (["verify", "--file", nothing], 1, "No such file"),
        (["verify", "--file", junk], 1, "no archive of the audit log"),
        (["verify", "--against", junk], 1, "nothing that `audit checkpoint` printed"),
        (["verify", "--key", junk], 1, "holds no Ed25519 key"),
        (["archive", "-o", nothing], 2, "--keep-days"),
    ]
    for arguments, expected, said in wrong:
        code, out, err = run(*arguments)
        assert (code, out) == (expected, ""), arguments
        assert said in err
        assert err.count("\n") == 1
    assert not nothing.exists()

    note("a:1")
    run("checkpoint", "-o", tmp_path / "kept")
    assert run("checkpoint", "-o", tmp_path / "kept")[0] == 1  # replaces nothing
    key.write_text("no key")
    code, _, err = run("verify")
    assert code == 2
    assert "AUDIT_SIGNING_KEY_FILE" in err
