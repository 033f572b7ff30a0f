"""Moves a sealed prefix of the log into a file; a signed checkpoint stays in its place."""

import os
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from hashlib import file_digest
from pathlib import Path
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from backend.audit import segments
from backend.audit.model import AuditCheckpoint, AuditSeal
from backend.audit.segments import Written
from backend.audit.signing import Signer
from backend.audit.statements import CheckpointStatement
from backend.audit.verification import ONE_MOMENT, verify_file
from backend.audit.walking import Walk
from backend.db import Sessions
from backend.identity import audit
from backend.problems import Conflict, NotFound
from backend.storage.durable import sync_directory

_REMOVE: Final = text(
    "SELECT audit_archive(:seal, :head, :total, :made_at, :file_sha256, :public_key, :signature)"
)


@dataclass(frozen=True, slots=True)
class Archived:
    """What lies in a file now, and no longer in the log."""

    written: Written
    checkpoint: CheckpointStatement


def archivable(session: Session, keep: timedelta) -> AuditSeal:
    """The last seal that is older than ``keep``: it and all before it may be archived.

    Raises:
        NotFound: there is none.
    """
    old = select(AuditSeal).where(AuditSeal.sealed_at < func.now() - keep)
    last = session.scalar(old.order_by(AuditSeal.id.desc()).limit(1))
    if last is None:
        raise NotFound(f"No seal is older than {keep.days} days: there is nothing to archive.")
    return last


def export(sessions: Sessions, file: Path, *, first: int | None, last: int | None) -> Written:
    """Write seals and their entries into a new file, read it back, and remove nothing.

    Raises:
        NotFound: there are no such seals.
        Conflict: the chain is not what was sealed; ``extra`` has the faults.
        OSError: the file is there already, or cannot be written.
    """
    # The file may be read by none but its owner, is whole or not there, and replaces nothing. The
    # unfinished one is ours alone: who exports the same at this moment writes to another.
    descriptor, name = tempfile.mkstemp(".unfinished", f".{file.name}.", file.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out, sessions.begin() as session:
            session.execute(ONE_MOMENT)
            written = segments.write(session, out, first=first, last=last)
            out.flush()
            os.fsync(out.fileno())
        _read_back(unfinished, written)
        unfinished.chmod(0o400)
        os.link(unfinished, file)
        sync_directory(file.parent)
    finally:
        unfinished.unlink(missing_ok=True)
    return written


def archive(sessions: Sessions, file: Path, *, keep: timedelta, signer: Signer | None) -> Archived:
    """Export what is older than ``keep`` into ``file``, then remove it from the log.

    Raises:
        NotFound: nothing is that old.
        Conflict: the chain is not what was sealed; nothing is removed then.
        OSError: the file is there already, or cannot be written.
    """
    with sessions.begin() as session:
        last = archivable(session, keep)
    written = export(sessions, file, first=None, last=last.id)
    return remove(sessions, file, written, signer=signer)


def remove(sessions: Sessions, file: Path, written: Written, *, signer: Signer | None) -> Archived:
    """Remove from the log what was exported into ``file``; a checkpoint stays in its place.

    Raises:
        Conflict: the log does not hold just that any more; nothing is removed then.
    """
    with file.open("rb") as stream:
        sha256 = file_digest(stream, "sha256").digest()
    with sessions.begin() as session:
        return Archived(written, _remove(session, written, sha256, signer))


def written_before(file: Path) -> Written:
    """What an export holds that was made, and verified, some time ago.

    Raises:
        Malformed: it is no export, or is damaged.
        Conflict: its chain has faults; ``extra`` has them.
    """
    walk = Walk()
    verify_file(file, walk)
    if walk.faults:
        raise Conflict(
            f"{file.name} is not what was sealed: {walk.faults[0]}",
            code="audit-broken",
            faults=walk.faults,
        )
    return Written(walk.seal - walk.seals + 1, walk.seal, walk.entries, walk.head, walk.total)


def _read_back(file: Path, written: Written) -> None:
    walk = Walk()
    verify_file(file, walk)
    if walk.faults or (walk.seal, walk.head) != (written.last, written.head):
        raise Conflict(
            f"The chain is not what was sealed: {walk.faults[0] if walk.faults else 'it changed'}"
            " Look at it with `lockkeeper audit verify`.",
            code="audit-broken",
            faults=walk.faults,
        )


def _remove(
    session: Session, written: Written, sha256: bytes, signer: Signer | None
) -> CheckpointStatement:
    checkpoint = AuditCheckpoint(
        seal=written.last,
        head=written.head,
        total=written.total,
        made_at=session.scalars(select(func.clock_timestamp())).one(),
        file_sha256=sha256,
    )
    if signer is not None:
        checkpoint.public_key = signer.public_key
        checkpoint.signature = signer.sign(CheckpointStatement.of(checkpoint))
    columns = ("seal", "head", "total", "made_at", "file_sha256", "public_key", "signature")
    removed = session.scalar(_REMOVE, {name: getattr(checkpoint, name) for name in columns})
    if removed != written.entries:
        raise Conflict(
            f"{removed} entries would be removed, and {written.entries} are in the file.",
            code="audit-broken",
        )
    audit.record(
        session, "audit archive", "audit.archived", f"seal:{written.last}",
        entries=removed, file_sha256=sha256.hex(),
    )  # fmt: skip
    return CheckpointStatement.of(checkpoint)
