"""Schedules under a clock that a test sets, fired by as many workers as it likes."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

from sqlalchemy import func, insert, select

from backend.autocommit import Autocommit
from backend.workloads.tasks.model import Task
from backend.workloads.tasks.schedules import firing
from backend.workloads.tasks.schedules.cron import Cron
from backend.workloads.tasks.schedules.model import Schedule, ScheduleFire
from tests.integration.tasks.task_house import TaskHouse


class Died(Exception):
    """A worker that died before it could commit."""


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


class Clock:
    """What time it is for the schedules of a house."""

    def __init__(self, house: TaskHouse, now: str) -> None:
        self.house = house
        self.now = moment(now)
        self.statements = Autocommit(house.engine)

    def schedule(self, cron: str = "*/10 * * * *", **columns: Any) -> int:
        """One that begins now; its id."""
        given: dict[str, Any] = {
            "name": f"s{self.house.database.one('SELECT count(*) FROM schedules')}",
            "task_type": "say", "parameters": {}, "timezone": "UTC", "unique_pending": False,
            "created_by": self.house.people.user.id, **columns,
        }  # fmt: skip
        due = next(Cron(cron, given["timezone"]).after(self.now))
        row = {**given, "cron": cron, "next_fire_at": due, "moved_at": self.now}
        with self.house.sessions.begin() as session:
            return session.scalars(insert(Schedule).values(row).returning(Schedule.id)).one()

    def look(self, now: datetime | str) -> set[str]:
        """One worker looks; the queues that it made ready."""
        self.now = moment(now) if isinstance(now, str) else now
        house = self.house
        return {*firing.fire_due(house.sessions, self.statements, house.settings, now=self.now)}

    def fire(self, schedule_id: int, now: str) -> None:
        """One worker fires one schedule, and leaves all others alone."""
        with self.house.sessions.begin() as session:
            firing.fire(session, self.house.settings, schedule_id, now=moment(now))

    def look_together(self, now: datetime, workers: int = 2) -> None:
        """Several do at the same moment."""
        together = Barrier(workers)

        def one(_number: int) -> None:
            together.wait()
            firing.fire_due(self.house.sessions, self.statements, self.house.settings, now=now)

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(one, range(workers)))
        self.now = now

    def die_firing(self, schedule_id: int, now: datetime) -> None:
        """A worker fires one, and dies before it could commit."""
        with suppress(Died), self.house.sessions.begin() as session:
            firing.fire(session, self.house.settings, schedule_id, now=now)
            raise Died

    def row(self, schedule_id: int) -> Schedule:
        with self.house.sessions.begin() as session:
            return session.get_one(Schedule, schedule_id)

    def fires(self, schedule_id: int) -> dict[datetime, str]:
        """What came of each of its times, by the outcome's word."""
        of_this = ScheduleFire.schedule_id == schedule_id
        wanted = select(ScheduleFire).where(of_this).order_by(ScheduleFire.fire_at)
        with self.house.sessions.begin() as session:
            return {row.fire_at: row.outcome for row in session.scalars(wanted)}

    def outcomes(self, schedule_id: int) -> list[str]:
        return [*self.fires(schedule_id).values()]

    def tasks(self, schedule_id: int) -> int:
        """How many its times submitted."""
        mine = select(ScheduleFire.task_row).where(ScheduleFire.schedule_id == schedule_id)
        with self.house.sessions.begin() as session:
            return session.scalars(
                select(func.count()).select_from(Task).where(Task.id.in_(mine))
            ).one()

    def all_tasks(self) -> int:
        return int(self.house.database.one("SELECT count(*) FROM tasks"))


def every(expression: str, zone: str, start: str, end: datetime) -> list[datetime]:
    """All times of an expression until ``end``, that one included."""
    found, cron = [], Cron(expression, zone)
    for time in cron.after(moment(start)):
        if time > end:
            break
        found.append(time)
    return found


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)
