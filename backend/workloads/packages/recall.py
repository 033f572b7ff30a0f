"""Taking back what was approved: before it is published, and after."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.roles import Principal
from backend.problems import Conflict, NotFound
from backend.workloads.packages import approval_sql as sql
from backend.workloads.packages.approval import APPROVED, lock, still_decides
from backend.workloads.packages.lifecycle import PUBLISHING_QUEUE


def recall(session: Session, row_id: int, *, by: Principal, reason: str) -> str:
    """Take back an approval; what was published is taken back by the publisher. Idempotent.

    Returns:
        Where it rests or goes: ``Pending Approval`` where nothing was published, else ``Recalled``.

    Raises:
        NotFound: there is no such package.
        Conflict: nobody has approved it.
        Forbidden: the role was taken away meanwhile.
    """
    still_decides(session, by)
    found = lock(session, [row_id]).get(row_id)
    if found is None:
        raise NotFound(f"There is no package {row_id}.")
    if found.recall or found.status == "Recalled":
        return "Recalled"
    if not approved(found):
        raise Conflict(
            f"Package {row_id} is {found.status}: nobody has approved it.", code="not-approved"
        )
    returned = take_back(session, [found], by=by, reason=reason)
    return "Pending Approval" if returned else "Recalled"


def approved(row: Row[Any]) -> bool:
    """Whether somebody has approved it, and it may be published by now or soon."""
    failed = row.status == "Rejected" and row.failed_from == PUBLISHING_QUEUE.ready
    return not row.recall and (failed or row.status in APPROVED)


def take_back(
    session: Session, rows: Iterable[Row[Any]], *, by: Principal, reason: str
) -> list[int]:
    """Void the approval of :func:`approved` rows, which are locked.

    Where publishing was begun, nobody knows what the registry has: the publisher takes it back.

    Returns:
        Those that wait for approval again.
    """
    status = {row.id: str(row.status) for row in rows}
    ids = sorted(status)
    tried = {*session.connection().exec_driver_sql(sql.TRIED, {"ids": ids}).scalars()}
    fresh = [i for i in ids if status[i] == "Approved" and i not in tried]
    running = [i for i in ids if status[i] == "Publishing"]
    public = [i for i in ids if i not in {*fresh, *running}]
    sql.run(session, sql.DECIDE, ids, decision="recall", by=by.id, reason=reason)
    sql.run(session, sql.RETURN, fresh)
    sql.run(session, sql.TAKE_BACK_LATER, running)
    sql.run(session, sql.TAKE_BACK, public)
    subjects = [f"package:{row_id}" for row_id in ids]
    audit.record_each(session, by, "package.recalled", subjects, reason=reason)
    return fresh
