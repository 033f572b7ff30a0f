"""One external host's breaker: every transition by an injected clock, then by real threads."""

import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import structlog

from backend.queue import leases
from backend.queue.breaker import (
    FAILURES,
    LONGEST,
    PATIENCE,
    SHORTEST,
    SPREAD,
    Breaker,
    Breakers,
    CircuitOpen,
    Rules,
    host_of,
)
from backend.queue.lifecycle import Queue, Stage

HOST = "registry.example.test"
QUEUE = Queue(
    name="q", table="none", ready="ready", stages=(Stage("run", "running"),), done="done",
    failed="failed",
)  # fmt: skip


Lines = list[MutableMapping[str, Any]]


class Down(Exception):
    """The host's own failure."""

    def __init__(self, retry_after: timedelta | None = None) -> None:
        super().__init__("it answered 503")
        self.retry_after = retry_after


class Missing(Exception):
    """An answer, though not the one that was hoped for."""


@dataclass
class World:
    """A clock that stands still, a jitter that is told, and one breaker that goes by them."""

    now: float = 1000.0
    jitter: float = 0.0
    breakers: Breakers = field(init=False)

    def __post_init__(self) -> None:
        self.breakers = Breakers(Rules(clock=lambda: self.now, jitter=lambda: self.jitter))

    @property
    def breaker(self) -> Breaker:
        return self.breakers.of(HOST)

    @property
    def state(self) -> str:
        return self.breakers.states()[HOST]

    def ask(
        self, error: BaseException | None = None, meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        """One call that ends so; raises what it ends with."""
        with self.breaker.guard(Down):
            meanwhile()
            if error is not None:
                raise error

    def fail(self, times: int = 1, retry_after: timedelta | None = None) -> Exception:
        """Fail so often; answers what the last call raised."""
        for _ in range(times):
            try:
                self.ask(Down(retry_after))
            except (Down, CircuitOpen) as error:
                last = error
        return last

    def refused(self) -> CircuitOpen:
        with pytest.raises(CircuitOpen) as caught:
            self.ask()
        return caught.value

    def opened(self) -> "World":
        self.fail(FAILURES)
        return self

    def later(self, duration: timedelta) -> "World":
        self.now += duration.total_seconds()
        return self


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def logged() -> Iterator[Lines]:
    with structlog.testing.capture_logs() as lines:
        yield lines


# Closed


def test_below_the_limit_failures_are_the_callers_own_and_the_host_is_asked_on(
    world: World,
) -> None:
    for _ in range(FAILURES - 1):
        with pytest.raises(Down):
            world.ask(Down())
    assert world.state == "closed"
    world.ask()


def test_a_success_between_failures_starts_the_count_anew(world: World) -> None:
    for _ in range(3):
        assert isinstance(world.fail(FAILURES - 1), Down)
        world.ask()
    assert world.state == "closed"


@pytest.mark.parametrize("error", [Missing("404"), KeyError("our own bug")])
def test_what_is_not_the_hosts_failure_never_opens_it(world: World, error: Exception) -> None:
    for _ in range(3 * FAILURES):
        with pytest.raises(type(error)):
            world.ask(error)
    assert world.state == "closed"


def test_hosts_do_not_share_a_breaker(world: World) -> None:
    world.opened()
    with world.breakers.of("cdn.example.test").guard(Down):
        pass
    assert world.breakers.states() == {HOST: "open", "cdn.example.test": "closed"}
    assert world.breakers.of(HOST) is world.breakers.of(HOST)


# Open


def test_failures_in_a_row_open_it_and_the_one_that_did_burns_no_attempt(world: World) -> None:
    last = world.fail(FAILURES)
    assert isinstance(last, CircuitOpen)
    assert isinstance(last.__cause__, Down)
    assert last.detail.startswith("it answered 503; ")
    assert world.state == "open"


def test_an_open_breaker_refuses_at_once_and_says_which_host_and_how_long(world: World) -> None:
    refused = world.opened().refused()
    assert (refused.host, HOST in refused.detail) == (HOST, True)
    assert refused.retry_after == SHORTEST
    world.later(timedelta(seconds=2))
    assert world.refused().retry_after == SHORTEST - timedelta(seconds=2)


def test_every_failed_probe_doubles_the_open_time_up_to_the_longest(world: World) -> None:
    world.opened()
    waits = []
    for _ in range(6):
        waits.append(world.refused().retry_after.total_seconds())
        world.later(world.refused().retry_after)
        assert isinstance(world.fail(), CircuitOpen)
    assert waits == [5, 10, 20, 40, 60, 60]


def test_open_times_are_jittered_downwards_by_less_than_a_half(world: World) -> None:
    world.jitter = 0.999
    world.opened()
    world.jitter = 0.0
    assert SHORTEST / 2 < world.refused().retry_after < SHORTEST


def test_the_hosts_own_retry_after_is_the_least_open_time(world: World) -> None:
    wait = timedelta(minutes=20)
    world.fail(1, retry_after=wait)
    world.later(timedelta(minutes=1)).opened()
    assert world.refused().retry_after == wait - timedelta(minutes=1)
    assert world.later(timedelta(minutes=19)).state == "half-open"
    world.ask()
    world.fail(FAILURES)
    assert world.refused().retry_after == SHORTEST


def test_refused_rows_come_back_spread_over_as_long_as_the_host_was_down(world: World) -> None:
    world.opened()
    for down in (timedelta(seconds=20), timedelta(minutes=2), timedelta(days=1)):
        world.now = 1000 + down.total_seconds()
        world.jitter = 0.0
        world.fail()
        soonest = world.refused().retry_after
        world.jitter = 0.999999
        latest = world.refused().retry_after
        assert (latest - soonest) / min(down, SPREAD) == pytest.approx(1, abs=0.01)


def test_work_in_vain_can_be_refused_beforehand_without_taking_the_probe(world: World) -> None:
    world.breaker.refuse_if_open()
    world.opened()
    with pytest.raises(CircuitOpen):
        world.breaker.refuse_if_open()
    world.later(SHORTEST).breaker.refuse_if_open()
    world.breaker.refuse_if_open()
    world.ask()


# Half-open


def test_after_its_time_one_probe_is_admitted_and_all_others_are_refused(world: World) -> None:
    world.opened().later(SHORTEST)
    assert world.state == "half-open"
    with world.breaker.guard(Down):
        assert world.state == "half-open"
        assert world.refused().retry_after <= SHORTEST
    assert world.state == "closed"
    world.ask()


@pytest.mark.parametrize("answer", [None, Missing("404")])
def test_a_probe_that_is_answered_closes_it(world: World, answer: Exception | None) -> None:
    world.opened().later(SHORTEST)
    if answer is None:
        world.ask()
    else:
        with pytest.raises(Missing):
            world.ask(answer)
    assert world.state == "closed"
    assert isinstance(world.fail(FAILURES - 1), Down)


@pytest.mark.parametrize(
    "cut_short",
    [KeyboardInterrupt(), CircuitOpen("another", host="another", retry_after=SHORTEST)],
    ids=["stopped", "another-host-refused"],
)
def test_a_probe_that_is_cut_short_says_nothing_and_the_next_caller_is_the_probe(
    world: World, cut_short: BaseException
) -> None:
    world.opened().later(SHORTEST)
    with pytest.raises(type(cut_short)):
        world.ask(cut_short)
    assert world.state == "half-open"
    world.ask()
    assert world.state == "closed"


def test_a_probe_that_never_comes_back_does_not_keep_the_host_shut_off_for_ever(
    world: World,
) -> None:
    world.opened().later(SHORTEST)
    with world.breaker.guard(Down):
        world.refused()
        world.later(PATIENCE)
        with pytest.raises(CircuitOpen):
            world.ask(Down())  # another probe, which fails
    assert world.state == "open"  # the first one's answer comes too late to count


def test_calls_that_were_under_way_when_it_opened_count_no_more_when_they_end(
    world: World,
) -> None:
    def end_late() -> None:
        with pytest.raises(CircuitOpen) as caught:
            world.ask(Down(), meanwhile=world.opened)
        assert isinstance(caught.value.__cause__, Down)
        assert world.refused().retry_after == SHORTEST

    world.ask(meanwhile=end_late)
    assert world.state == "open"


def test_an_old_failure_does_not_open_what_has_closed_again(world: World) -> None:
    def meanwhile() -> None:
        world.opened().later(SHORTEST).ask()
        world.fail(FAILURES - 1)

    with pytest.raises(Down):
        world.ask(Down(), meanwhile)
    assert world.state == "closed"


# Threads


def in_threads(count: int, call: Callable[[], None]) -> list[str]:
    """The names of what ``count`` threads' calls raised, all begun in the same moment."""
    together = threading.Barrier(count)

    def run() -> str:
        together.wait()
        try:
            call()
        except (Down, CircuitOpen) as error:
            return type(error).__name__
        return "answered"

    with ThreadPoolExecutor(count) as pool:
        return sorted(future.result() for future in [pool.submit(run) for _ in range(count)])


def test_calls_of_many_threads_run_side_by_side(world: World) -> None:
    inside = threading.Barrier(16)

    def call() -> None:
        with world.breaker.guard(Down):
            inside.wait(timeout=10)  # passes only when all sixteen are in

    assert in_threads(16, call) == ["answered"] * 16


def test_of_many_threads_exactly_one_is_the_probe_each_time(world: World) -> None:
    world.opened()
    for _ in range(20):
        world.later(LONGEST)
        others = threading.Semaphore(0)

        def probe(others: threading.Semaphore = others) -> None:
            try:
                with world.breaker.guard(Down):
                    for _ in range(15):
                        assert others.acquire(timeout=10)
            except CircuitOpen:
                others.release()
                raise

        assert in_threads(16, probe) == ["CircuitOpen"] * 15 + ["answered"]
        world.fail(FAILURES)


def test_failures_of_many_threads_open_it_once(world: World, logged: Lines) -> None:
    inside = threading.Barrier(16)

    def call() -> None:
        with world.breaker.guard(Down):
            inside.wait(timeout=10)
            raise Down

    raised = in_threads(16, call)
    assert raised == ["CircuitOpen"] * (16 - FAILURES + 1) + ["Down"] * (FAILURES - 1)
    assert [line["event"] for line in logged] == ["breaker.opened"]
    assert world.later(SHORTEST).state == "half-open"  # sixteen failures, one open time


def test_refusing_costs_next_to_nothing(world: World) -> None:
    world.opened()
    began = time.perf_counter()
    for _ in range(2000):
        try:
            world.ask()
        except CircuitOpen:
            continue
    assert (time.perf_counter() - began) / 2000 < 0.001


# What is told, and what a row makes of it


def test_a_change_of_state_is_logged_once(world: World, logged: Lines) -> None:
    world.opened()
    for _ in range(3):
        world.refused()
        world.later(LONGEST).fail()
    world.later(LONGEST).ask()
    world.ask()
    assert logged == [
        {"event": "breaker.opened", "log_level": "warning", "host": HOST, "failures": 5,
         "seconds": 5.0},
        {"event": "breaker.closed", "log_level": "info", "host": HOST, "failures": 8,
         "seconds": 240.0},
    ]  # fmt: skip


def test_a_row_whose_host_is_down_for_a_day_keeps_its_attempts_and_does_not_spin(
    world: World,
) -> None:
    lease = leases.Lease(
        QUEUE, 1, uuid4(), "running", None, 5, datetime.now(UTC),
        attempts=4, max_attempts=4, stalls=0,
    )  # fmt: skip
    world.jitter = 0.5
    world.opened()
    ends, lines = world.now + 86_400, 0
    while world.now < ends:
        settlement = leases.after_error(lease, world.fail())
        assert (settlement.outcome, settlement.attempts) == ("snoozed", 3)
        assert settlement.delay is not None
        world.later(settlement.delay)
        lines += 1
    assert lines < 700


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://registry.example.test/npm/", "registry.example.test"),
        ("http://Registry.Example.Test:8080", "registry.example.test:8080"),
        ("https://user:secret@registry.example.test", "registry.example.test"),
        ("http://[::1]:80/x", "[::1]:80"),
    ],
)
def test_a_breaker_bears_the_name_of_its_host_without_credentials(url: str, host: str) -> None:
    assert host_of(url) == host
