"""Whoever alters the log is found out: by the chain, by its signatures, by witnesses elsewhere."""

from datetime import timedelta
from pathlib import Path

import pytest

from backend.audit import signing
from backend.audit.archive import archive, export
from backend.audit.model import AuditSeal
from backend.audit.signing import Signer
from backend.audit.statements import SealStatement
from backend.audit.verification import verify_file
from backend.audit.walking import Walk
from backend.db import Sessions
from backend.problems import Conflict, NotFound
from tests.integration.audit.conftest import Check, Note, Seal, Tamper

NOW = timedelta(0)


@pytest.fixture
def seals(note: Note, seal: Seal) -> list[AuditSeal]:
    """Three, of two entries each; their details are what JSON finds hard."""
    made = []
    for n in range(3):
        note(f"a:{n}", f"b:{n}", text='é "\\ \u2028 \U0001f600', number=1.10, deep={"b": [1, None]})
        sealed = seal()
        assert sealed is not None
        made.append(sealed)
    return made


def test_an_honest_log_has_no_fault(seals: list[AuditSeal], note: Note, check: Check) -> None:
    note("c:1")

    walk, left = check(*map(SealStatement.of, seals))

    assert (walk.faults, walk.witnesses) == ([], {})
    assert (walk.entries, walk.seals, walk.total, walk.seal) == (6, 3, 6, 3)
    assert (walk.signed, walk.attested, walk.head) == (3, 3, seals[-1].head)
    assert left.entries == 1
    assert left.oldest is not None


@pytest.mark.parametrize(
    ("deed", "found"),
    [
        ("UPDATE audit_log SET detail = '{}' WHERE id = 3", "An entry of seal 2"),
        ("UPDATE audit_log SET at = at + interval '1 us' WHERE id = 4", "An entry of seal 2"),
        ("UPDATE audit_log SET actor = 'else' WHERE id = 1", "An entry of seal 1"),
        ("UPDATE audit_log SET action = 'x.y' WHERE id = 5", "An entry of seal 3"),
        ("UPDATE audit_log SET subject = 'x' WHERE id = 6", "An entry of seal 3"),
        ("UPDATE audit_log SET xid = 0 WHERE id = 1", "An entry of seal 1"),
        ("DELETE FROM audit_log WHERE id = 3", "Seal 2 is of 2 entries, and 1 are there."),
        ("DELETE FROM audit_log", "Seal 1 is of 2 entries, and 0 are there."),
        ("DELETE FROM audit_seals WHERE id = 2", "Seal 3 stands after seal 1: seals are missing."),
        ("DELETE FROM audit_seals WHERE id = 1", "Seal 2 stands after seal 0: seals are missing."),
        ("UPDATE audit_seals SET entries = '{4,3}' WHERE id = 2", "An entry of seal 2"),
        ("UPDATE audit_seals SET head = previous WHERE id = 2", "An entry of seal 2"),
        ("UPDATE audit_seals SET previous = sha256('x') WHERE id = 2", "does not follow seal 1"),
        ("UPDATE audit_seals SET total = 9 WHERE id = 3", "Seal 3 states a total of 9"),
        ("UPDATE audit_seals SET sealed_at = now() WHERE id = 2", "Seal 2 has a signature that"),
        (
            "UPDATE audit_seals SET public_key = NULL, signature = NULL WHERE id = 3",
            "No key that was given has signed a seal after 2",
        ),
    ],
)
def test_what_was_altered_is_named(
    seals: list[AuditSeal], tamper: Tamper, check: Check, deed: str, found: str
) -> None:
    tamper(deed)

    walk, _ = check()

    assert found in walk.faults[0] or found in " ".join(walk.faults)


def test_only_what_was_altered_is_named(
    seals: list[AuditSeal], tamper: Tamper, check: Check
) -> None:
    tamper("UPDATE audit_log SET subject = 'x' WHERE id = 3")

    assert len(check()[0].faults) == 1


def test_a_name_that_changes_alters_no_entry(
    seals: list[AuditSeal], tamper: Tamper, check: Check
) -> None:
    tamper("UPDATE audit_actors SET name = 'erased-1'")

    assert check()[0].faults == []


def test_an_end_that_was_cut_off_is_known_to_a_witness_alone(
    seals: list[AuditSeal], tamper: Tamper, check: Check
) -> None:
    tamper("DELETE FROM audit_log WHERE id > 4; DELETE FROM audit_seals WHERE id = 3")

    unwitnessed, _ = check()
    witnessed, _ = check(SealStatement.of(seals[2]))

    assert unwitnessed.faults == []
    assert witnessed.faults == ["Seal 3, which was witnessed, is gone: the end is cut off."]


def test_a_chain_that_was_made_anew_lacks_the_key_and_the_witness(
    seals: list[AuditSeal], note: Note, seal: Seal, tamper: Tamper, check: Check
) -> None:
    tamper("DELETE FROM audit_seals; UPDATE audit_log SET subject = 'forged' WHERE id = 1")
    seal(signed=False)

    consistent, _ = check(trusted=False)
    witnessed, _ = check(SealStatement.of(seals[0]), trusted=False)
    trusting, _ = check()

    assert consistent.faults == []
    assert witnessed.faults == ["Seal 1 was another one when it was witnessed."]
    assert len(trusting.faults) == 1
    assert "nothing vouches for what was sealed from there to 1" in trusting.faults[0]


