"""ARI snapshots of a window of time, as a task reads them in the worker."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVarTuple

from sqlalchemy import BigInteger, Select, cast, extract, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from backend.queue.retry import Permanent
from backend.workloads.tasks.data_model import AriSnapshot

MAX_SNAPSHOTS: Final = 500_000
"""Of one task: some 17 MB on their way to the child."""
MAX_METRICS: Final = 1_000
MICROSECONDS: Final = 1_000_000

Ts = TypeVarTuple("Ts")


def read_series(session: Session, user_id: int | None, window: timedelta) -> dict[str, Any]:
    """The snapshots of one user, or of all, that were taken in the last ``window``.

    Returns:
        ``since`` and ``until`` (ISO 8601) and ``series``, ordered by user and metric: each with its
        ``user_id``, ``metric``, ``times`` (microseconds after ``since``, ascending) and ``values``.

    Raises:
        Permanent: there are more than :data:`MAX_SNAPSHOTS`, or :data:`MAX_METRICS` of metrics.
    """
    until = session.scalars(select(func.now())).one()
    since = until - window
    _refuse_too_many(session, _within(select(AriSnapshot.id), user_id, since, until))
    rows = session.execute(_within(_grouped(since), user_id, since, until)).all()
    if len({row.metric for row in rows}) > MAX_METRICS:
        raise Permanent(f"more than {MAX_METRICS} metrics are in that window: shorten it")
    return {
        "since": since.isoformat(),
        "until": until.isoformat(),
        "series": [row._asdict() for row in rows],
    }


def _within(
    statement: Select[*Ts], user_id: int | None, since: datetime, until: datetime
) -> Select[*Ts]:
    statement = statement.where(AriSnapshot.taken_at.between(since, until))
    return statement if user_id is None else statement.where(AriSnapshot.user_id == user_id)


def _refuse_too_many(session: Session, snapshots: Select[Any]) -> None:
    some = snapshots.limit(MAX_SNAPSHOTS + 1).subquery()
    if session.scalars(select(func.count()).select_from(some)).one() > MAX_SNAPSHOTS:
        raise Permanent(f"more than {MAX_SNAPSHOTS:,} snapshots are in that window: shorten it")


def _grouped(since: datetime) -> Select[int, str, Sequence[int], Sequence[float]]:
    after = extract("epoch", AriSnapshot.taken_at - since) * MICROSECONDS
    owner, metric, taken_at = AriSnapshot.user_id, AriSnapshot.metric, AriSnapshot.taken_at
    return (
        select(
            owner,
            metric,
            func.array_agg(aggregate_order_by(cast(after, BigInteger), taken_at)).label("times"),
            func.array_agg(aggregate_order_by(AriSnapshot.value, taken_at)).label("values"),
        )
        .group_by(owner, metric)
        .order_by(owner, metric)
    )
