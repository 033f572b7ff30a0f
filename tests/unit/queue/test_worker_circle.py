"""How often a worker asks for the lanes of a fair queue."""

from collections.abc import Sequence

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
        self.looked: list[float] = []
        self.waiting = True

    def monotonic(self) -> float:
        return self.now

    def ask(self, _after: Lane | None) -> Seen:
        self.asked.append(self.now)
        self.now += 0.5
        return Seen([(5, "alpha", "key")], urgencies=[5.0])

    def look(self, lanes: Sequence[Lane]) -> Seen:
        self.looked.append(self.now)
        found = list(lanes) if self.waiting else []
        return Seen(found, whole=False, urgencies=[5.0] * len(found))


def unasked(_lanes: Sequence[Lane]) -> Seen:
    raise AssertionError("to ask was quick")


def test_to_ask_for_lanes_takes_a_fiftieth_of_the_time_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where an old snapshot keeps a million dead rows at the head of a lane."""
    clock = Clock()
    monkeypatch.setattr(circle, "time", clock)
    lanes = Circle(ERRAND, Partitions(ERRAND, None, {}))

    while clock.now < 1100:
        lanes.emptied(lanes.next(10, clock.ask, clock.look).lanes)
        clock.now += 0.01

    assert len(clock.asked) <= 1 + 100 / (0.5 * 50)
    assert len(clock.looked) > 1000


def test_lanes_are_asked_for_where_those_that_are_known_have_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(circle, "time", clock)
    lanes = Circle(ERRAND, Partitions(ERRAND, None, {}))
    lanes.emptied(lanes.next(10, clock.ask, clock.look).lanes)
    clock.waiting = False

    assert lanes.next(10, clock.ask, clock.look).whole
    assert (len(clock.looked), len(clock.asked)) == (1, 2)


def test_a_key_that_is_new_is_served_by_the_next_look_and_behind_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However long it takes until all lanes are asked for again."""
    clock = Clock()
    monkeypatch.setattr(circle, "time", clock)
    lanes = Circle(ERRAND, Partitions(ERRAND, None, {}))
    old, new = (5, "alpha", "key"), (9, "alpha", "new")
    lanes.next(10, clock.ask, clock.look)
    clock.now += circle.KNOWN + 0.1

    def look(_known: Sequence[Lane]) -> Seen:
        return Seen([new, old], whole=False, urgencies=[9.0, 5.0])

    assert lanes.next(10, clock.ask, look).lanes == [old, new]
    assert [lanes.next(1, clock.ask, look).lanes for _ in range(3)] == [[old], [new], [old]]
    assert len(clock.asked) == 1


def test_rows_of_a_partition_that_is_nearly_full_are_claimed_apart_from_others() -> None:
    """So that its limit is nobody else's, and each key has its turn all the same."""
    partitions = Partitions(ERRAND, None, {"beta": 1})
    lanes = Circle(ERRAND, partitions)
    there = [(5, "alpha", "a"), (5, "alpha", "b"), (5, "beta", "c"), (5, "beta", "d")]

    def claim() -> tuple[int, list[Lane]]:
        room = partitions.room(8, [])
        seen = lanes.next(room, lambda _after: Seen(there, urgencies=[5.0] * len(there)), unasked)
        return partitions.most(room, seen.lanes), list(seen.lanes)

    assert [claim() for _ in range(4)] == [
        (8, there[:2]), (1, there[2:3]), (1, there[3:]), (8, there[:2]),
    ]  # fmt: skip


@pytest.mark.parametrize("took", [0.01, 0.5], ids="to ask takes {} s".format)
def test_a_key_whose_urgent_rows_are_gone_is_served_from_its_next_lane_without_being_asked_for(
    monkeypatch: pytest.MonkeyPatch, took: float
) -> None:
    """To ask is dear where an old snapshot keeps dead rows at the head of each lane."""
    clock = Clock()
    monkeypatch.setattr(circle, "time", clock)
    lanes = Circle(ERRAND, Partitions(ERRAND, None, {}))
    urgent, usual, other = (9, "alpha", "a"), (5, "alpha", "a"), (5, "alpha", "b")

    def ask(_after: Lane | None) -> Seen:
        clock.asked.append(clock.now)
        clock.now += took
        return Seen([usual, urgent, other], urgencies=[5.0, 9.0, 5.0])

    def served() -> set[Lane]:
        return set(lanes.next(10, ask, clock.look).lanes)

    assert served() == {urgent, other}
    lanes.emptied({urgent})
    assert served() == {usual, other}
    assert (len(clock.asked), len(clock.looked)) == (1, 0)
    lanes.emptied({other})
    assert served() == {urgent, other}
    assert (len(clock.asked), len(clock.looked)) == ((2, 0) if took < 0.05 else (1, 1))
