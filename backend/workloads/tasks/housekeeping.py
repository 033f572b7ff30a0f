"""What came of tasks goes once it is past its time.

Any number of workers may do it at the same time: what one deletes the others pass over.
"""

from datetime import timedelta
from typing import Final

import structlog

from backend.autocommit import Autocommit, Statement
from backend.db import Sessions
from backend.queue.duty import Duty
from backend.settings import Settings
from backend.workloads.tasks.models import housekeeping as models_housekeeping

log = structlog.get_logger(__name__)

AT_ONCE: Final = 1000
"""Results in one statement; the next takes more."""

_PRUNE: Final = Statement(
    f"""
DELETE FROM task_results WHERE task = ANY (ARRAY(
  SELECT task FROM task_results WHERE expires_at < now()
  ORDER BY expires_at LIMIT {AT_ONCE} FOR UPDATE SKIP LOCKED))
RETURNING task
""",  # noqa: S608 - a constant of this module
    durable=False,
)


def duties(settings: Settings) -> list[Duty]:
    """When a result expires was said when it was stored."""
    results = Duty(name="task results", every=timedelta(minutes=1), run=_run)
    return [results, *models_housekeeping.duties(settings)]


def _run(_sessions: Sessions, statements: Autocommit) -> tuple[str, ...]:
    if pruned := prune(statements):
        log.info("tasks.results_pruned", results=pruned)
    return ()


def prune(statements: Autocommit) -> int:
    """Delete every result that has expired; answers how many there were.

    Args:
        statements: each is a transaction by itself, of :data:`AT_ONCE` results.
    """
    pruned = 0
    while True:
        gone = len(statements.rows(_PRUNE, {}))
        pruned += gone
        if gone < AT_ONCE:
            return pruned
