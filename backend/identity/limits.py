"""Rate limits in PostgreSQL, one for all API processes.

The generic cell rate algorithm (ITU-T I.371): a bucket is one moment, and taking is one statement.
"""

import math
from datetime import timedelta
from typing import Final

from backend.autocommit import Autocommit, Statement
from backend.problems import TooManyRequests

# A few empty buckets go with each take, so that names tried by strangers never pile up. They are
# locked after the bucket that is taken, and none is waited for: two takes never deadlock.
_TAKE: Final = Statement("""
WITH taken AS (
  INSERT INTO rate_limits AS bucket (key, empty_at) VALUES (%(key)s, now() + %(share)s::interval)
  ON CONFLICT (key) DO UPDATE SET empty_at = greatest(bucket.empty_at, now()) + %(share)s::interval
  WHERE greatest(bucket.empty_at, now()) + %(share)s::interval <= now() + %(per)s::interval
  RETURNING key),
swept AS (
  DELETE FROM rate_limits WHERE key IN (
    SELECT key FROM rate_limits
    WHERE EXISTS (SELECT FROM taken) AND empty_at < now() AND key <> %(key)s
    ORDER BY empty_at LIMIT 10 FOR UPDATE SKIP LOCKED))
SELECT key FROM taken
""")
_WAIT: Final = Statement("""
SELECT extract(epoch FROM empty_at + %(share)s::interval - now() - %(per)s::interval) AS seconds
FROM rate_limits WHERE key = %(key)s
""")


def take(statements: Autocommit, key: str, limit: int, per: timedelta) -> float:
    """Take one of ``limit`` uses of ``key`` in any stretch of ``per``; refills evenly.

    Committed by itself: what follows may fail, the use stays counted.

    Returns:
        Seconds until the next use is allowed; 0 where this one was and has been counted.
    """
    values = {"key": key, "share": per / limit, "per": per}
    if statements.rows(_TAKE, values):
        return 0.0
    waits = [float(row.seconds) for row in statements.rows(_WAIT, values)]
    return max([0.001, *waits])


def demand(statements: Autocommit, key: str, limit: int, per: timedelta) -> None:
    """Take one use, or refuse.

    Raises:
        TooManyRequests: with ``retry_after`` in whole seconds.
    """
    wait = take(statements, key, limit, per)
    if wait:
        seconds = math.ceil(wait)
        raise TooManyRequests(f"Too many attempts: try again in {seconds} s.", retry_after=seconds)
