"""A duty is done by its clock, and one that fails is due again."""

from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from backend.queue.duty import Duty
from workers.duties import OnDuty


def on_duty(run: Any, became_ready: Any = print) -> OnDuty:
    duty = Duty(name="sweep", every=timedelta(seconds=5), run=run)
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
