"""History in partitions of a week: those to come are made, those that are too old are dropped."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

WEEKS_AHEAD: Final = 2
"""Nobody may be there to make a partition for so long, and no line goes astray."""

STRAYS_AT_ONCE: Final = 10_000
"""Lines that one call deletes from the default partition: well under a second."""

PARTITION: Final = re.compile(r"attempts_(?:(\d{4})_w(\d{2})|default)")

_LOCK_NOT_AVAILABLE: Final = "55P03"

# A settlement waits behind us for as long as we wait for our lock.
_SHORT_WAITS = text("SET LOCAL lock_timeout = '2s'")
_TRY_TURN = select(func.pg_try_advisory_xact_lock(func.hashtextextended("attempts by week", 0)))
_PARTITIONS = text(
    "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
    " WHERE inhparent = 'attempts'::regclass"
)
_STRAYS = text(
    "SELECT EXISTS (SELECT FROM attempts_default WHERE ended_at >= :begins AND ended_at < :ends)"
)
_DELETE_STRAYS = text(
    "DELETE FROM attempts_default WHERE (ended_at, id) IN"
    " (SELECT ended_at, id FROM attempts_default WHERE ended_at < :before"
    " ORDER BY ended_at, id LIMIT :limit)"
    " RETURNING id"
)
_MAY_DROP = text("SELECT has_function_privilege('attempts_drop_week(timestamptz)', 'EXECUTE')")
_DROP = text("SELECT attempts_drop_week(:begins)")
_MAKE = text("SELECT attempts_make_week(:begins)")


@dataclass(frozen=True, slots=True)
class Week:
    """A week of ISO 8601 in UTC, from Monday to Monday."""

    begins: datetime

    @classmethod
    def of(cls, moment: datetime) -> "Week":
        """The week that holds ``moment``, which knows its time zone."""
        year, week, _ = moment.astimezone(UTC).isocalendar()
        return cls(datetime.fromisocalendar(year, week, 1).replace(tzinfo=UTC))

    @classmethod
    def named(cls, partition: str) -> "Week | None":
        """The week of a partition's name; None for the default one and for a stranger's."""
        found = PARTITION.fullmatch(partition)
        if found is None or found[1] is None:
            return None
        try:
            begins = datetime.fromisocalendar(int(found[1]), int(found[2]), 1)
        except ValueError:
            return None
        return cls(begins.replace(tzinfo=UTC))

    @property
    def ends(self) -> datetime:
        return self.begins + timedelta(days=7)

    @property
    def partition(self) -> str:
        return self.begins.strftime("attempts_%G_w%V")


@dataclass(frozen=True, slots=True)
class Maintained:
    """What one call did, in names of partitions; ``deleted`` counts lines of the default one.

    ``blocked`` partitions could not be made, as lines of their week lie in the default one
    already, or could not be dropped, as somebody read history for too long.
    """

    created: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    deleted: int = 0


def is_partition(table: str) -> bool:
    """Whether a table of this name is a part of the history."""
    return PARTITION.fullmatch(table) is not None


def maintain(session: Session, now: datetime | None = None, *, keep: timedelta) -> Maintained:
    """Make the partitions of this and the next two weeks; drop what ended over ``keep`` ago.

    Lines that found no partition lie in the default one, are read like all others and are deleted
    by age, some at a time. They are never moved: that would stop every settlement meanwhile. The
    week they belong to gets no partition. A role that may not drop a week only makes new ones.

    Args:
        now: the database's clock, where absent.
        keep: a partition is dropped once its last line is older.

    Returns:
        What was done; nothing where another worker is at it.

    Raises:
        sqlalchemy.exc.DBAPIError: nothing was done. 42501: this role may not make
            weeks; 55P03: a partition to be made did not get its lock within two seconds.
    """
    if not session.scalar(_TRY_TURN):
        return Maintained()
    session.execute(_SHORT_WAITS)
    moment = now or session.scalars(select(func.now())).one()
    present = set(session.scalars(_PARTITIONS))
    # Dropped first: it locks the parent and then the default partition, as readers do. The other
    # way round the two could wait for each other.
    may_drop = session.scalars(_MAY_DROP).one()
    gone = _forget(session, present, moment - keep) if may_drop else Maintained()
    created, blocked = _create(session, present, moment)
    return replace(gone, created=created, blocked=(*blocked, *gone.blocked))


def _forget(session: Session, present: Iterable[str], before: datetime) -> Maintained:
    """Drop the weeks that ended before, and delete the lines that did, as many as go at once."""
    found = session.execute(_DELETE_STRAYS, {"before": before, "limit": STRAYS_AT_ONCE})
    deleted = len(found.all())
    weeks = filter(None, map(Week.named, sorted(present)))
    old = [week for week in weeks if week.ends <= before]
    names = tuple(week.partition for week in old)
    if _drop(session, old):
        return Maintained(dropped=names, deleted=deleted)
    return Maintained(blocked=names, deleted=deleted)


def _drop(session: Session, weeks: Sequence[Week]) -> bool:
    """Whether they are gone; False where somebody reads history, who is not to be waited for."""
    try:
        with session.begin_nested():
            for week in weeks:
                session.execute(_DROP, {"begins": week.begins})
    except OperationalError as error:
        if getattr(error.orig, "pgcode", None) != _LOCK_NOT_AVAILABLE:
            raise
        return False
    return True


def _create(
    session: Session, present: set[str], moment: datetime
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    created, blocked = [], []
    for ahead in range(WEEKS_AHEAD + 1):
        week = Week.of(moment + timedelta(weeks=ahead))
        if week.partition in present:
            continue
        if session.scalar(_STRAYS, {"begins": week.begins, "ends": week.ends}):
            blocked.append(week.partition)
            continue
        session.execute(_MAKE, {"begins": week.begins})
        created.append(week.partition)
    return tuple(created), tuple(blocked)
