"""Artefacts in the store: put there by the worker, encrypted, and brought back to a child."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.problems import Unavailable
from backend.queue.lease import Lease
from backend.queue.retry import Permanent, Transient
from backend.storage.blobs import BlobMissing, Blobs, StorageUnavailable
from backend.storage.encryption import MasterKey, Undecipherable, decrypted, encrypted, new_key
from backend.storage.files import plain_file
from backend.workloads.tasks.models.files import ARTEFACT
from backend.workloads.tasks.models.keys import folder_of, master_key
from backend.workloads.tasks.models.model import TextModel
from backend.workloads.tasks.registry import Asked
from backend.workloads.tasks.tools import Tools

_CHUNK: Final = 1 << 20


def require_key(tools: Tools, _asked: Asked, _folder: Path) -> None:
    """Raises Transient: another worker may have the key without which nothing can be stored."""
    _key(tools)


def bring(tools: Tools, asked: Asked, folder: Path) -> None:
    """Put the artefact of the model that was gathered into the child's folder.

    Raises:
        Permanent: its bytes are gone.
        Transient: the store does not answer, or this worker has not the key.
    """
    model, key = asked.data["model"], _key(tools)
    try:
        with opened(tools.blobs, key, model["blob_key"], bytes.fromhex(model["data_key"])) as plain:
            (folder / ARTEFACT).write_bytes(plain.read())
    except BlobMissing:
        raise Permanent("its artefact is not stored any more: train the model again") from None
    except Undecipherable:
        raise Transient(
            "its artefact was altered, or stored under another TASK_KEY than this worker's"
        ) from None
    except StorageUnavailable as error:
        raise Transient(str(error)) from None


def opened(blobs: Blobs, key: MasterKey, blob_key: str, data_key: bytes) -> BinaryIO:
    """The plain bytes of an artefact.

    Raises:
        BlobMissing, StorageUnavailable: as the store says.
        Undecipherable: another TASK_KEY stored it; also from a read, where bytes were altered.
    """
    unwrapped = key.unwrap(data_key, blob_key)
    with blobs.open(blob_key) as blob:
        return decrypted(io.BytesIO(blob.read()), unwrapped)


def keep(
    asked: Asked, tools: Tools, session: Session, lease: Lease, result: Any, *, folder: Path
) -> None:
    """Store the artefact that the child left, and the model; ``result`` learns its version.

    The bytes of an attempt whose transaction comes to nothing are an orphan, swept later.

    Raises:
        ValueError: what the child left is not what it said.
        Transient: the store does not answer.
    """
    key, data_key = _key(tools), new_key()
    blob_key = f"{folder_of(key)}/{uuid4().hex}"
    try:
        with plain_file(folder / ARTEFACT) as file:
            checked = _checked(file, result.sha256, result.size_bytes)
            tools.blobs.put(blob_key, encrypted(checked, data_key))
    except StorageUnavailable as error:
        raise Transient(str(error)) from None
    result.version = _next_version(session, asked)
    session.add(
        TextModel(
            user_id=asked.user_id,
            name=asked.parameters["model_name"],
            version=result.version,
            sha256=result.sha256,
            blob_key=blob_key,
            data_key=key.wrap(data_key, blob_key),
            size_bytes=result.size_bytes,
            parameters=result.trained_with(),
            metrics=result.measures(),
            task_row=lease.id,
        )
    )


def _next_version(session: Session, asked: Asked) -> int:
    """Of two that are trained at once the second waits for the first one's end."""
    name = asked.parameters["model_name"]
    place = func.hashtextextended(f"model {asked.user_id} {name}", 0)
    session.execute(select(func.pg_advisory_xact_lock(place)))
    latest = select(func.max(TextModel.version)).where(
        TextModel.user_id == asked.user_id, TextModel.name == name
    )
    return (session.scalar(latest) or 0) + 1


def _checked(file: BinaryIO, sha256: str, size: int) -> Iterator[bytes]:
    """The bytes; a store keeps nothing of them where this raises at their end."""
    digest = hashlib.sha256()
    while chunk := file.read(min(_CHUNK, size + 1)):
        digest.update(chunk)
        size -= len(chunk)
        yield chunk
        if size < 0:
            break
    if size or digest.hexdigest() != sha256:
        raise ValueError("the artefact is not the one that was measured")


def _key(tools: Tools) -> MasterKey:
    try:
        return master_key(tools.settings)
    except Unavailable as error:
        raise Transient(error.detail) from None
