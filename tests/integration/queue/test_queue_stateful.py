"""Several workers, a reaper and a person at one table, in any order: what must always hold."""

import os
from collections import Counter
from datetime import timedelta
from uuid import UUID  # noqa: TC003 - Hypothesis reads annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, select, text

from backend.db import Sessions, make_sessions
from backend.queue import control, leases
from backend.queue.attempts import Attempt
from backend.queue.leases import Lease
from backend.queue.lifecycle import PROCESSING_FAILURES
from backend.queue.retry import Died, LeaseLost, Permanent
from tests.integration.queue.ledger import Rows, ago
from tests.integration.queue.probe_workload import PROBE, Probe, effects, save

WORKERS = ("ann", "bob", "eve")

pick = st.integers(0, 10_000)


class Workers(RuleBasedStateMachine):
    """A model of who holds what, kept beside the real table and compared after each step.

    ``known`` holds every lease a worker was ever given, as it stood last: most of them are stale.
    ``holder`` is the one token that may write, by row.
    """

    sessions: Sessions

    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows(self.sessions)
        self.known: list[Lease] = []
        self.holder: dict[int, UUID] = {}
        self.ended: Counter[int] = Counter()
        self.applied: Counter[tuple[int, str]] = Counter()
        self.ids: list[int] = []

    @initialize()
    def rows_wait(self) -> None:
        with self.sessions.begin() as session:
            session.execute(text("TRUNCATE probe, probe_effects, attempts RESTART IDENTITY"))
        self.ids = self.rows.add(count=5, max_attempts=3)

    def one_of_known(self, which: int) -> tuple[int, Lease]:
        index = which % len(self.known)
        return index, self.known[index]

    def mine(self, lease: Lease) -> bool:
        return self.holder.get(lease.id) == lease.token

    def lost(self, row_id: int) -> None:
        del self.holder[row_id]
        self.ended[row_id] += 1

    @rule(worker=st.sampled_from(WORKERS), limit=st.integers(1, 3))
    def claim(self, worker: str, limit: int) -> None:
        for lease in self.rows.claim(limit=limit, worker=worker):
            assert lease.id not in self.holder, "claimed while somebody holds it"
            self.holder[lease.id] = lease.token
            self.known.append(lease)

    @rule()
    def claim_a_suspect(self) -> None:
        lease = self.rows.claim_suspect()
        if lease is not None:
            assert lease.id not in self.holder
            assert lease.suspect
            self.holder[lease.id] = lease.token
            self.known.append(lease)

    @precondition(lambda self: self.known)
    @rule(which=pick)
    def heartbeat(self, which: int) -> None:
        _, lease = self.one_of_known(which)
        with self.sessions.begin() as session:
            lost = leases.heartbeat(session, PROBE, [lease])
        assert lost == (set() if self.mine(lease) else {lease.id})

    @precondition(lambda self: self.known)
    @rule(which=pick, answer_lost=st.booleans())
    def commit(self, which: int, answer_lost: bool) -> None:
        index, lease = self.one_of_known(which)
        stage = lease.next_stage
        if stage is None or PROBE.next_stage(stage.name) is None:
            return
        at = self.rows.row(lease.id).step
        try:
            with self.sessions.begin() as session:
                committed = leases.commit(session, lease)
                save(session, lease, None)
        except LeaseLost:
            assert not self.mine(lease) or at != lease.step
            return
        assert self.mine(lease)
        self.applied[lease.id, stage.name] += 1
        if not answer_lost:
            self.known[index] = committed

    @precondition(lambda self: self.known)
    @rule(
        which=pick, how=st.sampled_from(["done", "retry", "permanent", "died", "snooze", "release"])
    )
    def settle(self, which: int, how: str) -> None:
        _, lease = self.one_of_known(which)
        ends = {
            "done": leases.done(lease),
            "retry": leases.after_error(lease, OSError("x")),
            "permanent": leases.after_error(lease, Permanent("x")),
            "died": leases.after_error(lease, Died("x")),
            "snooze": leases.snoozed(lease, timedelta(milliseconds=1), "x"),
            "release": leases.released(lease),
        }
        lost = self.rows.settle(ends[how])
        assert lost == (set() if self.mine(lease) else {lease.id})
        if not lost:
            self.lost(lease.id)

    @precondition(lambda self: self.holder)
    @rule(which=pick)
    def lease_expires(self, which: int) -> None:
        self.rows.expire(sorted(self.holder)[which % len(self.holder)])

    @rule()
    def reap(self) -> None:
        for reaped in self.rows.reap():
            self.lost(reaped.id)

    @rule(which=pick)
    def cancel(self, which: int) -> None:
        row_id = self.ids[which % len(self.ids)]
        with self.sessions.begin() as session:
            cancelled = control.cancel(session, PROBE, [row_id], why="x")
        if cancelled:
            self.holder.pop(row_id, None)
            self.ended[row_id] += 1

    @rule(which=pick, failures=st.sampled_from([("cancelled",), PROCESSING_FAILURES]))
    def requeue(self, which: int, failures: tuple[str, ...]) -> None:
        row_id = self.ids[which % len(self.ids)]
        with self.sessions.begin() as session:
            control.requeue(session, PROBE, [row_id], failures=failures)

    @rule()
    def time_passes(self) -> None:
        for row_id in self.ids:
            self.rows.change(row_id, available_at=ago("1 second"))

    @invariant()
    def rows_are_held_by_whom_the_model_says(self) -> None:
        with self.sessions.begin() as session:
            found = session.execute(select(Probe.id, Probe.lease_token, Probe.status)).all()
        held = {row.id: row.lease_token for row in found if row.lease_token is not None}
        assert held == self.holder
        assert {row.id for row in found if row.status in PROBE.held} == set(self.holder)

    @invariant()
    def each_ended_claim_has_exactly_one_line(self) -> None:
        with self.sessions.begin() as session:
            lines = session.execute(select(Attempt.row_id, Attempt.token)).all()
        assert Counter(line.row_id for line in lines) == self.ended
        tokens = Counter((line.row_id, line.token) for line in lines if line.token is not None)
        assert not tokens or max(tokens.values()) == 1
        assert not set(tokens) & set(self.holder.items())

    @invariant()
    def each_committed_effect_is_there_exactly_as_often_as_it_was_committed(self) -> None:
        with self.sessions.begin() as session:
            assert effects(session) == dict(self.applied)


@pytest.fixture
def machine(engine: Engine) -> type[Workers]:
    return type("Machine", (Workers,), {"sessions": make_sessions(engine)})


def test_no_order_of_events_breaks_the_protocol(machine: type[Workers]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            derandomize="CI" in os.environ,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        ),
    )
