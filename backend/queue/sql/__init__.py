"""Every statement a worker sends, as SQLAlchemy Core. Each is one round trip.

Status words are literals, never parameters: a generic plan with ``status = $1`` loses the
partial index. ``clock_timestamp()`` never stands in an index range (it would be a filter, not
an index condition); ``now()`` does. ``docs/engine.md`` has the measurements.
"""

from backend.queue.sql.blocks import one_of, word
from backend.queue.sql.claiming import (
    adopt,
    claim,
    claim_suspect,
    fairness_keys,
    next_due,
    suspects,
)
from backend.queue.sql.ending import end_by_person, enter, may_judge, reap, settle, try_reaper_lock
from backend.queue.sql.holding import (
    commit_step,
    heartbeat,
    progress,
    still_mine,
)

__all__ = [
    "adopt",
    "claim",
    "claim_suspect",
    "commit_step",
    "end_by_person",
    "enter",
    "fairness_keys",
    "heartbeat",
    "may_judge",
    "next_due",
    "one_of",
    "progress",
    "reap",
    "settle",
    "still_mine",
    "suspects",
    "try_reaper_lock",
    "word",
]
