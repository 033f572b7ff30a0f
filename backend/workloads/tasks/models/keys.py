"""What the artefacts of models are encrypted by, and where they lie."""

from typing import Final

from backend.problems import Unavailable
from backend.settings import Settings
from backend.storage.encryption import MasterKey

_FOLDER: Final = "model blobs"
_MARK: Final = 8  # bytes


def master_key(settings: Settings) -> MasterKey:
    """The key that wraps those of artefacts.

    Raises:
        Unavailable: code ``task-key-missing``: TASK_KEY is not set.
    """
    if settings.task_key is None:
        raise Unavailable(
            "TASK_KEY is not set: an operator must give one before models can be stored.",
            code="task-key-missing",
        )
    return MasterKey(settings.task_key.get_secret_value())


def folder_of(key: MasterKey) -> str:
    """The folder of all artefacts under this key: houses that share a store have two."""
    return f"models-{key.derived(_FOLDER)[:_MARK].hex()}"
