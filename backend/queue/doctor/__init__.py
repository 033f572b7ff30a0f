"""Is this database sound? Invariants, schema and health, in seconds, while everything runs.

Nothing is written, and no question reads a large table whole.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from backend.queue.doctor import health, history, lanes, leases, schema
from backend.queue.doctor.findings import (
    Check,
    Examination,
    Finding,
    Limits,
    Release,
    warning,
)
from backend.queue.lifecycle import Queue
from backend.queue.sql import server

__all__ = ["CHECKS", "Finding", "Limits", "Release", "examine"]

CHECKS: Final[Mapping[str, Check]] = {
    "the schema's revision": schema.revision,
    "tables with their constraints and indexes": schema.catalogue,
    "rows that a missing constraint would have refused": schema.violations,
    "leases": leases.stuck,
    "rows without progress": leases.unmoving,
    "rows of lost workers": leases.left_behind,
    "attempts": leases.spent,
    "history": history.lines,
    "history of ended rows": history.untold,
    "queues that stand still": lanes.movement,
    "versions of the workers": lanes.versions,
    "PostgreSQL and its connections": health.service,
    "long transactions and pinned horizons": health.transactions,
    "prepared transactions": health.prepared,
    "replication slots": health.slots,
    "dead tuples": health.dead_tuples,
    "index bloat": health.bloat,
}
"""What is looked at, in this order."""

_CONNECTION_LOST: Final = ("08", "57P")  # SQLSTATE classes


def examine(
    session: Session,
    queues: Sequence[Queue],
    *,
    release: Release | None = None,
    limits: Limits | None = None,
    checks: Mapping[str, Check] = CHECKS,
) -> list[Finding]:
    """Examine the database behind ``session``; answers what is wrong.

    Makes the session's transaction read-only. A question that cannot be answered (it takes too
    long, the role may not ask it, the schema lacks what it asks for) is a finding of its own,
    ``not-checked``, and the others are asked all the same.

    Args:
        queues: those whose rows are looked at.
        release: what the schema and the workers are compared with; where absent, the schema is
            compared with the models of ``queues`` alone.
        checks: what is looked at, in this order.

    Raises:
        sqlalchemy.exc.DBAPIError: the connection is lost.
    """
    examination = Examination(
        session=session, queues=queues, release=release, limits=limits or Limits()
    )
    session.execute(server.READ_ONLY)
    milliseconds = int(examination.limits.statement.total_seconds() * 1000)
    session.execute(server.STATEMENT_TIMEOUT, {"milliseconds": str(milliseconds)})
    return [
        finding for name, check in checks.items() for finding in _findings(examination, name, check)
    ]


def _findings(examination: Examination, name: str, check: Check) -> list[Finding]:
    found: list[Finding] = []
    try:
        with examination.session.begin_nested():
            found.extend(check(examination))
    except DBAPIError as failed:
        code = getattr(failed.orig, "pgcode", None)
        if code is None or code.startswith(_CONNECTION_LOST):
            raise
        said = str(failed.orig).strip().splitlines()[0]
        sentence = f"{name[:1].upper()}{name[1:]} could not be checked: {said}."
        found.append(warning("not-checked", sentence, check=name, sqlstate=code))
    return found
