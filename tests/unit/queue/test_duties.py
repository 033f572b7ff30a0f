"""A duty is done by its clock, or when its condition holds, and one that fails is due again."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from backend.queue.duty import Duty
from tests.integration.queue.ledger import eventually
from workers.duties import EVERY, Caller, OnDuty
from workers.periodic import NOT_OURS


def on_duty(run: Any, became_ready: Any = print, due: str | None = None) -> OnDuty:
    duty = Duty(name="sweep", every=timedelta(seconds=5), run=run, due=due)
    return OnDuty(duty, sessions="sessions", statements="statements", became_ready=became_ready)  # type: ignore[arg-type]


def test_a_duty_is_given_the_database_and_says_which_queues_have_work() -> None:
    given, woken = list[Any](), list[str]()

    def run(*database: Any) -> list[str]:
        given.append(database)
        return ["packages"]

    on_duty(run, woken.append).turn()

    assert (given, woken) == ([("sessions", "statements")], ["packages"])


def test_a_duty_that_fails_is_said_and_due_again() -> None:
    def run(*_database: Any) -> list[str]:
        raise OSError("a disk is full")

    with capture_logs() as said:
        on_duty(run).turn()

    assert [(line["event"], line["duty"], line["error"]) for line in said] == [
        ("duty.failed", "sweep", "OSError")
    ]


def test_a_fault_of_our_own_is_said_with_its_place() -> None:
    def run(*_database: Any) -> list[str]:
        raise KeyError("no such thing")

    with capture_logs() as said:
        assert on_duty(run).turn() == 5.0

    assert [(line["event"], line["log_level"], line["exc_info"]) for line in said] == [
        ("duty.broken", "error", True)
    ]


def test_a_duty_is_done_at_once_and_then_by_its_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    one = on_duty(lambda *_database: [])
    pauses = list[float]()

    def wait(pause: float) -> bool:
        pauses.append(pause)
        return len(pauses) > 3

    monkeypatch.setattr(one._stopped, "wait", wait)
    one.run()

    assert pauses[0] == 0
    assert all(4.0 <= pause <= 6.0 for pause in pauses[1:])


class Counted:
    """Work of which is known how often it was done; for any number of threads."""

    def __init__(self) -> None:
        self._done = list[None]()

    @property
    def times(self) -> int:
        return len(self._done)

    def __call__(self, *_database: Any) -> list[str]:
        self._done.append(None)
        return []


class Answers:
    """Answers a look by ``holds``, or as a database that is away; keeps what it was asked."""

    def __init__(self, *holds: bool | None) -> None:
        self.holds = holds
        self.asked = list[str]()

    def rows(self, statement: Any, _params: Any) -> list[Any]:
        self.asked.append(statement.text)
        if not self.holds:
            raise OperationalError("SELECT", None, Exception("gone"))
        return [self.holds]


@contextmanager
def waiting(*duties: OnDuty) -> Iterator[None]:
    """They have taken their first turn, and wait to be called."""
    for one in duties:
        one.start()
    eventually(lambda: all(one.waiting for one in duties))
    try:
        yield
    finally:
        for one in duties:
            one.stop()
            one.join(10)
            assert not one.is_alive()


def caller(answers: Answers, *duties: OnDuty) -> Caller:
    return Caller(duties, statements=answers)  # type: ignore[arg-type]


def test_of_duties_with_a_condition_those_are_run_whose_condition_holds() -> None:
    ran, idle = Counted(), Counted()
    due, never = on_duty(ran, due="a = 1"), on_duty(idle, due="b = 2")
    answers = Answers(True, None)

    with waiting(due, never):
        pause = caller(answers, due, never).turn()
        eventually(lambda: ran.times == 2)  # at the start, and when it was called

    assert (pause, answers.asked, idle.times) == (EVERY, ["SELECT (a = 1), (b = 2)"], 1)


def test_all_are_run_where_nobody_can_tell_which_are_due() -> None:
    """One condition that a role may not ask for must not keep the others from their work."""
    ran = Counted()
    duties = [on_duty(ran, due=due) for due in ("a", "b")]

    with waiting(*duties):
        caller(Answers(), *duties).turn()
        eventually(lambda: ran.times == 4)


def test_a_duty_that_rests_or_is_at_work_is_not_asked_for() -> None:
    class Refused(Exception):
        pgcode = "42501"

    def refuse(*_database: Any) -> list[str]:
        raise OperationalError("SELECT", None, Refused())

    rests, waits = on_duty(refuse, due="a"), on_duty(lambda *_: [], due="b")
    answers = Answers(False)
    assert rests.turn() == NOT_OURS

    with waiting(waits):
        caller(answers, rests, waits).turn()

    assert answers.asked == ["SELECT (b)"]


def test_a_duty_with_a_condition_that_fails_is_tried_again_by_its_clock() -> None:
    def run(*_database: Any) -> list[str]:
        raise OSError("a disk is full")

    assert on_duty(run, due="a").turn() == 5.0
    assert on_duty(lambda *_: [], due="a").turn() is None
