"""How far a goal's blocks are, and when they will be done at the pace so far. Pure."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

DAY: Final = timedelta(days=1)
FARTHEST: Final = timedelta(days=36_525)
"""What would take longer than a century has no day that is worth naming."""

Row = dict[str, Any]


def track(goal: Row, blocks: Sequence[Row], now: datetime) -> Row:
    """What is told of a goal.

    Args:
        goal: its ``target_date``, ISO 8601, or None.
        blocks: each with block_no, minutes, depends_on, status, created_at, done_at; in the order
            of their numbers.
        now: when they were read.
    """
    total = sum(block["minutes"] for block in blocks)
    done = sum(block["minutes"] for block in _with_status(blocks, "done"))
    pace = _pace(blocks, done, now)
    finish, basis = _finish(blocks, total - done, pace, now)
    target = goal["target_date"] and date.fromisoformat(goal["target_date"])
    return {
        "status": "ok" if blocks else "insufficient_data",
        "as_of": now.isoformat(),
        "blocks": {
            "total": len(blocks),
            **{status: len(_with_status(blocks, status)) for status in ("done", "doing", "todo")},
        },
        "minutes": {"total": total, "done": done, "left": total - done},
        "percent": round(100 * done / total, 1) if total else None,
        "pace": pace,
        "expected_finish": finish and finish.isoformat(),
        "expected_finish_basis": basis,
        "target": target and _target(target, finish, total - done, now),
        **_open_blocks(blocks),
    }


def _with_status(blocks: Sequence[Row], status: str) -> list[Row]:
    return [block for block in blocks if block["status"] == status]


def _pace(blocks: Sequence[Row], done: int, now: datetime) -> Row | None:
    """Minutes a day since the oldest block was made: of all days, and of those with a block done.

    The first day counts as a whole one. None where nothing is done.
    """
    moments = [_moment(block["done_at"]) for block in blocks if block["done_at"]]
    if not moments:
        return None
    since = min([*moments, *(_moment(block["created_at"]) for block in blocks)])
    days = max((now - since) / DAY, 1.0)
    active = len({moment.astimezone(UTC).date() for moment in moments})
    return {
        "since": since.isoformat(),
        "days": round(days, 2),
        "active_days": active,
        "minutes_per_day": round(done / days, 2),
        "minutes_per_active_day": round(done / active, 2),
    }


def _finish(
    blocks: Sequence[Row], left: int, pace: Row | None, now: datetime
) -> tuple[datetime | None, str]:
    """When all is done, and what that is concluded from."""
    if not blocks:
        return None, "the goal has no blocks"
    if pace is None:
        return None, "no block is done yet"
    moments = [_moment(block["done_at"]) for block in blocks if block["done_at"]]
    if left == 0:
        return max(moments), "every block is done"
    done = sum(block["minutes"] for block in _with_status(blocks, "done"))
    since = _moment(pace["since"])
    ahead = max(now - since, DAY) * left / done
    if ahead > FARTHEST:
        return None, "at the pace so far it would take more than a century"
    return (
        now + ahead,
        f"{left} minutes left at {pace['minutes_per_day']:g} a day, all days counted",
    )


def _target(target: date, finish: datetime | None, left: int, now: datetime) -> Row:
    """The target day counts as a whole, in UTC."""
    end = datetime(target.year, target.month, target.day, tzinfo=UTC) + DAY
    return {
        "date": target.isoformat(),
        "on_target": None if finish is None else finish < end,
        "minutes_per_day_needed": (
            round(left / max((end - now) / DAY, 1.0), 2) if left and end > now else None
        ),
    }


def _open_blocks(blocks: Sequence[Row]) -> Row:
    """Those that can be begun now, and those that wait for others."""
    done = {block["block_no"] for block in _with_status(blocks, "done")}
    waits = {
        block["block_no"]: [number for number in block["depends_on"] if number not in done]
        for block in _with_status(blocks, "todo")
    }
    return {
        "ready": [number for number, others in waits.items() if not others],
        "blocked": [
            {"block_no": number, "waits_for": others} for number, others in waits.items() if others
        ],
    }


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
