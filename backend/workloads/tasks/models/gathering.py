"""What model tasks read: samples of one side, and models, always one user's own."""

from typing import Any, Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from backend.queue.retry import Permanent
from backend.workloads.tasks.models.model import Split, TextModel, TrainingSample
from backend.workloads.tasks.registry import Asked

MOST_BYTES: Final = 8 * 1024 * 1024
"""Of text that one task reads from one side."""

# In the order of the digests any number of samples is a random choice, the same one each time, and
# a larger number contains it.
_SAMPLES: Final = text("""
SELECT text, label, encode(digest, 'hex') AS digest FROM (
  SELECT text, label, digest, sum(octet_length(text)) OVER (ORDER BY digest) AS bytes
  FROM training_samples
  WHERE user_id = :user_id AND model_name = :model_name AND split = :split
  ORDER BY digest LIMIT :most) chosen
WHERE bytes <= :most_bytes ORDER BY digest
""")


def samples(session: Session, asked: Asked, split: Split, *, most: int) -> list[dict[str, str]]:
    """Some samples of one side: ``text``, ``label``, and ``digest`` in hex."""
    chosen = {
        "user_id": asked.user_id,
        "model_name": asked.parameters["model_name"],
        "split": split,
        "most": most,
        "most_bytes": MOST_BYTES,
    }
    return [dict(row) for row in session.execute(_SAMPLES, chosen).mappings()]


def counts(session: Session, asked: Asked) -> dict[str, int]:
    """How many samples there are on each side."""
    query = (
        select(TrainingSample.split, func.count())
        .where(
            TrainingSample.user_id == asked.user_id,
            TrainingSample.model_name == asked.parameters["model_name"],
        )
        .group_by(TrainingSample.split)
    )
    found = dict(session.execute(query).all())
    return {split: found.get(split, 0) for split in Split}


def chosen_model(session: Session, asked: Asked) -> dict[str, Any]:
    """The version that is asked for, or the latest.

    Raises:
        Permanent: the user has none.
    """
    name, version = asked.parameters["model_name"], asked.parameters["version"]
    query = select(TextModel).where(TextModel.user_id == asked.user_id, TextModel.name == name)
    if version is not None:
        query = query.where(TextModel.version == version)
    model = session.scalars(query.order_by(TextModel.version.desc()).limit(1)).one_or_none()
    if model is None:
        which = "model" if version is None else f"version {version} of a model"
        raise Permanent(f"user {asked.user_id} has no {which} named {name}: train one first")
    return {
        "name": model.name,
        "version": model.version,
        "sha256": model.sha256,
        "blob_key": model.blob_key,
        "data_key": model.data_key.hex(),
    }
