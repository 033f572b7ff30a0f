"""What is made of raw observations: rates, percentiles, statements in a server's log."""

import re
from collections.abc import Sequence
from statistics import quantiles
from typing import Final

MESSAGE: Final = re.compile(r"LOG:  (?:statement|execute [^:]*): (.*(?:\n\t.*)*)")

Values = dict[str, float]


def rate(samples: Sequence[tuple[float, int]], since: float, until: float) -> float:
    """Rows a second between two moments; samples are (seconds, rows settled by then)."""
    inside = [sample for sample in samples if since <= sample[0] <= until]
    (began, before), (ended, after) = inside[0], inside[-1]
    return (after - before) / (ended - began)


def percentiles(milliseconds: Sequence[float]) -> Values:
    """Median, 99th percentile and maximum; of two observations at least."""
    cuts = quantiles(milliseconds, n=100, method="inclusive")
    return {"p50_ms": cuts[49], "p99_ms": cuts[98], "worst_ms": max(milliseconds)}


def statements_in(log: str) -> int:
    """How many statements a server's log holds; one message may hold several."""
    messages = MESSAGE.findall(log)
    return sum(len([part for part in text.split(";") if part.strip()]) for text in messages)
