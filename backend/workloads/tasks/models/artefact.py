"""A classifier as one file: a line of JSON, then its numbers. Nothing in it is ever executed.

Equal classifiers are equal bytes: keys are sorted, no time and no machine is in it. Numbers are
little-endian 32-bit floats: the IDF of words, that of letters, weights row by row, biases.
"""

import hashlib
import json
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.workloads.tasks.models.classifier import Classifier, Floats, Vocabulary

MARK: Final = 16
"""Hex digits of a sample's digest: enough to know it again."""

_FLOAT: Final = np.dtype("<f4")

Term = Annotated[str, Field(max_length=20_001)]  # two words of the longest text


class Unreadable(Exception):
    """These bytes are no artefact of ours."""


class Header(BaseModel):
    """What the first line says; ``samples`` are marks of what it was trained on."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["lockkeeper text classifier 1"] = "lockkeeper text classifier 1"
    labels: Annotated[list[str], Field(min_length=2)]
    trained: dict[str, int]
    learning_rate: float
    epochs: int
    samples: list[str]
    words: list[Term]
    letters: list[Term]


def sha256(artefact: bytes) -> str:
    return hashlib.sha256(artefact).hexdigest()


def packed(
    classifier: Classifier,
    *,
    trained: dict[str, int],
    samples: list[str],
    learning_rate: float,
    epochs: int,
) -> bytes:
    """The artefact of a classifier.

    Args:
        classifier: what was learned.
        trained: how many samples of each label it was trained on.
        samples: the digest of each, in hex.
        learning_rate, epochs: how it was trained.
    """
    header = Header(
        labels=classifier.labels,
        trained=trained,
        learning_rate=learning_rate,
        epochs=epochs,
        samples=sorted(digest[:MARK] for digest in samples),
        words=classifier.words.terms,
        letters=classifier.letters.terms,
    )
    line = json.dumps(header.model_dump(), sort_keys=True, separators=(",", ":"))
    numbers = (
        classifier.words.idf, classifier.letters.idf, classifier.weights, classifier.biases,
    )  # fmt: skip
    return line.encode() + b"\n" + b"".join(part.astype(_FLOAT).tobytes() for part in numbers)


def unpacked(artefact: bytes) -> tuple[Header, Classifier]:
    """What an artefact says.

    Raises:
        Unreadable: it is none, or not whole.
    """
    line, _, numbers = artefact.partition(b"\n")
    try:
        header = Header.model_validate_json(line)
    except ValidationError:
        raise Unreadable("its first line is not that of a text classifier") from None
    if any(len(set(one)) < len(one) for one in (header.labels, header.words, header.letters)):
        raise Unreadable("its first line names something twice")
    rows = 1 if len(header.labels) == 2 else len(header.labels)  # noqa: PLR2004 - one tells both
    columns = len(header.words) + len(header.letters)
    if len(numbers) != _FLOAT.itemsize * (columns + rows * columns + rows):
        raise Unreadable("it has not as many numbers as its first line says")
    return header, _classifier(header, np.frombuffer(numbers, _FLOAT), rows)


def _classifier(header: Header, numbers: Floats, rows: int) -> Classifier:
    if not np.isfinite(numbers).all():
        raise Unreadable("not all of its numbers are finite")
    words, letters = len(header.words), len(header.letters)
    columns = words + letters
    cuts = np.cumsum([words, letters, rows * columns])
    of_words, of_letters, weights, biases = np.split(numbers, cuts)
    return Classifier(
        labels=header.labels,
        words=Vocabulary(header.words, of_words),
        letters=Vocabulary(header.letters, of_letters),
        weights=weights.reshape(rows, columns),
        biases=biases,
    )
