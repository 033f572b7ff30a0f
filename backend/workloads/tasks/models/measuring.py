"""How good answers are: shares, their interval, and what a fool would reach. Pure arithmetic."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import NormalDist
from typing import Final

from backend.workloads.tasks.models.shapes import (
    Baseline,
    Confusion,
    Interval,
    Measured,
    OfLabel,
)

CONFIDENCE: Final = 0.95


def wilson(hits: int, of: int, confidence: float = CONFIDENCE) -> Interval:
    """Where the true share of ``hits`` lies (Wilson, 1927); ``of`` is at least 1."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = hits / of, z * z / of
    centre = share + spread / 2
    reach = z * sqrt(share * (1 - share) / of + spread / (4 * of))
    return Interval(
        low=max(0.0, (centre - reach) / (1 + spread)),
        high=min(1.0, (centre + reach) / (1 + spread)),
        confidence=confidence,
    )


def measure(
    true: Sequence[str], answered: Sequence[str], *, trained: Mapping[str, int]
) -> Measured:
    """How ``answered`` fares against ``true``.

    Args:
        true: the label of each sample, at least one.
        answered: what was said of each.
        trained: how many training samples each label had; ties are the alphabet's.
    """
    hits = sum(map(str.__eq__, true, answered))
    majority = min(trained, key=lambda label: (-trained[label], label))
    lucky = sum(label == majority for label in true)
    labels = sorted({*true, *answered, *trained})
    pairs = Counter(zip(true, answered, strict=True))
    return Measured(
        samples=len(true),
        accuracy=hits / len(true),
        accuracy_interval=wilson(hits, len(true)),
        majority_baseline=Baseline(label=majority, accuracy=lucky / len(true)),
        beats_baseline=hits > lucky,
        classes=[_of_label(label, pairs) for label in labels],
        confusion_matrix=Confusion(
            labels=labels, rows=[[pairs[one, other] for other in labels] for one in labels]
        ),
    )


def _of_label(label: str, pairs: Mapping[tuple[str, str], int]) -> OfLabel:
    hits = pairs.get((label, label), 0)
    support = sum(count for (true, _), count in pairs.items() if true == label)
    said = sum(count for (_, answered), count in pairs.items() if answered == label)
    return OfLabel(
        label=label,
        support=support,
        precision=hits / said if said else None,
        recall=hits / support if support else None,
        f1=2 * hits / (said + support) if said and support else None,
    )
