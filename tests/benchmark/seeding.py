"""Rows for a cell, laid down in bulk, and the table settled down before anything is measured."""

from collections.abc import Sequence
from typing import Any, Final

from tests.benchmark.server import Database

WAITING: Final = """
INSERT INTO bench (status, queue, priority, fairness_key)
SELECT 'open', 'alpha', (%(priorities)s::smallint[])[1 + n %% cardinality(%(priorities)s)],
  'key ' || n %% %(keys)s
FROM generate_series(1, %(rows)s) n
"""
"""One INSERT: all of its rows share one timestamp."""

BACKGROUND: Final = {
    "waiting": WAITING,
    "backing_off": """
INSERT INTO bench (status, queue, fairness_key, attempts, available_at)
SELECT 'open', 'alpha', 'key 0', 1, now() + interval '1 day' + n * interval '1 ms'
FROM generate_series(1, %(rows)s) n
""",
    "finished": """
INSERT INTO bench
  (status, queue, fairness_key, attempts, created_at, available_at, started_at, completed_at)
SELECT 'closed', 'alpha', 'key 0', 1, at, at, at, at
FROM (SELECT now() - interval '1 day' + n * interval '1 ms' AS at
      FROM generate_series(1, %(rows)s) n) old
""",
}
"""Rows that are there beside those to be drained, in the same lane, by what they are."""


def lay(
    database: Database, rows: int, *, priorities: Sequence[int] = (5,), keys: int = 1,
    background: str | None = None, behind: int = 0,
) -> None:  # fmt: skip
    """``rows`` waiting rows, and ``behind`` rows of ``background``, committed and vacuumed."""
    with database.cursor() as cursor:
        if background is not None:
            cursor.execute(BACKGROUND[background], _parameters(behind, priorities, keys))
        cursor.execute(WAITING, _parameters(rows, priorities, keys))
        cursor.execute("VACUUM (ANALYZE) bench")


def _parameters(rows: int, priorities: Sequence[int], keys: int) -> dict[str, Any]:
    return {"rows": rows, "priorities": list(priorities), "keys": keys}
