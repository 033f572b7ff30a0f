"""Does the history agree with itself and with the rows?"""

from collections.abc import Iterator

from backend.queue.doctor.findings import Examination, Finding, error, rows_of
from backend.queue.sql import examining
from backend.queue.wording import when


def lines(e: Examination) -> Iterator[Finding]:
    most = {"most": e.limits.lines}
    for line in e.session.execute(examining.told_twice(), most):
        yield error(
            "attempt-told-twice",
            f"One attempt at row {line.row_id} of the queue {line.queue} has {line.lines} lines in"
            " the history: it was ended more than once.",
            queue=line.queue,
            id=line.row_id,
            lines=line.lines,
        )
    for line in e.session.execute(examining.overlapping(), most):
        yield error(
            "attempts-overlap",
            f"Two attempts at row {line.row_id} of the queue {line.queue} overlap: one began at"
            f" {when(line.started_at)}, the one before ended at {when(line.before)}. Two workers"
            " held one row, or the server's clock was set back.",
            queue=line.queue,
            id=line.row_id,
            started_at=line.started_at,
            before=line.before,
        )


def untold(e: Examination) -> Iterator[Finding]:
    for queue in e.queues:
        found = e.session.execute(examining.untold(queue), {"most": e.limits.rows}).all()
        if found:
            ids = [row.id for row in found]
            yield error(
                "history-missing",
                f"{rows_of(len(ids), ids, queue.table)} ended within a day as {found[0].status!r},"
                " and no line of the history says so: something other than the engine has written"
                " to them, or lines were deleted.",
                queue=queue.name,
                ids=ids,
            )
