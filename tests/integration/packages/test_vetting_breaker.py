"""A registry that is down: its packages wait with all their attempts, and go on by themselves."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from backend.queue.breaker import FAILURES, LONGEST, Breakers, Rules
from tests.integration.packages.house import House, Lock, lock_of, wait_until
from tests.registry_server import Answer, RegistryServer

PACKAGES = 12
THREADS = 4  # of the worker by hand; a daemon has twice as many
DOWN = Answer(503)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    def later(self) -> None:
        """Any breaker is half-open now."""
        self.now += LONGEST.total_seconds()


@pytest.fixture
def clock(house: House) -> Clock:
    clock = Clock()
    house.breakers = Breakers(Rules(clock=clock))
    return clock


def many(house: House) -> Lock:
    return house.lock(*(f"p{n}" for n in range(PACKAGES)))


def outcomes(house: House) -> Counter[str]:
    return Counter(outcome for (outcome,) in house.database.rows("SELECT outcome FROM attempts"))


def statuses(house: House) -> dict[str, int]:
    found = house.database.rows("SELECT status, count(*) FROM package_status GROUP BY status")
    return dict(map(tuple, found))


def most_attempts(house: House) -> int:
    found: int = house.database.one("SELECT max(attempts) FROM package_status")
    return found


def settle_down(house: House) -> None:
    """All that waits is due, again and again until nothing changes any more."""
    for _ in range(20):
        house.hurry()
        if not house.worker.cycle():
            return


def test_while_the_registry_is_down_rows_burn_no_attempt_and_few_requests_reach_it(
    house: House, clock: Clock
) -> None:
    house.submit(many(house))
    house.registry.instead = DOWN
    house.worker.cycle()

    # Those that were asked before it was known to be down; each of the four threads had one more.
    assert FAILURES <= len(house.registry.requests) < FAILURES + THREADS
    assert outcomes(house) == {"retry": FAILURES - 1, "snoozed": PACKAGES - FAILURES + 1}
    for _ in range(6):
        house.registry.requests.clear()
        house.hurry()
        clock.later()
        assert house.worker.cycle() == PACKAGES
        assert len(house.registry.requests) == 1  # the probe
    assert outcomes(house)["retry"] == FAILURES - 1
    assert statuses(house) == {"Requested": PACKAGES}
    assert most_attempts(house) == 1

    house.registry.instead = None
    clock.later()
    settle_down(house)
    assert statuses(house) == {"Pending Approval": PACKAGES}


def test_refused_rows_come_back_at_different_times_and_say_why_they_wait(
    house: House, clock: Clock
) -> None:
    house.submit(many(house))
    house.registry.instead = DOWN
    house.worker.cycle()
    clock.later()
    house.hurry()
    house.worker.cycle()

    waits = house.database.rows(
        "SELECT extract(epoch FROM available_at - now()) AS seconds, error FROM package_status"
    )
    seconds = sorted(wait.seconds for wait in waits)
    assert seconds[-1] - seconds[0] > 10
    assert seconds[-1] < 300
    host = f"127.0.0.1:{house.registry.port}"
    assert house.breakers.states()[host] == "open"
    assert all(host in wait.error and "for now" in wait.error for wait in waits)
    # What failed names its own package; nobody else's row does.
    assert sum("answered 503" in wait.error for wait in waits) == 1


def test_an_unknown_package_is_an_answer_and_keeps_nobody_waiting(
    house: House, clock: Clock
) -> None:
    unknown = {f"u{n}": house.entry(f"u{n}", tarball=b"any") for n in range(2 * FAILURES)}
    house.submit(lock_of(unknown))
    house.worker.run()

    assert statuses(house) == {"Rejected": 2 * FAILURES}
    assert outcomes(house) == {"failed": 2 * FAILURES}


def says_503(house: House) -> Callable[[], None]:
    house.registry.instead = DOWN

    def recover() -> None:
        house.registry.instead = None

    return recover


def refuses_connections(house: House) -> Callable[[], None]:
    old = house.registry
    old.__exit__()

    def recover() -> None:
        house.registry = house.closing.enter_context(RegistryServer(port=old.port))
        house.registry._script = old._script

    return recover


@pytest.mark.parametrize("fails", [says_503, refuses_connections])
def test_after_an_outage_a_running_worker_finishes_all_rows_by_itself(
    house: House, fails: Callable[[House], Callable[[], None]]
) -> None:
    rules = Rules(shortest=timedelta(seconds=0.2), longest=timedelta(seconds=1))
    house.breakers = Breakers(rules)
    request_id = house.submit(many(house))
    host = f"127.0.0.1:{house.registry.port}"
    recover = fails(house)
    began = time.monotonic()
    with house.daemon():
        wait_until(lambda: outcomes(house)["snoozed"] > PACKAGES, seconds=30, what="rows that wait")
        down, reached = time.monotonic() - began, len(house.registry.requests)
        recover()
        wait_until(
            lambda: statuses(house) == {"Pending Approval": PACKAGES}, seconds=40, what="the end"
        )
    # Until it was known, then a few probes, then at most one in half of the longest open time.
    assert reached <= FAILURES + 2 * THREADS + 4 + down / 0.5
    assert house.breakers.states()[host] == "closed"
    history = outcomes(house)
    assert (history["retry"], history["done"]) == (FAILURES - 1, PACKAGES)
    assert set(history) == {"retry", "snoozed", "done"}
    assert house.detail(request_id)["request"]["completion_percentage"] == 100
