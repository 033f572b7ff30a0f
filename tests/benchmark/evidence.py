"""Evidence: from what the database answers about a request to the bytes of its bundle.

    python -m tests.benchmark.evidence [--components N]

Both SBOMs, the documents, the manifest and the zip; one process, warm. Medians in milliseconds: of
the clock, and of processor time, for machines that others use too.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Final
from uuid import UUID

from backend import collector
from backend.workloads.packages.evidence.bundle import bundle
from backend.workloads.packages.evidence.collected import collected
from backend.workloads.packages.evidence.cyclonedx import cyclonedx
from backend.workloads.packages.evidence.inventory import Stamp, inventory
from backend.workloads.packages.evidence.spdx import spdx
from tests.benchmark.upload_lock import lock
from tests.evidence_example import answer

COMPONENTS: Final = 2_000
ROUNDS: Final = 9
WARM_UP: Final = 2
_SERIAL: Final = UUID(int=7)
LICENCES: Final = ("MIT", "ISC", "Apache-2.0", "(MIT OR CC0-1.0)", "SEE LICENSE IN x", None)


@dataclass(frozen=True, slots=True)
class Taken:
    """Medians in milliseconds: of the clock, and of this process's own processor time."""

    clock: float
    processor: float


def taken(work: Callable[[], Any]) -> Taken:
    """The medians of several runs; the first ones do not count."""
    runs = []
    for _ in range(WARM_UP + ROUNDS):
        clock, processor = time.perf_counter(), time.process_time()
        work()
        runs.append((time.perf_counter() - clock, time.process_time() - processor))
    clocks, processors = zip(*runs[WARM_UP:], strict=True)
    return Taken(median(clocks) * 1000, median(processors) * 1000)


def measured(components: int) -> dict[str, Taken]:
    """By part; ``bundle`` is all of it."""
    collector.settle()  # as the API's server does
    rows = answer(lock(components, tag="evidence"), licences=LICENCES)
    evidence = collected(7, rows)
    parts = inventory(evidence)
    stamp = Stamp(_SERIAL, evidence.taken_at, "0")
    return {
        "bundle": taken(lambda: bundle(collected(7, rows), None)),
        "inventory": taken(lambda: inventory(collected(7, rows))),
        "cyclonedx": taken(lambda: cyclonedx(parts, stamp)),
        "spdx": taken(lambda: spdx(parts, stamp)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--components", type=int, default=COMPONENTS)
    chosen = parser.parse_args()
    for name, it in measured(chosen.components).items():
        print(f"{name:10} {it.clock:8.1f} {it.processor:8.1f}")  # noqa: T201 - the result


if __name__ == "__main__":
    main()
