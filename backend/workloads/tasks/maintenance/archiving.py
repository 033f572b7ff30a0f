"""Archives what is old of the audit log below AUDIT_ARCHIVE_DIR.

The order is: export, read back and verify, on the disk for good, and only then remove. A worker
that dies in between leaves a verified file behind, from which the next attempt goes on: also where
more seals are old enough by then.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy.exc import ProgrammingError

from backend.audit import archive as archives
from backend.audit import sealing
from backend.audit.model import AuditSeal
from backend.audit.segments import Written
from backend.audit.signing import Signer, signer
from backend.audit.statements import CheckpointStatement
from backend.audit.verification import ONE_MOMENT
from backend.db import Sessions
from backend.problems import Malformed, NotFound, Problem
from backend.queue.reporting import report
from backend.queue.retry import Permanent, Transient
from backend.settings import Settings, SettingsError
from backend.storage.durable import make_directory

_FORBIDDEN: Final = "42501"
_NAME: Final = re.compile(r"audit-([1-9]\d{0,17})-([1-9]\d{0,17})\.jsonl\.gz", re.ASCII)


@dataclass(frozen=True, slots=True)
class Prefix:
    """What may be archived: seals ``first`` to ``last``, with so many entries."""

    first: int
    last: AuditSeal
    entries: int


def filename(first: int, last: int) -> str:
    return f"audit-{first}-{last}.jsonl.gz"


@dataclass(frozen=True, slots=True)
class Archived:
    """What is in ``file``, of so many bytes, and no longer in the log."""

    file: Path
    size: int
    written: Written
    checkpoint: CheckpointStatement


def prefix(sessions: Sessions, keep: timedelta) -> Prefix | None:
    """Everything up to the last seal that is older than ``keep``; None where there is none."""
    with sessions.begin() as session:
        session.execute(ONE_MOMENT)
        try:
            last = archives.archivable(session, keep)
        except NotFound:
            return None
        before = sealing.newest_checkpoint(session)
    first, total = (before.seal + 1, before.total) if before else (1, 0)
    return Prefix(first, last, last.total - total)


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


def archive(sessions: Sessions, old: Prefix, folder: Path, signing_key: Signer | None) -> Archived:
    """Move ``old`` into a file; or the beginning of it, which is in one already.

    Raises:
        Permanent: the chain has faults, a file of this name is another one, or this role may not
            archive. Nothing was removed.
        Transient: the file could not be written. Nothing was removed.
        LeaseLost: the task was cancelled before anything was removed.
    """
    with _faults():
        make_directory(folder)
        file, written = _left(sessions, old, folder) or _exported(sessions, old, folder)
        report(70, f"{file.name} is verified; removing its entries from the log")
        done = archives.remove(sessions, file, written, signer=signing_key)
        return Archived(file, file.stat().st_size, written, done.checkpoint)


def _left(sessions: Sessions, old: Prefix, folder: Path) -> tuple[Path, Written] | None:
    """What an attempt exported that did not come to the removal; None where there is nothing."""
    found = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    ends = [int(m[2]) for m in found if m and int(m[1]) == old.first and int(m[2]) <= old.last.id]
    if not ends:
        return None
    file = folder / filename(old.first, max(ends))
    report(10, f"verifying {file.name}, which is there already")
    if (written := _held(sessions, old, file)) is not None:
        return file, written
    if max(ends) == old.last.id:
        raise Malformed(f"{file.name} is there already, and holds something else.")
    return None  # another database's, perhaps


def _held(sessions: Sessions, old: Prefix, file: Path) -> Written | None:
    """What is in a file; None where it is not the beginning of ``old``."""
    try:
        written = archives.written_before(file)
    except Problem:
        return None
    with sessions.begin() as session:
        last = session.get(AuditSeal, written.last)
    same = last is not None and (written.first, written.head) == (old.first, last.head)
    return written if same else None


def _exported(sessions: Sessions, old: Prefix, folder: Path) -> tuple[Path, Written]:
    report(10, f"writing {old.entries} entries")
    file = folder / filename(old.first, old.last.id)
    return file, archives.export(sessions, file, first=old.first, last=old.last.id)


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
