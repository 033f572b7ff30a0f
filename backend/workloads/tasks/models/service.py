"""Models as their owners have them: their artefacts given out, and deleted."""

import hashlib
from typing import Final

import structlog
from sqlalchemy.orm import Session

from backend.identity.roles import Principal
from backend.problems import NotFound, Unavailable
from backend.settings import Settings
from backend.storage.blobs import BlobMissing, Blobs, StorageError
from backend.storage.configured import blobs_of
from backend.storage.encryption import Undecipherable
from backend.workloads.tasks import data_service
from backend.workloads.tasks.data_service import Kind
from backend.workloads.tasks.models.keys import master_key
from backend.workloads.tasks.models.model import TextModel, TrainingSample
from backend.workloads.tasks.models.storing import opened

log = structlog.get_logger(__name__)

SAMPLES: Final = Kind("training-sample", TrainingSample, TrainingSample.created_at)
MODELS: Final = Kind("model", TextModel, TextModel.trained_at)


def artefact(settings: Settings, model: TextModel) -> bytes:
    """The bytes that were stored, and no others.

    Raises:
        NotFound: ``artefact-gone``: the store has them no more.
        Unavailable: ``task-key-missing``; ``artefact-unreadable``: they are stored under another
            TASK_KEY, or were altered; ``storage-unavailable``.
    """
    key = master_key(settings)
    try:
        with opened(blobs_of(settings), key, model.blob_key, model.data_key) as plain:
            content = plain.read()
    except BlobMissing:
        raise NotFound(
            f"The artefact of model {model.id} is not stored any more.", code="artefact-gone"
        ) from None
    except StorageError as error:
        raise Unavailable(str(error), code="storage-unavailable") from None
    except Undecipherable:
        raise _unreadable(model) from None
    if hashlib.sha256(content).hexdigest() != model.sha256:
        raise _unreadable(model)
    return content


def _unreadable(model: TextModel) -> Unavailable:
    return Unavailable(
        f"The artefact of model {model.id} was altered, or stored under another TASK_KEY.",
        code="artefact-unreadable",
    )


def remove(session: Session, model_id: int, by: Principal) -> str:
    """Delete a version of a model, and with it the key of its artefact.

    Returns:
        Where the artefact lies, to be discarded once this is committed.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    blob_key = data_service.one(session, MODELS, model_id, by, lock=True).blob_key
    data_service.remove(session, MODELS, model_id, by)
    return blob_key


def discard(blobs: Blobs, blob_key: str) -> None:
    """Delete bytes that no model names; what a store keeps that does not answer is swept later."""
    try:
        blobs.delete(blob_key)
    except StorageError as error:
        log.warning("models.bytes_left", blob=blob_key, error=str(error))
