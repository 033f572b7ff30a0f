"""Benchmarks: how long a model takes here and now, measured in the child that runs it.

Texts are made of the model's own words, so that they need nobody's data and have the exact length.
"""

import random
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

from sqlalchemy.orm import Session

from backend.queue.reporting import report
from backend.workloads.tasks.models.gathering import chosen_model
from backend.workloads.tasks.models.loading import load
from backend.workloads.tasks.registry import Asked

SEED: Final = 0
LOADS: Final = 3
WARM_UPS: Final = 2
MOST_BATCHES: Final = 200
MOST_SECONDS: Final = 2.0
"""For one scenario; a batch that has begun is finished."""
FEWEST_FOR_P95: Final = 20

Predictor = Callable[[Sequence[str]], list[str]]


def gather(session: Session, asked: Asked) -> dict[str, Any]:
    """Raises Permanent: there is no such model."""
    return {"model": chosen_model(session, asked)}


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """Load the model a few times, then run each scenario."""
    from backend.workloads.tasks.models import artefact  # noqa: F401 - imported before it is timed

    model, scenarios = asked["data"]["model"], asked["parameters"]["scenarios"]
    before = _resident()
    predict, words, seconds = _loaded(model)
    after = _resident()
    measured = []
    for done, scenario in enumerate(scenarios):
        report(10 + 90 * done / len(scenarios), f"scenario {done + 1} of {len(scenarios)}")
        measured.append(_scenario(predict, words, **scenario))
    return {
        "model_name": model["name"],
        "version": model["version"],
        "sha256": model["sha256"],
        "load_time": _figure(1000 * median(seconds), "ms"),
        "loads": LOADS,
        "memory": _growth(before, after),
        "scenarios": measured,
    }


def _loaded(model: dict[str, Any]) -> tuple[Predictor, list[str], list[float]]:
    seconds = []
    for _ in range(LOADS):
        began = time.perf_counter()
        header, classifier = load(model)
        predict = classifier.predictor()
        seconds.append(time.perf_counter() - began)
    return predict, [word for word in header.words if " " not in word], seconds


def _scenario(
    predict: Predictor, words: list[str], *, batch_size: int, text_length: int
) -> dict[str, Any]:
    texts = _texts(words, batch_size, text_length)
    for _ in range(WARM_UPS):
        predict(texts)
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < MOST_BATCHES and time.perf_counter() - began < MOST_SECONDS:
        start = time.perf_counter()
        predict(texts)
        taken.append(time.perf_counter() - start)
    return {
        "batch_size": batch_size,
        "text_length": text_length,
        "batches": len(taken),
        "latency_p50": _figure(1000 * median(taken), "ms per batch"),
        "latency_p95": _p95(taken),
        "throughput": _figure(batch_size * len(taken) / sum(taken), "texts per second"),
    }


def _p95(taken: list[float]) -> dict[str, Any]:
    if len(taken) < FEWEST_FOR_P95:
        return _unavailable(f"{len(taken)} batches ran in time; it takes {FEWEST_FOR_P95}")
    return _figure(1000 * quantiles(taken, n=20, method="inclusive")[-1], "ms per batch")


def _texts(words: list[str], count: int, length: int) -> list[str]:
    """The same ones for the same model: words that it knows, drawn evenly, cut to ``length``."""
    draw = random.Random(SEED)
    known = words or ["x"]
    texts = []
    for _ in range(count):
        text = ""
        while len(text) < length:
            text += draw.choice(known) + " "
        texts.append(text[:length])
    return texts


def _resident() -> int | None:
    """Bytes of this process that are in memory; None where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return None


def _growth(before: int | None, after: int | None) -> dict[str, Any]:
    """What loading added; a fork's memory that was there before may be taken for it again."""
    if before is None or after is None:
        return _unavailable("this system does not say how much memory a process has")
    return _figure(max(0, after - before), "bytes resident")


def _figure(value: float, unit: str) -> dict[str, Any]:
    return {"status": "measured", "value": value, "unit": unit}


def _unavailable(reason: str) -> dict[str, Any]:
    return {"status": "unavailable", "reason": reason}
