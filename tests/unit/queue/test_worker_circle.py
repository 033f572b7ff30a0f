"""How often a worker asks for the lanes of a fair queue."""

import pytest

from backend.queue.leases import Lane, Seen
from tests.integration.queue.probe_workload import ERRAND
from workers import circle
from workers.circle import Circle
from workers.partitions import Partitions


class Clock:
    """Stands still but for what is asked."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def ask(self, _after: Lane | None) -> Seen:
        self.asked.append(self.now)
        self.now += 0.5
        return Seen([(5, "alpha", "key")])


def test_to_ask_for_lanes_takes_a_twentieth_of_the_time_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where an old snapshot keeps a million dead rows at the head of a lane."""
    clock = Clock()
    monkeypatch.setattr(circle, "time", clock)
    lanes = Circle(ERRAND, Partitions(ERRAND, None, {}))

    while clock.now < 1100:
        assert lanes.next(10, clock.ask).lanes
        clock.now += 0.01

    assert len(clock.asked) <= 1 + 100 / (0.5 * 20)
