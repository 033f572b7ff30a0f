"""Verdicts follow the waivers in force: when one begins, and, by itself, when it has ended.

Everything is asked of the database each time, so what a worker that died left undone is done by the
next one that looks.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.orm import Session

from backend.autocommit import Autocommit
from backend.db import Sessions
from backend.identity import audit
from backend.queue import control
from backend.queue.duty import Duty
from backend.workloads.packages import approval
from backend.workloads.packages.lifecycle import INSPECT, VETTING_QUEUE
from backend.workloads.packages.ranges import includes
from backend.workloads.packages.revetting import judge_anew
from backend.workloads.packages.waivers import settling_sql as sql

ACTOR: Final = "waivers"
"""Who acts, in the audit log."""


@dataclass(frozen=True, slots=True)
class Settled:
    """``reopened`` rows are judged again; ``flagged`` are published packages, by row id."""

    reopened: Sequence[int]
    flagged: Sequence[int]


def follow(sessions: Sessions, _statements: Autocommit) -> Collection[str]:
    """What a worker does when something has begun or ended: :data:`DUTY`."""
    with sessions.begin() as session:
        return keep(session)


DUTY: Final = Duty(name="waivers", run=follow, due=sql.DUE)


def keep(session: Session) -> Collection[str]:
    """Settle what is due: cheap where nothing has begun or ended.

    Returns:
        Names of the queues in which rows became ready.
    """
    connection = session.connection()
    if not connection.exec_driver_sql(f"SELECT {sql.DUE}").scalar_one():
        return ()
    if not connection.exec_driver_sql(sql.TRY_LOCK).scalar_one():
        return ()
    return (VETTING_QUEUE.name,) if settle(session).reopened else ()


def one_at_a_time(session: Session) -> None:
    """Whoever seconds or revokes takes this first: a worker that settles locks waivers, too."""
    session.connection().exec_driver_sql(sql.LOCK)


def settle(session: Session) -> Settled:
    """Settle what is due; the caller holds :func:`one_at_a_time`, or a worker's turn, and commits.

    A waiver begins with the packages that it may be for judged again, and ends in the same way.
    """
    connection = session.connection()
    resting = [*connection.exec_driver_sql(sql.REOPENED).scalars()]
    begun = _begun(session)
    approval.lock(session, [*resting, *begun])  # all at once: several statements follow
    reopened = [*judge_anew(session, resting, actor=ACTOR), *_judge(session, begun)]
    raised = [*connection.exec_driver_sql(sql.FLAG).scalars()]
    raised += connection.exec_driver_sql(sql.UNCOVER).scalars()
    _cover(session)
    flagged = _told(session, raised)
    for row in connection.exec_driver_sql(sql.ENDINGS).all():
        if row.expired:
            audit.record(session, ACTOR, "waiver.expired", f"waiver:{row.id}")
    return Settled(sorted(reopened), flagged)


def _begun(session: Session) -> dict[int, Row[Any]]:
    """What waivers that have just begun may be for."""
    connection = session.connection()
    connection.exec_driver_sql(sql.APPLIED)
    found = connection.exec_driver_sql(sql.CONCERNED).all()
    return {row.id: row for row in found if includes(row.range, row.version)}


def _judge(session: Session, rows: Mapping[int, Row[Any]]) -> list[int]:
    """Judge it again; what was refused before a byte was read is vetted from the start."""
    waiting = [i for i, row in rows.items() if row.status == VETTING_QUEUE.done]
    refused = [i for i in rows if i not in waiting]
    read = [i for i in refused if rows[i].inspected]
    unread = [i for i in refused if not rows[i].inspected]
    return [
        *judge_anew(session, waiting, actor=ACTOR),
        *control.reopen(session, VETTING_QUEUE, read, step=INSPECT, failures=("policy",)),
        *control.reopen(session, VETTING_QUEUE, unread, failures=("policy",)),
    ]


def _cover(session: Session) -> None:
    """Flags that another waiver answers by now; the one that ends last counts."""
    connection = session.connection()
    covers = {
        row.id: row.waiver_id
        for row in connection.exec_driver_sql(sql.COVERING)
        if includes(row.range, row.version)
    }
    if covers:
        asked = {"flags": [*covers], "waivers": [*covers.values()]}
        connection.exec_driver_sql(sql.COVER, asked)


def _told(session: Session, flags: Sequence[int]) -> list[int]:
    """Note what is published and rests on nothing any more, and tell who wants to hear of it."""
    if not flags:
        return []
    found = session.connection().exec_driver_sql(sql.TOLD, {"flags": [*flags]}).all()
    for row in found:
        audit.record(
            session, ACTOR, "package.waiver-ended", f"package:{row.id}", waiver=row.waiver_id
        )
    return [row.id for row in found]
