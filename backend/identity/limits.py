"""Rate limits in PostgreSQL, one for all API processes.

The generic cell rate algorithm (ITU-T I.371): a bucket is one moment, and taking is one statement.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NoReturn

from backend.autocommit import Autocommit, Statement
from backend.identity.callers import Called, Deed, Question
from backend.identity.roles import Role, Scope
from backend.problems import TooManyRequests

MINUTE: Final = timedelta(minutes=1)

FORGOTTEN: Final = "1 minute"
"""How long an empty bucket stays: somebody who comes again finds it, which is cheaper."""

# In PostgreSQL's words: how full a bucket is once one more use is taken.
_FULLER: Final = "greatest(bucket.empty_at, now()) + %(share)s::interval"
_FITS: Final = f"{_FULLER} <= now() + %(per)s::interval"

# A few empty buckets go with each that may be new, so that names tried by strangers never pile up.
# They are locked after the bucket that is taken, and none is waited for: two takes never deadlock.
# Not durable: a crash of the database loses the uses of its last moments, and no more.
_TAKE: Final = Statement(
    f"""
WITH taken AS (
  INSERT INTO rate_limits AS bucket (key, empty_at) VALUES (%(key)s, now() + %(share)s::interval)
  ON CONFLICT (key) DO UPDATE SET empty_at = {_FULLER}
  WHERE {_FITS}
  RETURNING key),
swept AS (
  DELETE FROM rate_limits WHERE key IN (
    SELECT key FROM rate_limits
    WHERE empty_at < now() - interval '{FORGOTTEN}' AND key <> (SELECT key FROM taken)
    ORDER BY empty_at LIMIT 10 FOR UPDATE SKIP LOCKED))
SELECT key FROM taken
""",  # noqa: S608 - constants of this module
    durable=False,
)
_TOOK: Final = "taken.taken"
_IF_TAKEN: Final = "LEFT JOIN taken ON true"
_WAIT: Final = Statement("""
SELECT extract(epoch FROM empty_at + %(share)s::interval - now() - %(per)s::interval) AS seconds
FROM rate_limits WHERE key = %(key)s
""")


@dataclass(frozen=True, slots=True)
class Rate:
    """How often each user may do something; ``per_minute`` is asked each time."""

    name: str
    per_minute: Callable[[], int]

    def question(self, role: Role, scope: Scope | None) -> Question:
        """Who calls, and one use taken of a bucket that is there and has room.

        They have at least that role, and a key that scope.
        """
        return Question(
            steps=self._taken(role, scope), columns=_TOOK, join=_IF_TAKEN, durable=False
        )

    def joint(self, role: Role, scope: Scope | None, deed: Deed) -> Question:
        """The same, and what is done with that use: all of it in one transaction."""
        return Question(
            steps=f"{self._taken(role, scope)}, {deed.steps}",
            columns=f"{_TOOK}, {deed.columns}",
            join=f"{_IF_TAKEN} {deed.join}",
        )

    def _taken(self, role: Role, scope: Scope | None) -> str:
        roles = ", ".join(f"'{one}'" for one in Role if one.includes(role))
        keys = f" OR '{scope}' = ANY (scopes)" if scope else ""
        return f"""
taken AS (
  UPDATE rate_limits AS bucket SET empty_at = {_FULLER}
  WHERE {_FITS} AND key = (
    SELECT '{self.name}:' || id FROM caller WHERE role IN ({roles}) AND (scopes IS NULL{keys}))
  RETURNING true AS taken)
"""  # noqa: S608 - words of this release

    def values(self) -> dict[str, Any]:
        """What the question needs."""
        return _values(self.per_minute(), MINUTE)

    def demand(self, statements: Autocommit, called: Called) -> None:
        """Raises TooManyRequests, as :func:`demand` does, where no use can be taken."""
        if not called.rest[0]:
            demand(statements, f"{self.name}:{called.principal.id}", self.per_minute(), MINUTE)


def take(statements: Autocommit, key: str, limit: int, per: timedelta) -> float:
    """Take one of ``limit`` uses of ``key`` in any stretch of ``per``; refills evenly.

    Committed by itself: what follows may fail, the use stays counted.

    Returns:
        Seconds until the next use is allowed; 0 where this one was and has been counted.
    """
    values = {"key": key, **_values(limit, per)}
    return 0.0 if statements.rows(_TAKE, values) else _wait(statements, values)


def demand(statements: Autocommit, key: str, limit: int, per: timedelta) -> None:
    """Take one use, or refuse.

    Raises:
        TooManyRequests: with ``retry_after`` in whole seconds.
    """
    wait = take(statements, key, limit, per)
    if wait:
        _refuse(wait)


def _values(limit: int, per: timedelta) -> dict[str, Any]:
    return {"share": per / limit, "per": per}


def _wait(statements: Autocommit, values: Mapping[str, Any]) -> float:
    """Seconds until the next use."""
    return max([0.001, *(float(row.seconds) for row in statements.rows(_WAIT, values))])


def _refuse(wait: float) -> NoReturn:
    seconds = math.ceil(wait)
    raise TooManyRequests(f"Too many attempts: try again in {seconds} s.", retry_after=seconds)
