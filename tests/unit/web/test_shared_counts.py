"""What is taken once for all who ask, and for how long it is kept."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from backend.web.metrics import Shared


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Source:
    """Answers 1, 2, 3 …, each after ``seconds`` on ``clock``."""

    def __init__(self, clock: Clock, seconds: float = 0.0) -> None:
        self.clock, self.seconds, self.asked = clock, seconds, 0

    def __call__(self) -> int:
        self.asked += 1
        self.clock.now += self.seconds
        return self.asked


def at(clock: Clock, seconds: float, get: Callable[[], int]) -> int:
    clock.now += seconds
    return get()


def test_a_value_is_kept_for_two_seconds(clock: Clock) -> None:
    shared, source = Shared[int](clock), Source(clock)

    def get() -> int:
        return shared.get(source)

    assert [at(clock, later, get) for later in (0, 1.9, 0.2, 1.9, 0.2)] == [1, 1, 2, 2, 3]


def test_what_takes_long_is_kept_for_twenty_times_as_long(clock: Clock) -> None:
    shared, source = Shared[int](clock), Source(clock, seconds=0.5)

    def get() -> int:
        return shared.get(source)

    assert [at(clock, later, get) for later in (0, 9.9, 0.2)] == [1, 1, 2]


def test_an_error_is_not_kept_and_neither_is_what_it_came_after(clock: Clock) -> None:
    shared, source = Shared[int](clock), Source(clock)

    def fail() -> int:
        raise OSError

    assert shared.get(source) == 1
    clock.now += 3
    with pytest.raises(OSError):  # noqa: PT011 - raised just above
        shared.get(fail)
    assert shared.get(source) == 2


def test_who_asks_while_it_is_taken_waits_for_that_one_value(clock: Clock) -> None:
    shared, source, begun, go_on = Shared[int](clock), Source(clock), Event(), Event()

    def slowly() -> int:
        begun.set()
        assert go_on.wait(10)
        return source()

    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(shared.get, slowly)
        assert begun.wait(10)
        others = [pool.submit(shared.get, slowly) for _ in range(4)]
        go_on.set()
        assert [first.result(10), *(other.result(10) for other in others)] == [1] * 5
    assert source.asked == 1
