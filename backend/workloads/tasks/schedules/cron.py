"""When a cron expression is due in a time zone.

The expression is matched against the wall clock by the library ``cronsim``, which knows nothing of
time zones here. What a wall clock does when it is put forward or back is decided in this module, as
cron(8) of Debian does:

- a time of day (``30 2 * * *``: neither minute nor hour begins with ``*``) is due exactly once: a
  time that is left out is due when the clock has been put forward, one that comes twice is due the
  first time;
- what repeats (``*/15 * * * *``, ``5 * * * *``) is due whenever the clock says so: not at times
  that are left out, and again at those that come twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from backend.problems import Malformed
from backend.strictjson import shown

MAX_LENGTH: Final = 100  # characters
FIELDS: Final = 5
MINUTE: Final = timedelta(minutes=1)
UTC_NAME: Final = "UTC"
OF_THE_MACHINE: Final = {"localtime"}
"""Names that mean another zone on each machine."""


@dataclass(frozen=True)
class Cron:
    """A cron expression of five fields, and the zone of the clock that it is held against."""

    expression: str
    timezone: str = UTC_NAME

    @classmethod
    def checked(cls, expression: str, timezone: str, *, now: datetime) -> "Cron":
        """One that is due some time after ``now``.

        Raises:
            Malformed: ``unknown-timezone``; ``invalid-cron``, also where it is not due within
                50 years.
        """
        if timezone not in zones():
            raise Malformed(
                f"There is no time zone {shown(timezone)}; an IANA name is like Europe/Berlin.",
                code="unknown-timezone",
            )
        if len(expression) > MAX_LENGTH or len(expression.split()) != FIELDS:
            raise _invalid("it has five fields: minute, hour, day of month, month, day of week")
        cron = cls(" ".join(expression.split()), timezone)
        try:
            if not cron.upcoming(now, 1):
                raise _invalid("it is never due")
        except CronSimError as error:
            raise _invalid(str(error)) from None
        return cron

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The times at which it is due, in UTC and ascending, all later than ``moment``.

        Ends where none follows within 50 years.

        Raises:
            CronSimError: the expression is none.
            ZoneInfoNotFoundError: this machine does not know the zone.
        """
        zone = ZoneInfo(self.timezone)
        while (found := self._next(moment.astimezone(zone), zone)) is not None:
            yield found
            moment = found

    def upcoming(self, moment: datetime, count: int) -> list[datetime]:
        return list(islice(self.after(moment), count))

    @property
    def repeats(self) -> bool:
        """Whether it is due whenever the clock says so, and not at a time of day."""
        minute, hour, *_ = self.expression.split()
        return minute.startswith("*") or hour.startswith("*")

    def _next(self, local: datetime, zone: ZoneInfo) -> datetime | None:
        """The first one that is later than ``local``.

        Where the clock will be put back meanwhile, wall times that are past come again.
        """
        moment, wall = local.astimezone(UTC), local.replace(tzinfo=None, fold=0)
        found: list[datetime] = []
        for match in CronSim(self.expression, wall - _second_pass(local)):
            found += [due for due in self._due(match, zone) if due > moment]
            if found and match > wall:
                return min(found)
        return min(found, default=None)

    def _due(self, wall: datetime, zone: ZoneInfo) -> list[datetime]:
        """When the wall clock says ``wall``, in UTC: never, once or twice."""
        moments = _moments(wall, zone)
        if self.repeats:
            return moments
        while not moments:  # left out: the first time that is not
            wall += MINUTE
            moments = _moments(wall, zone)
        return moments[:1]


@cache
def zones() -> frozenset[str]:
    """The names of all time zones that this machine knows."""
    return frozenset(available_timezones() - OF_THE_MACHINE)


def _invalid(why: str) -> Malformed:
    return Malformed(f"This cron expression cannot be used: {why}.", code="invalid-cron")


def _second_pass(local: datetime) -> timedelta:
    """By how much the clock will be put back from this very hour; zero at most times."""
    first, second = local.replace(fold=0).utcoffset(), local.replace(fold=1).utcoffset()
    assert first is not None
    assert second is not None
    return max(first - second, timedelta())


def _moments(wall: datetime, zone: ZoneInfo) -> list[datetime]:
    both = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(it for it in both if it.astimezone(zone).replace(tzinfo=None, fold=0) == wall)
