"""Archives what is old of the audit log below AUDIT_ARCHIVE_DIR.

The order is: export, read back and verify, on the disk for good, and only then remove. A worker
that dies in between leaves a verified file behind, from which the next attempt goes on.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.exc import ProgrammingError

from backend.audit import archive as archives
from backend.audit import sealing
from backend.audit.model import AuditSeal
from backend.audit.segments import Written
from backend.audit.signing import Signer, signer
from backend.db import Sessions
from backend.problems import Malformed, NotFound, Problem
from backend.queue.reporting import report
from backend.queue.retry import Permanent, Transient
from backend.settings import Settings, SettingsError
from backend.storage.durable import make_directory

_FORBIDDEN: Final = "42501"


@dataclass(frozen=True, slots=True)
class Prefix:
    """What may be archived: seals ``first`` to ``last``, with so many entries."""

    first: int
    last: AuditSeal
    entries: int

    @property
    def filename(self) -> str:
        return f"audit-{self.first}-{self.last.id}.jsonl.gz"


@dataclass(frozen=True, slots=True)
class Archived:
    """What is in a file of ``size`` bytes now, and no longer in the log."""

    size: int
    file_sha256: str
    signed: bool


def prefix(sessions: Sessions, keep: timedelta) -> Prefix | None:
    """Everything up to the last seal that is older than ``keep``; None where there is none."""
    with sessions.begin() as session:
        try:
            last = archives.archivable(session, keep)
        except NotFound:
            return None
        before = sealing.newest_checkpoint(session)
        first = session.scalars(select(AuditSeal.id).order_by(AuditSeal.id).limit(1)).one()
    return Prefix(first, last, last.total - (before.total if before else 0))


def folder(settings: Settings) -> Path:
    """Where archives lie.

    Raises:
        Permanent: AUDIT_ARCHIVE_DIR is not set.
        Transient: there is no such folder on this worker's machine.
    """
    if settings.audit_archive_dir is None:
        raise Permanent("AUDIT_ARCHIVE_DIR is not set: an operator names the folder first")
    if not settings.audit_archive_dir.is_dir():  # it is mounted, perhaps, or will be
        raise Transient("AUDIT_ARCHIVE_DIR names no folder on this worker's machine")
    return settings.audit_archive_dir


def key(settings: Settings) -> Signer | None:
    """What checkpoints are signed with.

    Raises:
        Permanent: AUDIT_SIGNING_KEY_FILE is wrong.
    """
    try:
        return signer(settings.audit_signing_key_file)
    except SettingsError as error:
        raise Permanent(str(error)) from None


def archive(sessions: Sessions, old: Prefix, file: Path, signing_key: Signer | None) -> Archived:
    """Move ``old`` into a new file.

    Raises:
        Permanent: the chain has faults, a file of this name is another one, or this role may not
            archive. Nothing was removed.
        Transient: the file could not be written. Nothing was removed.
        LeaseLost: the task was cancelled before anything was removed.
    """
    with _faults():
        make_directory(file.parent)
        written = _exported(sessions, old, file)
        report(70, f"{file.name} is verified; removing its entries from the log")
        done = archives.remove(sessions, file, written, signer=signing_key)
    signed = done.checkpoint.signature is not None
    return Archived(file.stat().st_size, done.checkpoint.file_sha256, signed)


def _exported(sessions: Sessions, old: Prefix, file: Path) -> Written:
    """Also by an attempt that did not come to the removal."""
    if not file.exists():
        report(10, f"writing {old.entries} entries")
        return archives.export(sessions, file, first=old.first, last=old.last.id)
    report(10, f"verifying {file.name}, which is there already")
    written = archives.written_before(file)
    if (written.last, written.head) != (old.last.id, old.last.head):
        raise Malformed(f"{file.name} is there already, and holds something else.")
    return written


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except Problem as error:
        raise Permanent(error.detail) from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "it failed"
        raise Transient(f"the archive cannot be written: {reason}") from None
    except ProgrammingError as error:
        if getattr(error.orig, "pgcode", None) != _FORBIDDEN:
            raise
        raise Permanent("this worker's role may not call audit_archive: grant it EXECUTE") from None
