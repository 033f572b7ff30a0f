"""Every statement a worker sends, as SQLAlchemy Core. Each is one round trip.

Status words are literals, never parameters: a generic plan with ``status = $1`` loses the
partial index. ``clock_timestamp()`` never stands in an index range (it would be a filter, not
an index condition); ``now()`` does. ``docs/engine.md`` has the measurements.
"""

from backend.queue.sql.blocks import Columns, one_of, word
from backend.queue.sql.claiming import (
    adopt,
    claim,
    claim_suspect,
    next_due,
    suspects,
)
from backend.queue.sql.ending import (
    end_by_person,
    enter,
    may_judge,
    reap,
    settle,
    settle_alone,
    try_reaper_lock,
)
from backend.queue.sql.holding import (
    assign,
    commit_step,
    heartbeat,
    progress,
    report,
    still_mine,
)
from backend.queue.sql.lanes import circle, first_lanes, open_lanes
from backend.queue.sql.looking import HELD, STALLED, SUSPECT, WAITING, look, some_suspects
from backend.queue.sql.turning import turn

__all__ = [
    "HELD",
    "STALLED",
    "SUSPECT",
    "WAITING",
    "Columns",
    "adopt",
    "assign",
    "circle",
    "claim",
    "claim_suspect",
    "commit_step",
    "end_by_person",
    "enter",
    "first_lanes",
    "heartbeat",
    "look",
    "may_judge",
    "next_due",
    "one_of",
    "open_lanes",
    "progress",
    "reap",
    "report",
    "settle",
    "settle_alone",
    "some_suspects",
    "still_mine",
    "suspects",
    "try_reaper_lock",
    "turn",
    "word",
]
