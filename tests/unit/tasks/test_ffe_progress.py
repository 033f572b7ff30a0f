from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.workloads.tasks.ffe.progress import track
from backend.workloads.tasks.types.track_ffe_progress import Progress

MADE = datetime(2026, 3, 1, 8, tzinfo=UTC)
NOW = MADE + timedelta(days=4)


def block(number: int, minutes: int, done: float | None = None, **more: Any) -> dict[str, Any]:
    """``done``: so many days after it was made."""
    at = None if done is None else (MADE + timedelta(days=done)).isoformat()
    return {
        "block_no": number, "minutes": minutes, "depends_on": [], "created_at": MADE.isoformat(),
        "status": "todo" if done is None else "done", "done_at": at, **more,
    }  # fmt: skip


def tracked(
    *blocks: dict[str, Any], target: str | None = None, now: datetime = NOW
) -> dict[str, Any]:
    found = track({"target_date": target}, blocks, now)
    return Progress.model_validate({"goal_id": 1, **found}).model_dump()


def test_a_goal_without_blocks_is_not_judged() -> None:
    found = tracked()
    assert (found["status"], found["percent"], found["pace"]) == ("insufficient_data", None, None)
    assert (found["expected_finish"], found["ready"]) == (None, [])


def test_percent_counts_minutes_and_not_blocks() -> None:
    found = tracked(block(1, 15, done=1), block(2, 30), block(3, 15, status="doing"))
    assert found["percent"] == 25.0
    assert found["minutes"] == {"total": 60, "done": 15, "left": 45}
    assert found["blocks"] == {"total": 3, "done": 1, "doing": 1, "todo": 1}


def test_the_finish_follows_from_all_days_and_the_pace_of_active_days_stands_beside_it() -> None:
    blocks = block(1, 60, done=0.1), block(2, 60, done=0.2), block(3, 40, done=3), block(4, 80)
    found = tracked(*blocks)
    assert found["pace"]["minutes_per_day"] == 40  # 160 minutes in four days
    assert found["pace"]["minutes_per_active_day"] == 80  # of which two saw a block done
    assert found["expected_finish"] == NOW + timedelta(days=2)
    assert found["expected_finish_basis"] == "80 minutes left at 40 a day, all days counted"


def test_the_first_day_counts_as_a_whole_one() -> None:
    soon = MADE + timedelta(hours=2)
    found = tracked(block(1, 30, done=1 / 24), block(2, 60), now=soon)
    assert found["pace"]["minutes_per_day"] == 30
    assert found["expected_finish"] == soon + timedelta(days=2)


def test_nothing_is_expected_of_a_goal_that_nobody_worked_on() -> None:
    found = tracked(block(1, 30, status="doing"), block(2, 60), target="2026-03-10")
    assert (found["status"], found["percent"], found["pace"]) == ("ok", 0.0, None)
    assert found["expected_finish_basis"] == "no block is done yet"
    assert found["target"]["on_target"] is None
    assert found["target"]["minutes_per_day_needed"] == pytest.approx(90 / (5 + 16 / 24), abs=0.01)


def test_a_goal_that_is_done_was_finished_with_its_last_block() -> None:
    found = tracked(block(1, 30, done=3), block(2, 60, done=2), target="2026-03-03")
    assert (found["percent"], found["expected_finish_basis"]) == (100.0, "every block is done")
    assert found["expected_finish"] == MADE + timedelta(days=3)
    assert found["target"]["on_target"] is False
    assert found["target"]["minutes_per_day_needed"] is None


@pytest.mark.parametrize(("target", "on_target"), [("2026-03-08", False), ("2026-03-09", True)])
def test_the_target_day_counts_to_its_end(target: str, on_target: bool) -> None:
    found = tracked(block(1, 30, done=1), block(2, 30), target=target)  # done on the 9th at 8:00
    assert found["target"]["on_target"] is on_target


def test_blocks_wait_for_those_that_are_not_done() -> None:
    found = tracked(
        block(1, 30, done=1),
        block(2, 30, status="doing", depends_on=[1]),
        block(3, 30, depends_on=[1]),
        block(4, 30, depends_on=[1, 2, 3]),
    )
    assert found["ready"] == [3]
    assert found["blocked"] == [{"block_no": 4, "waits_for": [2, 3]}]


def test_a_finish_beyond_a_century_is_not_named() -> None:
    found = tracked(block(1, 15, done=0), block(2, 90), now=MADE + timedelta(days=40_000))
    assert found["expected_finish"] is None
    assert "more than a century" in found["expected_finish_basis"]


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(15, 90), st.none() | st.floats(0, 4)), max_size=100),
    st.floats(0, 100_000),
)
def test_whatever_the_blocks_the_figures_agree(
    given_blocks: list[tuple[int, float | None]], later: float
) -> None:
    blocks = [block(n, minutes, done) for n, (minutes, done) in enumerate(given_blocks, 1)]
    found = tracked(*blocks, now=NOW + timedelta(days=later))
    assert found["minutes"]["done"] + found["minutes"]["left"] == found["minutes"]["total"]
    assert (found["percent"] == 100) == (bool(blocks) and found["minutes"]["left"] == 0)
    assert len(found["ready"]) + len(found["blocked"]) == found["blocks"]["todo"]
