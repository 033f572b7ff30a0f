"""Takes an archive in: encrypted into the store while it arrives, then a run that is to be parsed.

The run is committed, as ``pending``, with the name and the wrapped key of its bytes before the
first of them is stored: whatever dies on the way, :mod:`backend.workloads.splunk.housekeeping`
finds both and ends them.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple, Protocol
from uuid import uuid4

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backend.autocommit import Autocommit, Statement
from backend.db import Sessions
from backend.identity import audit
from backend.identity.model import User
from backend.identity.roles import Principal
from backend.problems import Problem, TooLarge, Unavailable
from backend.settings import Settings
from backend.storage.blobs import Blobs, StorageError
from backend.storage.configured import blobs_of
from backend.storage.encryption import MasterKey, encrypted, new_key
from backend.workloads.splunk.keys import folder_of, master_key
from backend.workloads.splunk.lifecycle import SPLUNK_QUEUE
from backend.workloads.splunk.model import IngestionRun
from backend.workloads.splunk.places import UploadType
from backend.workloads.splunk.upload_form import UploadDied, read_form

AT_MOST: Final = timedelta(minutes=15)
"""How long an upload may take; one that is still ``pending`` then has died."""

FILENAME: Final = 255
"""Characters of a file's name that are kept."""

_BEGIN: Final = Statement("""
INSERT INTO ingestion_runs (status, uploaded_by, fairness_key, filename, blob_key, data_key)
VALUES ('pending', %(by)s::bigint, %(by)s::bigint::text, %(filename)s, %(blob_key)s, %(data_key)s)
RETURNING id
""")
_DISCARD: Final = Statement("""
DELETE FROM ingestion_runs WHERE id = %(id)s AND status = 'pending' RETURNING id
""")


class Told(Protocol):
    """What the form says of its file."""

    @property
    def type(self) -> UploadType: ...
    @property
    def label(self) -> str | None: ...
    @property
    def notes(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Store:
    """Where archives go. ``limit`` is in bytes of one archive."""

    blobs: Blobs
    key: MasterKey
    limit: int

    @classmethod
    def of(cls, settings: Settings) -> "Store":
        """Raises Unavailable, ``splunk-key-missing``."""
        return cls(blobs_of(settings), master_key(settings), settings.splunk_max_upload_bytes)


class Stored(NamedTuple):
    """``sha256`` (hex) and ``size_bytes`` are those of the plain bytes."""

    run_id: int
    sha256: str
    size_bytes: int


def receive(
    statements: Autocommit,
    sessions: Sessions,
    store: Store,
    read: Callable[[int], bytes],
    boundary: str,
    *,
    told: Callable[[Mapping[str, str]], Told],
    by: Principal,
) -> IngestionRun:
    """Read a form and store its file; answers the run, which is ``stored``. Commits.

    Args:
        read: of the request's body.
        boundary: of the form's parts.
        told: checks the fields; raises what a caller is to read.
        by: the uploader.

    Raises:
        UploadDied: the body ended too early, or too late. The run stays ``pending``.
        Problem: anything else that is wrong. There is no run then.
    """
    upload = _Upload(statements, store, told, by)
    try:
        form = read_form(
            read, boundary,
            take=upload.take, file_bytes=store.limit, seconds=AT_MOST.total_seconds(),
        )  # fmt: skip
        says = told(form.fields)
        with sessions.begin() as session:
            return _accept(session, form.taken, says, by)
    except UploadDied:
        raise
    except Problem:
        upload.discard()
        raise


class _Upload:
    """One archive on its way into the store."""

    def __init__(
        self,
        statements: Autocommit,
        store: Store,
        told: Callable[[Mapping[str, str]], Told],
        by: Principal,
    ) -> None:
        self._statements, self._store, self._told, self._by = statements, store, told, by
        self._key = f"{folder_of(store.key)}/{uuid4().hex}"
        self._run_id: int | None = None

    def take(self, filename: str, fields: Mapping[str, str], pieces: Iterable[bytes]) -> Stored:
        if "type" in fields:
            self._told(fields)  # rather before half a gigabyte than after
        data_key = new_key()
        self._run_id = run_id = self._begin(filename, data_key)
        plain = _Measured(pieces, self._store.limit)
        try:
            self._store.blobs.put(self._key, encrypted(plain, data_key))
        except StorageError as error:
            raise Unavailable(
                f"The archive cannot be stored now: {error}.", code="storage-unavailable"
            ) from error
        return Stored(run_id, plain.sha256, plain.size)

    def _begin(self, filename: str, data_key: bytes) -> int:
        given = {
            "by": self._by.id,
            "filename": filename[:FILENAME],
            "blob_key": self._key,
            "data_key": self._store.key.wrap(data_key, self._key),
        }
        return int(self._statements.rows(_BEGIN, given)[0].id)

    def discard(self) -> None:
        """Forget the run and its bytes; the bytes first, for only the run tells where they are."""
        if self._run_id is None:
            return
        with suppress(StorageError):  # then it stays pending, and ends as one that died
            self._store.blobs.delete(self._key)
            self._statements.rows(_DISCARD, {"id": self._run_id})


class _Measured:
    """Counts and hashes what passes.

    Raises:
        TooLarge: from the piece that is too much.
    """

    def __init__(self, pieces: Iterable[bytes], limit: int) -> None:
        self._pieces, self._limit = pieces, limit
        self._digest = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.size += len(piece)
            if self.size > self._limit:
                raise TooLarge(f"The archive is larger than the {self._limit} bytes allowed here.")
            self._digest.update(piece)
            yield piece

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _accept(session: Session, stored: Stored, says: Told, by: Principal) -> IngestionRun:
    """Make the run work for the workers.

    Raises:
        UploadDied: it was given up meanwhile.
    """
    # Of two uploads of the same bytes at one moment, the second finds the first.
    session.execute(select(User.id).where(User.id == by.id).with_for_update(key_share=True))
    same = (IngestionRun.uploaded_by == by.id, IngestionRun.sha256 == stored.sha256)
    known = func.coalesce(IngestionRun.duplicate_of, IngestionRun.id)
    first = session.scalar(select(known).where(*same).order_by(IngestionRun.id).limit(1))
    run: IngestionRun | None = session.scalar(
        update(IngestionRun)
        .where(IngestionRun.id == stored.run_id, IngestionRun.status == "pending")
        .values(
            status=SPLUNK_QUEUE.ready,
            type=says.type, label=says.label or None, notes=says.notes or None,
            sha256=stored.sha256, size_bytes=stored.size_bytes, duplicate_of=first,
            stored_at=func.now(), available_at=func.now(), updated_at=func.now(),
        )
        .returning(IngestionRun)
    )  # fmt: skip
    if run is None:
        raise UploadDied("The upload took too long.")
    audit.record(
        session, by, "run.uploaded", f"run:{run.id}",
        type=says.type, sha256=stored.sha256, size_bytes=stored.size_bytes,
    )  # fmt: skip
    return run
