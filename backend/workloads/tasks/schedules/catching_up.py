"""What becomes of a schedule's times that are past. Pure functions.

Mostly that is one time, a few seconds ago. After an outage it may be many:

- ``one``: the last of them fires, for all of them;
- ``all``: each fires, but for those of more than a week ago;
- ``none``: the last one fires if it is not five minutes late.

The others are skipped. None is left out of the account, however many there are.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

CatchUp = Literal["one", "all", "none"]

AT_ONCE: Final = 100
"""Times in one transaction; the next takes more."""
LATE: Final = timedelta(minutes=5)
LONG_AGO: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be done: ``fired`` and ``skipped`` times, and which is the next one.

    ``following`` is None where none comes. There is ``more`` to be done where it is past, too.
    """

    fired: Sequence[datetime]
    skipped: Sequence[datetime]
    following: datetime | None
    more: bool


def turn(
    times: Iterable[datetime], clock: datetime, catch_up: str, *, known: Collection[datetime]
) -> Turn:
    """Tell what becomes of the first ``AT_ONCE`` of ``times`` that are past.

    Args:
        times: of the schedule, ascending; no more of them are asked for than are needed.
        clock: what time it is.
        catch_up: one of the words above.
        known: those that were dealt with before.
    """
    coming = iter(times)
    past: list[datetime] = []
    while (following := next(coming, None)) is not None:
        if following > clock or len(past) == AT_ONCE:
            break
        past.append(following)
    more = following is not None and following <= clock
    fresh = [time for time in past if time not in known]
    last = [] if more else fresh[-1:]
    chosen = {
        "one": last,
        "all": [time for time in fresh if clock - time <= LONG_AGO],
        "none": [time for time in last if clock - time <= LATE],
    }[catch_up]
    return Turn(chosen, [time for time in fresh if time not in chosen], following, more)
