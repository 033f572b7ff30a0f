"""How parsing failed: in one word for programs, and for admins where in the code.

The history of attempts has what was said when one ended. That may hold a stranger's words, so what
is shown of it is not what is left after something is taken away, but only what is known here.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

from sqlalchemy import ARRAY, BigInteger, cast, func, literal, select, true
from sqlalchemy.orm import Session

from backend.identity.roles import Principal, Role
from backend.queue.attempts import Attempt
from backend.queue.lifecycle import FAILURES
from backend.workloads.splunk.lifecycle import SPLUNK_QUEUE
from backend.workloads.splunk.model import IngestionRun

ErrorType = Literal["permanent", "transient_exhausted", "timeout", "unexpected"]

LINES: Final = 10
"""Attempts of one run that are read: four of its own, and what a worker's death adds."""

_ERROR_TYPES: Final[dict[str | None, ErrorType | None]] = {
    **dict.fromkeys(FAILURES, "unexpected"),
    "permanent": "permanent",
    "exhausted": "transient_exhausted",
    "timeout": "timeout",
}
_PLACE: Final = r"[A-Za-z_]\w* in [\w.-]+\.py:\d+"
"""``KeyError in parsing.py:42``, with which a step's child begins what nobody expected."""

_IN_CODE: Final = re.compile(_PLACE)
_KNOWN: Final = re.compile(
    rf"{_PLACE}"
    r"|killed by SIG[A-Z0-9]+"
    r"|killed at the hard limit of [\d.]+ s"
    r"|soft limit of [\d.]+ s"
    r"|out of its (?:memory )?limit of \d+ MiB(?: a file)?"
    r"|exited with -?\d+"
    r"|stalled \d+ time\(s\)"
    r"|[A-Z]\w*(?:Error|Exception|Timeout|Refused)(?=:)"
)
_REFUSED: Final = re.compile(r"[a-z]+: its result cannot be stored: [A-Za-z]+")
"""Of a broken archive nothing else is shown: names of its members may be in what was said."""


def error_type(failure: str | None, error: str | None) -> ErrorType | None:
    """The API's word for how a run failed; None where it did not.

    Args:
        failure: one of ``lifecycle.FAILURES``, or None.
        error: what was said when it failed.
    """
    if failure == "exhausted" and error is not None and _IN_CODE.match(error):
        return "unexpected"  # every try met the same fault of our own
    return _ERROR_TYPES.get(failure)


def place(attempt: Any) -> str:
    """One line on an attempt that failed: which, how, and where in the code."""
    known = _REFUSED if attempt.failure == "permanent" else _KNOWN
    said = known.match(attempt.error or "")
    how = attempt.failure or attempt.outcome
    begins = f"attempt {attempt.attempt}, {attempt.step or 'parse'}: {how}"
    return f"{begins}: {said[0]}" if said else begins


def of_last_parse(newest_first: Iterable[Any]) -> list[Any]:
    """The attempts since the run was last accepted, oldest first: others ended before them."""
    found: list[Any] = []
    for attempt in newest_first:
        if found and (attempt.failure or attempt.outcome == "done"):
            break
        found.append(attempt)
    return found[::-1]


def tracebacks(
    session: Session, runs: Sequence[IngestionRun], principal: Principal
) -> dict[int, str]:
    """By run: a line for each failed attempt of its last parse; for admins alone."""
    failed = [run.id for run in runs if run.error is not None]
    if not failed or not principal.may(Role.ADMIN):
        return {}
    by_run: dict[int, list[Any]] = {}
    for attempt in session.execute(_newest(failed)):
        by_run.setdefault(attempt.row_id, []).append(attempt)
    return {
        run_id: "\n".join(map(place, of_last_parse(attempts)))
        for run_id, attempts in by_run.items()
    }


def _newest(run_ids: Sequence[int]) -> Any:
    """The last lines of each run, newest first."""
    ids = func.unnest(cast(literal(run_ids, ARRAY(BigInteger)), ARRAY(BigInteger)))
    asked = ids.table_valued("id").render_derived("asked")
    columns = (Attempt.row_id, Attempt.attempt, Attempt.step, Attempt.outcome, Attempt.failure)
    lines = (
        select(*columns, Attempt.error, Attempt.id)
        .where(Attempt.queue == SPLUNK_QUEUE.name, Attempt.row_id == asked.c.id)
        .order_by(Attempt.id.desc())
        .limit(LINES)
        .lateral("lines")
    )
    return select(lines).select_from(asked.join(lines, true())).order_by(lines.c.id.desc())
