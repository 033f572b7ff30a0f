"""Fine-tuning: what is read for it, and what a child does with it."""

import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from sqlalchemy.orm import Session

from backend.queue.reporting import report
from backend.queue.retry import Permanent
from backend.workloads.tasks.models.files import ARTEFACT, MOST_BYTES
from backend.workloads.tasks.models.gathering import counts, samples
from backend.workloads.tasks.models.model import MOST_LABELS, Split
from backend.workloads.tasks.registry import Asked

FEWEST_SAMPLES: Final = 10
FEWEST_LABELS: Final = 2
MOST_HELD_OUT: Final = 1000
"""Held-out samples that a new model is measured on."""


def gather(session: Session, asked: Asked) -> dict[str, Any]:
    """Samples to train on, and others to measure on.

    Raises:
        Permanent: there are too few, or they have one label.
    """
    stored = counts(session, asked)
    wanted = asked.parameters["training_samples"]
    said = (
        f"user {asked.user_id} has {sum(stored.values())} samples for model "
        f"{asked.parameters['model_name']}, {stored[Split.TRAIN]} of them to train on"
    )
    if sum(stored.values()) < wanted:
        raise Permanent(f"too few samples: {said}, and {wanted} were asked for")
    if stored[Split.TRAIN] < FEWEST_SAMPLES:
        raise Permanent(f"too few samples: {said}, and it takes at least {FEWEST_SAMPLES}")
    chosen = samples(session, asked, Split.TRAIN, most=wanted)
    labels = len({sample["label"] for sample in chosen})
    if labels < FEWEST_LABELS:
        raise Permanent(f"too few labels: {said}, and all {len(chosen)} chosen have the same label")
    if labels > MOST_LABELS:
        raise Permanent(f"too many labels: {said}, with {labels} labels; {MOST_LABELS} are allowed")
    held_out = samples(session, asked, Split.TEST, most=MOST_HELD_OUT)
    return {"stored": stored, "train": chosen, "test": held_out}


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """Train, leave the artefact in the working directory, and measure what was left there.

    Raises:
        Permanent: the texts have no terms, or there are more of them than memory has room for.
    """
    chosen, learning_rate = asked["data"]["train"], asked["parameters"]["learning_rate"]
    trained = dict(sorted(Counter(sample["label"] for sample in chosen).items()))
    began = time.perf_counter()
    artefact, learned = _trained(chosen, trained, learning_rate)
    training_seconds = time.perf_counter() - began
    if len(artefact) > MOST_BYTES:
        raise Permanent(f"the model takes {len(artefact)} bytes; {MOST_BYTES} are allowed")
    Path(ARTEFACT).write_bytes(artefact)
    report(90, "measuring on held-out samples")
    began = time.perf_counter()
    held_out = _measured(artefact, asked["data"]["test"], trained)
    return {
        "model_name": asked["parameters"]["model_name"],
        "size_bytes": len(artefact),
        "samples": {
            "stored": sum(asked["data"]["stored"].values()),
            "asked_for": asked["parameters"]["training_samples"],
            "trained_on": len(chosen),
            "held_out": asked["data"]["stored"]["test"],
        },
        "trained": trained,
        "learning_rate": learning_rate,
        **learned,
        "held_out": held_out,
        "training_seconds": training_seconds,
        "measuring_seconds": time.perf_counter() - began,
    }


def _trained(
    chosen: list[dict[str, str]], trained: dict[str, int], learning_rate: float
) -> tuple[bytes, dict[str, Any]]:
    """The artefact, and what there is to say of how it was made."""
    from backend.workloads.tasks.models.artefact import packed, sha256
    from backend.workloads.tasks.models.classifier import SEED, epochs_for, train

    epochs = epochs_for(len(chosen))
    try:
        classifier = train(
            [sample["text"] for sample in chosen],
            [sample["label"] for sample in chosen],
            learning_rate=learning_rate,
            told=lambda share, doing: report(5 + 85 * share, doing),
        )
    except ValueError as error:
        raise Permanent(f"nothing can be learned from these texts: {error}") from None
    except MemoryError:
        raise Permanent(
            "these texts have more different terms than memory has room for: ask for fewer samples"
        ) from None
    artefact = packed(
        classifier,
        trained=trained,
        samples=[sample["digest"] for sample in chosen],
        learning_rate=learning_rate,
        epochs=epochs,
    )
    return artefact, {
        "sha256": sha256(artefact),
        "epochs": epochs,
        "seed": SEED,
        "words": len(classifier.words.terms),
        "letters": len(classifier.letters.terms),
    }


def _measured(
    artefact: bytes, held_out: list[dict[str, str]], trained: dict[str, int]
) -> dict[str, Any]:
    from backend.workloads.tasks.models.artefact import unpacked
    from backend.workloads.tasks.models.measuring import measure

    if not held_out:
        return {"status": "unavailable", "reason": "no held-out samples are stored"}
    true = [sample["label"] for sample in held_out]
    if (labels := len(set(true))) > MOST_LABELS:
        reason = f"the held-out samples have {labels} labels; {MOST_LABELS} are allowed"
        return {"status": "unavailable", "reason": reason}
    _, classifier = unpacked(artefact)
    answered = classifier.predictor()([sample["text"] for sample in held_out])
    return measure(true, answered, trained=trained).model_dump()
