"""What the parse step is given: one run as it stands, and the keys that its child needs."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from backend.autocommit import Autocommit, Statement
from backend.queue.retry import Permanent, Transient
from backend.storage.blobs import BlobMissing, Blobs, StorageUnavailable
from backend.storage.encryption import MasterKey, Undecipherable
from backend.workloads.splunk.keys import MASKING
from backend.workloads.splunk.steps.parse import ARCHIVE

GONE: Final = "its archive is not stored any more: upload it again"

READ: Final = Statement("""
SELECT filename, type, blob_key, data_key FROM ingestion_runs WHERE id = %(row_id)s
""")


class RunSnapshot(BaseModel):
    """One run. The keys, in hex, are for the child alone: they are in no log and in no ``repr``."""

    model_config = ConfigDict(frozen=True)

    filename: str
    type: str
    blob_key: str = Field(exclude=True)
    data_key: str = Field(repr=False)
    masking_key: str = Field(repr=False)


def reader(key: MasterKey) -> Callable[[Autocommit, int], RunSnapshot | None]:
    """Reads a run, and unwraps the key of its archive.

    Raises (when called):
        Permanent: nothing of it is stored.
        Transient: this worker's SPLUNK_KEY is not the one that it was stored with.
    """
    masking_key = key.derived(MASKING).hex()

    def read(statements: Autocommit, row_id: int) -> RunSnapshot | None:
        rows = statements.rows(READ, {"row_id": row_id})
        if not rows:
            return None
        run = rows[0]
        if run.blob_key is None or run.type is None:
            raise Permanent(GONE)
        try:
            data_key = key.unwrap(bytes(run.data_key), run.blob_key)
        except Undecipherable:
            raise Transient("it was stored under another SPLUNK_KEY than this worker's") from None
        return RunSnapshot(
            filename=run.filename,
            type=run.type,
            blob_key=run.blob_key,
            data_key=data_key.hex(),
            masking_key=masking_key,
        )

    return read


def bringer(blobs: Blobs) -> Callable[[RunSnapshot, Path], None]:
    """Copies the archive into the child's folder as it is stored: encrypted.

    Raises (when called):
        Permanent: it is not stored any more.
        Transient: the store does not answer, or this worker's disk is full.
    """

    def bring(run: RunSnapshot, folder: Path) -> None:
        try:
            blobs.copy(run.blob_key, folder / ARCHIVE)
        except BlobMissing:
            raise Permanent(GONE) from None
        except StorageUnavailable as error:
            raise Transient(str(error)) from None

    return bring
