"""The judge itself: each broken promise is found, and nothing else is complained of."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, func, insert, update

from backend.queue.attempts import Attempt
from tests.chaos.invariants import violations
from tests.chaos.run import main
from tests.chaos.stage import Stage
from tests.chaos.workload import LEDGER, Booking

ROW = LEDGER.rows


def settled(stage: Stage, row_id: int, **line: Any) -> None:
    """One more attempt at the row that ended; by default well, and just now."""
    values = {
        "queue": LEDGER.name, "row_id": row_id, "token": uuid4(), "worker": "w", "attempt": 1,
        "step": "check", "outcome": "done", "started_at": func.clock_timestamp(),
        "ended_at": func.clock_timestamp(), **line,
    }  # fmt: skip
    with stage.engine.begin() as connection:
        connection.execute(insert(Attempt).values(values))


def change(stage: Stage, row_id: int, **values: Any) -> None:
    with stage.engine.begin() as connection:
        connection.execute(update(ROW).where(ROW.c.id == row_id).values(**values))


def book(stage: Stage, row_id: int, step: str, times: int) -> None:
    mine = (Booking.row_id == row_id) & (Booking.step == step)
    with stage.engine.begin() as connection:
        connection.execute(update(Booking).where(mine).values(times=times))


def lose(stage: Stage, row_id: int) -> None:
    with stage.engine.begin() as connection:
        connection.execute(delete(ROW).where(ROW.c.id == row_id))


def finished(stage: Stage) -> int:
    """A row as a worker leaves it."""
    (row_id,) = stage.add(1)
    settled(stage, row_id)
    change(stage, row_id, status=LEDGER.done, completed_at=func.now(), step="check", attempts=1)
    rows = [
        {"queue": LEDGER.name, "row_id": row_id, "step": one.name, "times": 1}
        for one in LEDGER.stages
    ]
    with stage.engine.begin() as connection:
        connection.execute(insert(Booking), rows)
    return row_id


BROKEN: dict[str, Callable[[Stage, int], None]] = {
    "lost": lose,
    "stuck": lambda s, i: change(s, i, status=LEDGER.ready, completed_at=None),
    "settled 2 times": settled,
    "innocent and convicted": lambda s, i: change(
        s, i, status=LEDGER.failed, failure="poison", failed_from=LEDGER.ready
    ),
    "ended wrongly": lambda s, i: change(s, i, kind="sour"),
    "effect of draft applied 2 times": lambda s, i: book(s, i, "draft", 2),
    "effect of book applied 0 times": lambda s, i: book(s, i, "book", 0),
    "attempts is 3": lambda s, i: change(s, i, attempts=3),
    "stalls is 1": lambda s, i: change(s, i, stalls=1),
}


def test_a_row_as_a_worker_leaves_it_breaks_no_promise(stage: Stage) -> None:
    finished(stage)

    assert violations(stage.engine, stage.accepted) == []


@pytest.mark.parametrize("promise", BROKEN)
def test_a_broken_promise_is_named(stage: Stage, promise: str) -> None:
    BROKEN[promise](stage, finished(stage))

    assert any(promise in said for said in violations(stage.engine, stage.accepted))


def test_two_leases_at_the_same_time_and_two_ends_of_one_token_are_named(stage: Stage) -> None:
    row_id, token = finished(stage), uuid4()
    for _ in range(2):
        settled(stage, row_id, token=token, outcome="retry", started_at=None)

    said = "\n".join(violations(stage.engine, stage.accepted))
    assert f"2 attempts ended with token {token}" in said
    assert "overlap" in said


@pytest.mark.parametrize(
    "wrong", [[], ["--seconds", "0"], ["--seconds", "x"], ["--zombies", "-1"], ["--nonsense"]]
)
def test_wrong_arguments_end_with_2_and_one_word_why(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)

    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err
