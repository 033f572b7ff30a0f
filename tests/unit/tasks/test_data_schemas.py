"""What data may be: nothing that a database refuses, nothing that was meant as something else."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from backend.workloads.tasks.data_schemas import (
    ClaimLine,
    GoalChange,
    GoalLine,
    InteractionLine,
    SnapshotIn,
)

SNAPSHOT = {"metric": "focus", "value": 0.5, "taken_at": "2026-03-01T10:00:00Z"}
SAID = {"occurred_at": "2026-03-01T10:00:00Z", "text": "x"}
CLAIM = {"claim": "x", "verdict": "refuted", "explanation": "x", "sources": ["x"]}


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-03-01T10:00:00Z", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("2026-03-01 10:00:00.25+14:00", datetime(2026, 2, 28, 20, 0, 0, 250000, tzinfo=UTC)),
        ("1900-01-01T00:00:00Z", datetime(1900, 1, 1, tzinfo=UTC)),
        ("2199-12-31T23:59:59.999999Z", datetime(2199, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    ],
)
def test_moments_are_kept_in_utc(written: str, moment: datetime) -> None:
    assert SnapshotIn.model_validate(SNAPSHOT | {"taken_at": written}).taken_at == moment


@pytest.mark.parametrize(
    ("model", "given", "wrong"),
    [
        *(
            (SnapshotIn, SNAPSHOT | {"taken_at": moment}, "taken_at")
            for moment in (
                0, "0", "1767225600", "2026-03-01", "2026-03-01T10:00:00", "2026-13-01T10:00:00Z",
                "1899-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "2199-12-31T23:59:59-01:00",
                "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", None, True,
            )
        ),
        *(
            (SnapshotIn, SNAPSHOT | {"value": value}, "value")
            for value in ("1", True, None, float("nan"), float("inf"))
        ),
        *((SnapshotIn, SNAPSHOT | {"metric": metric}, "metric") for metric in ("", "x" * 65, 1)),
        *((SnapshotIn, SNAPSHOT | {"user_id": user}, "user_id") for user in (0, "1", 2**63, 1.0)),
        (InteractionLine, SAID | {"text": ""}, "text"),
        (InteractionLine, SAID | {"text": "x" * 20_001}, "text"),
        (InteractionLine, SAID | {"citations": [""]}, "citations"),
        (InteractionLine, SAID | {"citations": ["x"] * 51}, "citations"),
        (InteractionLine, SAID | {"citations": "x"}, "citations"),
        (GoalLine, {"title": "x", "target_date": "20260301"}, "target_date"),
        (GoalLine, {"title": "x", "target_date": 0}, "target_date"),
        (GoalLine, {"title": "x", "target_date": "2200-01-01"}, "target_date"),
        (GoalLine, {"title": "x", "complexity_level": "huge"}, "complexity_level"),
        (ClaimLine, CLAIM | {"sources": []}, "sources"),
        (ClaimLine, CLAIM | {"verdict": "true"}, "verdict"),
        (ClaimLine, CLAIM | {"reviewed_by": 1}, "reviewed_by"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(model: type[BaseModel], given: Any, wrong: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(given)

    assert {error["loc"][0] for error in caught.value.errors()} == {wrong}


def test_whole_numbers_are_values_as_well() -> None:
    assert SnapshotIn.model_validate(SNAPSHOT | {"value": 3}).value == 3.0


def test_a_change_tells_what_is_left_out_from_what_is_taken_away() -> None:
    given = {"title": None, "status": "done", "target_date": None}

    assert GoalChange.model_validate({}).changes() == {}
    assert GoalChange.model_validate(given).changes() == {"status": "done", "target_date": None}
    day = GoalChange.model_validate({"target_date": "2026-03-01"}).changes()
    assert day == {"target_date": date(2026, 3, 1)}
