"""Fairness: nobody's backlog starves somebody else's single row."""

from collections import Counter

import pytest
from sqlalchemy import func

from backend.db import Sessions
from backend.queue import control, leases
from backend.queue.lanes import FAIR_LANES
from backend.queue.leases import Lane, Lease, Marks
from tests.integration.queue.ledger import Rows, ago
from tests.integration.queue.probe_workload import ERRAND
from workers.circle import Circle
from workers.partitions import Partitions


class Turns:
    """Claims that go round the circle of lanes, as the daemon's producer does."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._circles: dict[tuple[str, ...], Circle] = {}

    def claim(self, limit: int = 10, partitions: tuple[str, ...] = ("alpha",)) -> list[Lease]:
        circle = self._circles.setdefault(
            partitions, Circle(ERRAND, Partitions(ERRAND, partitions, {}))
        )
        with self._sessions.begin() as session:
            seen = circle.next(
                limit,
                lambda after: leases.next_lanes(
                    session, ERRAND, after=after, partitions=partitions
                ),
                lambda lanes: leases.open_lanes(session, ERRAND, lanes, Marks(), partitions),
            )
            claimed = leases.claim(
                session, ERRAND, worker="w", limit=limit, lanes=seen.lanes, partitions=partitions
            )
        if len(claimed) < limit:
            rows = Counter(lease.lane for lease in claimed)
            share = max(1, limit // max(1, len(seen.lanes)))
            circle.emptied({lane for lane in seen.lanes if rows[lane] < share})
        return claimed

    def until(self, row_id: int, most: int) -> int:
        """How many claims it takes to reach ``row_id``."""
        for turn in range(1, most + 1):
            if row_id in [lease.id for lease in self.claim()]:
                return turn
        raise AssertionError(f"row {row_id} was not claimed within {most} claims")


def test_a_single_row_is_claimed_within_two_batches_beside_a_backlog_of_ten_thousand(
    rows: Rows, sessions: Sessions
) -> None:
    for _ in range(10):
        rows.add(ERRAND, 1000, fairness_key="A", available_at=ago("1 hour"))
    single = rows.one(ERRAND, fairness_key="B")

    assert Turns(sessions).until(single, most=2) <= 2


def test_a_single_row_is_claimed_within_one_round_beside_many_backlogs(
    rows: Rows, sessions: Sessions
) -> None:
    for key in range(25):
        rows.add(ERRAND, 40, fairness_key=f"busy {key:02}", available_at=ago("1 minute"))
    single = rows.one(ERRAND, fairness_key="quiet")

    # 26 lanes in batches of ten: three batches are one round.
    assert Turns(sessions).until(single, most=3) <= 3


def test_more_keys_than_one_look_takes_are_all_served(rows: Rows, sessions: Sessions) -> None:
    keys = [f"key {n:03}" for n in range(3 * FAIR_LANES)]
    for key in keys:
        rows.add(ERRAND, 3, fairness_key=key)
    turns, served = Turns(sessions), set[str | None]()
    for _ in range(-(-len(keys) // 10) + 1):
        served |= {lease.fairness_key for lease in turns.claim()}

    assert served == set(keys)


def test_lanes_that_back_off_or_are_paused_cost_no_turn(rows: Rows, sessions: Sessions) -> None:
    for key in range(FAIR_LANES + 8):
        rows.one(ERRAND, fairness_key=f"a {key:02}", available_at=ago("-1 hour"))
        rows.one(ERRAND, fairness_key=f"b {key:02}", queue="beta", priority=1)
    with sessions.begin() as session:
        control.pause(session, ERRAND, by="ann", partition="beta")
    single = rows.one(ERRAND, fairness_key="z", priority=10)

    claimed = Turns(sessions).claim(limit=1, partitions=("alpha", "beta"))

    assert [lease.id for lease in claimed] == [single]
    with sessions.begin() as session:
        assert leases.next_due(session, ERRAND, partitions=["alpha"]) == pytest.approx(3600, abs=60)


def test_a_worker_of_one_partition_never_takes_anothers(rows: Rows, sessions: Sessions) -> None:
    alpha = rows.add(ERRAND, 5, queue="alpha")
    beta = rows.add(ERRAND, 5, queue="beta")
    turns = Turns(sessions)
    taken = [lease.id for _ in range(4) for lease in turns.claim(partitions=("alpha",))]

    assert sorted(taken) == alpha
    assert rows.claim(ERRAND, partitions=["alpha"]) == []
    assert sorted(lease.id for lease in rows.claim(ERRAND, partitions=["beta"])) == beta


def test_a_suspect_of_another_partition_is_not_taken(rows: Rows, sessions: Sessions) -> None:
    rows.one(ERRAND, queue="beta", stalls=2)
    with sessions.begin() as session:
        assert not leases.suspects_wait(session, {ERRAND: ["alpha"]})
        assert leases.claim_suspect(session, ERRAND, worker="w", partitions=["alpha"]) is None
        assert leases.suspects_wait(session, {ERRAND: ["beta"]})
        assert leases.claim_suspect(session, ERRAND, worker="w", partitions=["beta"]) is not None


@pytest.mark.parametrize("limit", [1, 2, 10])
def test_within_one_key_the_most_urgent_row_is_claimed_first(
    rows: Rows, sessions: Sessions, limit: int
) -> None:
    """Ten minutes of waiting are worth one step; another key has its turns all the same."""
    urgent = rows.add(ERRAND, 8, fairness_key="A", priority=10)
    aged = rows.add(ERRAND, 2, fairness_key="A", priority=1, available_at=ago("95 minutes"))
    plain = rows.add(ERRAND, 8, fairness_key="A")
    other = rows.add(ERRAND, 3, fairness_key="B", priority=1)
    turns, taken = Turns(sessions), list[int]()
    for _ in range(30):  # some find their lanes empty, and ask for others then
        taken += [lease.id for lease in turns.claim(limit)]

    mine = [row_id for row_id in taken if row_id not in other]
    assert [sorted(part) for part in (mine[:2], mine[2:10], mine[10:])] == [aged, urgent, plain]
    assert set(other) <= set(taken[:10])


def test_a_look_into_known_lanes_finds_those_between_them_too(
    rows: Rows, sessions: Sessions
) -> None:
    known = [(3, "alpha", "m"), (5, "alpha", "m"), (5, "beta", "m")]
    served = {(3, "alpha", "m"), (5, "beta", "m")}
    new = {(1, "alpha", "z"), (4, "alpha", "a"), (5, "alpha", "z"), (5, "beta", "b")}
    for priority, partition, key in served | new:
        rows.one(ERRAND, queue=partition, priority=priority, fairness_key=key)
    rows.one(ERRAND, queue="beta", fairness_key="later", available_at=ago("-1 hour"))
    rows.one(ERRAND, queue="alpha", fairness_key="lost twice", stalls=2)
    held = rows.one(ERRAND, queue="alpha", fairness_key="ended")
    rows.change(held, ERRAND, status="withdrawn", completed_at=func.now(), failure="cancelled",
                failed_from="open")  # fmt: skip

    def found(partitions: list[str] | None = None) -> set[Lane]:
        with sessions.begin() as session:
            seen = leases.open_lanes(session, ERRAND, known, Marks(), partitions)
        assert not seen.whole
        assert len(seen.lanes) == len(set(seen.lanes)) == len(seen.urgencies)
        return set(seen.lanes)

    assert found() == served | new
    with sessions.begin() as session:
        control.pause(session, ERRAND, by="ann", partition="beta")
    assert found() == {lane for lane in served | new if lane[1] == "alpha"}
    known.remove((5, "beta", "m"))
    assert found(["alpha"]) == {lane for lane in served | new if lane[1] == "alpha"}


def test_of_several_new_lanes_side_by_side_each_look_finds_another(
    rows: Rows, sessions: Sessions
) -> None:
    lanes = [(5, "alpha", f"key {n}") for n in range(4)]
    for _, _, key in lanes:
        rows.one(ERRAND, fairness_key=key)
    known: list[Lane] = []
    for _ in lanes:
        with sessions.begin() as session:
            seen = leases.open_lanes(session, ERRAND, known, Marks(), ["alpha"])
        known = [*seen.lanes]

    assert sorted(known) == lanes
