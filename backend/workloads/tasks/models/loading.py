"""The artefact that a child was given: read only where it is the one that was stored."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.queue.retry import Permanent, Transient
from backend.workloads.tasks.models.files import ARTEFACT

if TYPE_CHECKING:
    from backend.workloads.tasks.models.artefact import Header
    from backend.workloads.tasks.models.classifier import Classifier


def load(model: dict[str, Any]) -> "tuple[Header, Classifier]":
    """What lies in the working directory.

    Raises:
        Transient: its hash is not the model's.
        Permanent: it is no artefact.
    """
    from backend.workloads.tasks.models.artefact import Unreadable, sha256, unpacked

    artefact = Path(ARTEFACT).read_bytes()
    if sha256(artefact) != model["sha256"]:
        raise Transient("the stored artefact has another hash than the model")
    try:
        return unpacked(artefact)
    except Unreadable as error:
        raise Permanent(f"the artefact cannot be read: {error}") from None
