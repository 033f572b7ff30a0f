"""Evaluation: a model on samples that it has not been trained on."""

from typing import Any, Final

from sqlalchemy.orm import Session

from backend.queue.reporting import report
from backend.queue.retry import Permanent
from backend.workloads.tasks.models.gathering import chosen_model, counts, samples
from backend.workloads.tasks.models.loading import load
from backend.workloads.tasks.models.measuring import measure
from backend.workloads.tasks.models.model import MOST_LABELS, Split
from backend.workloads.tasks.registry import Asked

FEWEST_SAMPLES: Final = 5


def gather(session: Session, asked: Asked) -> dict[str, Any]:
    """The model, and held-out samples: twice as many, as it may know some of them.

    Raises:
        Permanent: there is no such model, or there are too few samples.
    """
    model, stored = chosen_model(session, asked), counts(session, asked)
    if stored[Split.TEST] < FEWEST_SAMPLES:
        raise Permanent(_too_few(model["name"], stored[Split.TEST]))
    held_out = samples(session, asked, Split.TEST, most=2 * asked.parameters["test_samples"])
    return {"model": model, "held_out": stored[Split.TEST], "test": held_out}


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """Answer each sample and compare.

    Raises:
        Permanent: too few samples are left that the model was not trained on, or they have too
            many labels.
    """
    from backend.workloads.tasks.models.artefact import MARK

    data = asked["data"]
    report(10, "loading the model")
    header, classifier = load(data["model"])
    known = set(header.samples)
    unknown = [sample for sample in data["test"] if sample["digest"][:MARK] not in known]
    if len(unknown) < FEWEST_SAMPLES:
        raise Permanent(_too_few(data["model"]["name"], len(unknown)))
    taken = unknown[: asked["parameters"]["test_samples"]]
    true = [sample["label"] for sample in taken]
    if (labels := len(set(true))) > MOST_LABELS:
        raise Permanent(f"the held-out samples have {labels} labels; {MOST_LABELS} are allowed")
    report(50, f"answering {len(taken)} samples")
    answered = classifier.predictor()([sample["text"] for sample in taken])
    return {
        "model_name": data["model"]["name"],
        "version": data["model"]["version"],
        "sha256": data["model"]["sha256"],
        "samples": {
            "held_out": data["held_out"],
            "asked_for": asked["parameters"]["test_samples"],
            "measured_on": len(taken),
            "left_out_as_trained_on": len(data["test"]) - len(unknown),
        },
        "trained": header.trained,
        "quality": measure(true, answered, trained=header.trained).model_dump(),
    }


def _too_few(name: str, there_are: int) -> str:
    return (
        f"too few held-out samples for model {name}: there are {there_are} that it was not "
        f"trained on, and it takes at least {FEWEST_SAMPLES}"
    )
