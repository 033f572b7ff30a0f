from typing import Any

import pytest
from rich.console import Console

from backend.cli import queue_look

FINGERPRINT = "0178aba9a988d33aeca126f2ac359de3"


def queue(workers: int, **depth: int) -> dict[str, Any]:
    known = {"ready": 0, "later": 0, "held": 0, "oldest_wait_seconds": 0.0}
    return {"queue": "packages", "depth": {**known, **depth}, "workers": workers, "paused": []}


def test_a_fingerprint_can_be_copied_from_a_narrow_terminal() -> None:
    group = {
        "fingerprint": FINGERPRINT,
        "count": 7,
        "failures": ["permanent"],
        "example": "x" * 200,
    }
    answer = {"queue": "packages", "count": 7, "complete": True, "groups": [group]}
    console = Console(width=80)

    with console.capture() as shown:
        console.print(queue_look.preview(answer))

    assert FINGERPRINT in shown.get()
    assert max(map(len, shown.get().splitlines())) <= 80


def test_a_long_workers_name_is_folded_and_not_cut_on_a_narrow_terminal() -> None:
    name = "lockkeeper-worker-0123456789-abcdefghij-0123456789-xyz"
    worker = {
        "name": name, "hostname": name, "pid": 7, "version": "1", "queues": ["packages"], "held": 0,
        "heartbeat_age_seconds": 1.0, "draining": False, "alive": True,
    }  # fmt: skip
    console = Console(width=80)

    with console.capture() as shown:
        console.print(queue_look.worker_table([worker]))

    cells = [line.split()[:1] for line in shown.get().splitlines()[3:]]
    assert "".join(cell for line in cells for cell in line) == name


@pytest.mark.parametrize(
    ("shown", "alarming"),
    [
        (queue(0, ready=1), True),
        (queue(0, later=1), True),
        (queue(0), False),
        (queue(1, ready=1), False),
    ],
)
def test_no_worker_is_alarming_where_rows_wait_for_one(
    shown: dict[str, Any], alarming: bool
) -> None:
    (workers,) = (
        column for column in queue_look.queue_table([shown]).columns if column.header == "Workers"
    )
    (cell,) = workers.cells

    assert ("red" in str(getattr(cell, "style", ""))) is alarming
