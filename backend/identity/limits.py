"""Rate limits in PostgreSQL, one for all API processes.

The generic cell rate algorithm (ITU-T I.371): a bucket is one moment, and taking is one statement.
"""

import math
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.db import Sessions
from backend.problems import TooManyRequests

_TAKE = text("""
    INSERT INTO rate_limits AS bucket (key, empty_at) VALUES (:key, now() + :share)
    ON CONFLICT (key) DO UPDATE SET empty_at = greatest(bucket.empty_at, now()) + :share
    WHERE greatest(bucket.empty_at, now()) + :share <= now() + :per
    RETURNING 1
""")
_WAIT = text("""
    SELECT extract(epoch FROM empty_at + :share - now() - :per) FROM rate_limits WHERE key = :key
""")
# A few empty buckets go with each take, so that names tried by strangers never pile up.
_SWEEP = text("""
    DELETE FROM rate_limits WHERE key IN (
        SELECT key FROM rate_limits WHERE empty_at < now() AND key <> :key
        ORDER BY empty_at LIMIT 10 FOR UPDATE SKIP LOCKED)
""")


def take(session: Session, key: str, limit: int, per: timedelta) -> float:
    """Take one of ``limit`` uses of ``key`` in any stretch of ``per``; refills evenly.

    Returns:
        Seconds until the next use is allowed; 0 where this one was and has been counted.
    """
    values = {"key": key, "share": per / limit, "per": per}
    if session.execute(_TAKE, values).first():
        session.execute(_SWEEP, {"key": key})
        return 0.0
    return max(0.001, float(session.execute(_WAIT, values).scalar() or 0))


def demand(sessions: Sessions, key: str, limit: int, per: timedelta) -> None:
    """``take`` in a transaction of its own: what follows may fail, the use stays counted.

    Raises:
        TooManyRequests: with ``retry_after`` in whole seconds.
    """
    with sessions.begin() as session:
        wait = take(session, key, limit, per)
    if wait:
        seconds = math.ceil(wait)
        raise TooManyRequests(f"Too many attempts: try again in {seconds} s.", retry_after=seconds)
