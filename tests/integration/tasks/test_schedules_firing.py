"""Each time of a schedule is dealt with exactly once, whatever happens to workers and clocks."""

import random
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from backend.settings import Settings
from backend.workloads.tasks.lifecycle import TASKS_QUEUE
from backend.workloads.tasks.pipeline import duties
from backend.workloads.tasks.schedules import firing
from backend.workloads.tasks.schedules.model import Schedule
from backend.workloads.tasks.schedules.submitting import submit
from backend.workloads.tasks.sealing import seal
from backend.workloads.tasks.submission import Submitted
from tests.integration.tasks.schedule_clock import Clock, every, minutes, moment
from tests.integration.tasks.task_house import TaskHouse

READY = {TASKS_QUEUE.name}


@pytest.fixture
def clock(task_house: TaskHouse) -> Iterator[Clock]:
    """Noon of a quiet day, and no schedule."""
    task_house.database.run("DELETE FROM schedules")
    yield Clock(task_house, "2031-05-05T12:00Z")
    task_house.database.run("DELETE FROM schedules")


@pytest.mark.parametrize(
    "night",
    [
        pytest.param("2031-03-29T22:05Z", id="forward", marks=pytest.mark.slow),
        pytest.param("2031-10-25T22:05Z", id="back"),
    ],
)
def test_exactly_once_over_deaths_clock_steps_and_daylight_saving(
    clock: Clock, night: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two workers look at once; one dies now and then; the clock is put forward and back."""
    chance = random.Random(7)
    clock.now = now = moment(night)
    expressions = [
        ("*/20 * * * *", "Europe/Berlin"), ("30 2 * * *", "Europe/Berlin"),
        ("0,30 1 * * *", "Europe/London"), ("*/15 * * * *", "UTC"),
    ]  # fmt: skip
    made = {
        clock.schedule(cron, timezone=zone, catch_up="all"): (cron, zone)
        for cron, zone in expressions
    }
    latest, deaths, back, tasks = now, 0, 0, clock.all_tasks()
    while now < moment(night) + timedelta(hours=4.5):
        if chance.random() < 0.3:
            clock.die_firing(chance.choice([*made]), now)
            deaths += 1
        clock.look_together(now)
        step = chance.choice([-25, -3, 4, 9, 14, 31, 55])
        back += step < 0
        now = max(moment(night), now + minutes(step) + timedelta(seconds=chance.random()))
        latest = max(latest, clock.now)

    expected = {it: every(*cron, night, latest) for it, cron in made.items()}
    for schedule, times in expected.items():
        assert [*clock.fires(schedule)] == times
        assert set(clock.outcomes(schedule)) == {"submitted"}
        assert clock.tasks(schedule) == len(times)
    due = sum(map(len, expected.values()))
    assert clock.all_tasks() - tasks == due
    assert min(deaths, back) >= 2
    with capsys.disabled():  # to be read by whoever asks what that test has seen
        sys.stdout.write(
            f"\n{due} times due, {due} tasks; {deaths} deaths, clock put back {back} times\n"
        )


def test_without_the_lock_a_time_is_fired_once_all_the_same(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule, tasks = clock.schedule(), clock.all_tasks()
    now = clock.now + minutes(10)
    with clock.house.sessions() as slow:
        looked = slow.get_one(Schedule, schedule)  # and now another one is faster
        clock.look(now)
        monkeypatch.setattr(firing, "_take", lambda *_: (looked, now))
        monkeypatch.setattr(firing, "_known", lambda *_: set())
        with pytest.raises(IntegrityError, match="pk_schedule_fires"):
            firing.fire(slow, clock.house.settings, schedule, now=now)
    assert (clock.outcomes(schedule), clock.all_tasks() - tasks) == (["submitted"], 1)


def test_nothing_is_due_before_its_time_and_nothing_twice(clock: Clock) -> None:
    schedule = clock.schedule("0 13 * * *")
    assert clock.look("2031-05-05T12:59:59.9Z") == set()
    assert clock.look("2031-05-05T13:00Z") == READY
    assert clock.look("2031-05-05T13:00:05Z") == set()
    assert clock.fires(schedule) == {moment("2031-05-05T13:00Z"): "submitted"}
    said = "SELECT detail ->> 'by' FROM audit_log WHERE action = 'task.submitted' ORDER BY id DESC"
    assert clock.house.database.one(said) == f"schedule:{schedule}"
    row = clock.row(schedule)
    assert row.last_fired_at == moment("2031-05-05T13:00Z")
    assert row.next_fire_at == moment("2031-05-06T13:00Z")


@pytest.mark.parametrize(
    ("catch_up", "times", "submitted"),
    [("one", 251, 1), ("none", 251, 1), pytest.param("all", 103, 103, marks=pytest.mark.slow)],
)
def test_of_an_outage_every_time_is_accounted_for(
    clock: Clock, catch_up: str, times: int, submitted: int
) -> None:
    """More times than one transaction takes."""
    schedule = clock.schedule("* * * * *", catch_up=catch_up)
    clock.look(clock.now + minutes(times + 0.2))
    outcomes = clock.outcomes(schedule)
    assert outcomes == ["skipped"] * (times - submitted) + ["submitted"] * submitted
    assert clock.tasks(schedule) == submitted


def test_what_was_skipped_comes_round_again_when_the_clock_is_put_back(clock: Clock) -> None:
    schedule = clock.schedule("0 */3 * * *")
    clock.look("2031-05-05T15:00:02Z")
    clock.look("2031-05-07T15:00:02Z")  # the clock is two days ahead
    assert clock.outcomes(schedule) == ["submitted", *["skipped"] * 15, "submitted"]
    tasks = clock.all_tasks()

    clock.look("2031-05-05T15:30Z")  # and is put right
    assert clock.row(schedule).next_fire_at == moment("2031-05-05T18:00Z")
    for hours in range(0, 51, 3):
        clock.look(moment("2031-05-05T18:00:02Z") + timedelta(hours=hours))
    assert clock.outcomes(schedule) == ["submitted"] * 18
    assert clock.all_tasks() - tasks == 16  # that of the 7th at 15:00 had been fired


def test_what_is_being_made_up_survives_a_clock_that_is_put_back(clock: Clock) -> None:
    begun = clock.now
    schedule = clock.schedule("* * * * *")
    clock.fire(schedule, "2031-05-05T16:00Z")  # the first 100 of 240 times
    clock.look("2031-05-05T15:30:30Z")
    assert [*clock.fires(schedule)] == [begun + minutes(it) for it in range(1, 211)]
    assert clock.outcomes(schedule) == ["skipped"] * 209 + ["submitted"]


def test_while_the_last_one_waits_no_other_is_submitted(clock: Clock) -> None:
    schedule = clock.schedule("*/10 * * * *", unique_pending=True, parameters={"word": "once"})
    assert clock.look("2031-05-05T12:10Z") == READY
    assert clock.look("2031-05-05T12:20Z") == set()
    assert clock.outcomes(schedule) == ["submitted", "waiting"]
    assert clock.tasks(schedule) == 1
    clock.house.database.run("DELETE FROM tasks")
    assert clock.look("2031-05-05T12:30Z") == READY


def test_a_task_that_is_refused_is_noted_and_holds_nothing_up(clock: Clock) -> None:
    house = clock.house
    gone = house.people("gone")
    house.database.run("UPDATE users SET active = false WHERE id = :id", id=gone.id)
    refused = {
        clock.schedule(created_by=gone.id): "no active user",
        clock.schedule(task_type="tidy"): "need the role admin",
        clock.schedule(task_type="sung"): "no task type",
        clock.schedule(parameters={"times": 77}): "parameters.times",
        clock.schedule(user_id=house.people.other.id): "Another user's data",
    }
    fine = clock.schedule()
    assert clock.look("2031-05-05T12:10Z") == READY
    assert clock.outcomes(fine) == ["submitted"]
    for schedule, why in refused.items():
        assert clock.outcomes(schedule) == ["refused"]
        reason = "SELECT reason FROM schedule_fires WHERE schedule_id = :id"
        assert why in house.database.one(reason, id=schedule)


def test_one_that_breaks_holds_no_other_up(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, fine = clock.schedule(), clock.schedule()

    def or_break(session: Session, settings: Settings, schedule: Schedule) -> Submitted:
        if schedule.id == broken:
            raise KeyError
        return submit(session, settings, schedule)

    monkeypatch.setattr(firing, "submit", or_break)
    with capture_logs() as said:
        assert clock.look("2031-05-05T12:10Z") == READY
    assert [it["schedule"] for it in said if it["event"] == "schedule.broken"] == [broken]
    assert (clock.outcomes(broken), clock.outcomes(fine)) == ([], ["submitted"])
    monkeypatch.undo()
    assert clock.look("2031-05-05T12:11Z") == READY
    assert clock.outcomes(broken) == ["submitted"]


def test_sealed_parameters_wait_for_a_worker_with_the_key(clock: Clock) -> None:
    house, now = clock.house, moment("2031-05-05T12:10Z")
    sealed = seal(house.settings, {"word": "hush"})
    schedule = clock.schedule(task_type="say_secretly", parameters=None, sealed=sealed)
    keyless = house.settings.model_copy(update={"task_key": None})
    assert not firing.fire_due(house.sessions, clock.statements, keyless, now=now)
    assert clock.fires(schedule) == {}
    assert clock.look(now) == READY
    assert clock.outcomes(schedule) == ["submitted"]


def test_another_look_at_the_time_is_one_statement(clock: Clock) -> None:
    """As many workers as there are look every few seconds."""
    for _ in range(3):
        clock.schedule()

    class Counting:
        asked = 0

        def rows(self, statement: Any, params: Any) -> list[Any]:
            self.asked += 1
            return clock.statements.rows(statement, params)

    counting: Any = Counting()
    house = clock.house
    ready = firing.fire_due(house.sessions, counting, house.settings, now=clock.now)
    assert (ready, counting.asked) == (set(), 1)


def test_a_worker_is_told_that_a_schedule_is_due_and_that_the_clock_went_back(clock: Clock) -> None:
    def due() -> bool:
        return bool(clock.house.database.one(f"SELECT {firing.DUE}"))

    def put(change: str) -> bool:
        with clock.house.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE schedules SET {change}")
        return due()

    assert not due()
    clock.schedule()
    assert not put("next_fire_at = now() + interval '1 h', moved_at = now() - interval '1 h'")
    assert put("next_fire_at = now()")
    assert put("next_fire_at = now() + interval '1 h', moved_at = now() + interval '1 min'")
    assert not put("next_fire_at = NULL")


def test_a_look_walks_along_indexes_however_many_schedules_there_are(clock: Clock) -> None:
    """Its plan is kept by a connection: it must not depend on how many are due."""
    found = firing._DUE.text % {"now": "$1", "done": "$2"}
    many = (
        "INSERT INTO schedules (name, task_type, parameters, cron, next_fire_at)"
        " SELECT 's' || i, 'say', '{}', '* * * * *', now() - i * interval '1 s'"
        " FROM generate_series(1, 5000) i"
    )
    generic = "SET LOCAL plan_cache_mode = force_generic_plan"
    with clock.house.engine.begin() as connection:
        for before in (many, "ANALYZE schedules", f"PREPARE look AS {found}", generic):
            connection.exec_driver_sql(before)
        plan = [
            *connection.exec_driver_sql("EXPLAIN EXECUTE look (NULL, '{}')").scalars(),
            *connection.exec_driver_sql(f"EXPLAIN SELECT {firing.DUE}").scalars(),
        ]
        connection.exec_driver_sql("DEALLOCATE look")
    said = "\n".join(plan)
    assert "Seq Scan" not in said
    assert "pk_schedules" not in said


def test_by_the_databases_own_clock(clock: Clock) -> None:
    """What a worker runs, as it runs it."""
    house = clock.house
    (duty,) = (it for it in duties(house.settings) if it.name == "schedules")
    schedule = clock.schedule("0 0 1 * *")
    house.database.run(
        "UPDATE schedules SET moved_at = now(), next_fire_at = now() - '1 s'::interval"
    )
    assert set(duty.run(house.sessions, clock.statements)) == READY
    assert set(duty.run(house.sessions, clock.statements)) == set()
    assert not house.database.one(f"SELECT {duty.due}")
    assert clock.outcomes(schedule) == ["submitted"]
    due = "SELECT next_fire_at > now() AND moved_at <= now() FROM schedules"
    assert house.database.one(due) is True