def test_a_signature_vouches_for_what_was_sealed_unsigned_before_it(
    note: Note, seal: Seal, check: Check
) -> None:
    note("a:1")
    seal(signed=False)
    note("a:2")
    seal()

    walk, _ = check()

    assert (walk.faults, walk.attested) == ([], 2)


def test_an_export_is_verified_without_the_database(
    sessions: Sessions, signer: Signer, seals: list[AuditSeal], tmp_path: Path
) -> None:
    written = export(sessions, tmp_path / "log.gz", first=2, last=3)

    walk = Walk(trusted=[signer.public_key], witnesses={2: SealStatement.of(seals[1])})
    verify_file(tmp_path / "log.gz", walk)

    assert (written.first, written.last, written.entries) == (2, 3, 4)
    assert (walk.faults, walk.entries, walk.total, walk.attested) == ([], 4, 6, 3)
    assert walk.witnesses == {}
    assert (tmp_path / "log.gz").stat().st_mode & 0o777 == 0o400
    assert [file.name for file in tmp_path.iterdir()] == ["log.gz"]


def test_an_export_replaces_no_file(
    sessions: Sessions, seals: list[AuditSeal], tmp_path: Path
) -> None:
    (tmp_path / "log.gz").write_text("mine")

    with pytest.raises(FileExistsError):
        export(sessions, tmp_path / "log.gz", first=None, last=None)

    assert (tmp_path / "log.gz").read_text() == "mine"


@pytest.mark.parametrize(("first", "last"), [(4, None), (1, 9), (9, 9)])
def test_seals_that_are_not_there_are_not_exported(
    sessions: Sessions, seals: list[AuditSeal], tmp_path: Path, first: int, last: int | None
) -> None:
    with pytest.raises(NotFound):
        export(sessions, tmp_path / "log.gz", first=first, last=last)

    assert list(tmp_path.iterdir()) == []


def test_what_was_archived_lies_in_the_file_and_the_chain_goes_on(
    sessions: Sessions, signer: Signer, seals: list[AuditSeal], note: Note, seal: Seal,
    check: Check, tmp_path: Path,
) -> None:  # fmt: skip
    note("c:1")
    done = archive(sessions, tmp_path / "log.gz", keep=NOW, signer=signer)
    unsealed, left = check(SealStatement.of(seals[2]))
    following = seal()
    walk, _ = check(SealStatement.of(seals[0]))
    archived = Walk(trusted=[signer.public_key])
    verify_file(tmp_path / "log.gz", archived)

    assert (done.written.first, done.written.last, done.written.entries) == (1, 3, 6)
    assert signing.verifies(done.checkpoint)
    assert (unsealed.faults, unsealed.seals, unsealed.seal, left.entries) == ([], 0, 3, 2)
    assert following is not None
    assert (following.id, following.entries, following.total) == (4, [7, 8], 8)
    assert (walk.faults, walk.seals, walk.total, list(walk.witnesses)) == ([], 1, 8, [1])
    assert (archived.faults, archived.entries) == ([], 6)


def test_archives_follow_one_another(
    sessions: Sessions, signer: Signer, seals: list[AuditSeal], seal: Seal, check: Check,
    tmp_path: Path,
) -> None:  # fmt: skip
    archive(sessions, tmp_path / "one.gz", keep=NOW, signer=signer)
    seal()
    second = archive(sessions, tmp_path / "two.gz", keep=NOW, signer=signer)

    both = Walk(trusted=[signer.public_key])
    verify_file(tmp_path / "one.gz", both)
    end = both.head, both.seal
    verify_file(tmp_path / "two.gz", both)

    assert (second.written.first, second.written.last) == (4, 4)
    assert end == (seals[2].head, 3)
    assert (both.faults, both.seal, check()[0].faults) == ([], 4, [])


def test_a_forged_checkpoint_is_named(
    sessions: Sessions, signer: Signer, seals: list[AuditSeal], tamper: Tamper, check: Check,
    tmp_path: Path,
) -> None:  # fmt: skip
    archive(sessions, tmp_path / "log.gz", keep=NOW, signer=signer)
    tamper("UPDATE audit_checkpoints SET file_sha256 = sha256('other')")

    assert "The checkpoint of seal 3 has a signature that" in check()[0].faults[0]


def test_a_chain_that_does_not_fit_is_not_archived(
    sessions: Sessions, signer: Signer, seals: list[AuditSeal], tamper: Tamper, check: Check,
    tmp_path: Path,
) -> None:  # fmt: skip
    tamper("UPDATE audit_log SET subject = 'x' WHERE id = 1")

    with pytest.raises(Conflict, match="An entry of seal 1"):
        archive(sessions, tmp_path / "log.gz", keep=NOW, signer=signer)

    assert check()[0].entries == 6
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_old_enough_stays(
    sessions: Sessions, signer: Signer, seals: list[AuditSeal], tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match="older than 7 days"):
        archive(sessions, tmp_path / "log.gz", keep=timedelta(days=7), signer=signer)
