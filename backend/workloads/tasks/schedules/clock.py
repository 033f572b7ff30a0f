"""What time it is, by the database's clock."""

from datetime import datetime

from sqlalchemy import ColumnElement, DateTime, cast, func, literal


def clock(now: datetime | None = None) -> ColumnElement[datetime]:
    """The moment itself, which goes on in a transaction; or ``now`` instead of it."""
    moment = func.clock_timestamp() if now is None else literal(now)
    return cast(moment, DateTime(timezone=True))
