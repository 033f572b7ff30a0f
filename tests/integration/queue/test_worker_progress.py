"""A row shows that a child works on it once that lasts; the fence stands there as well."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from backend.db import Sessions
from backend.queue.leases import Lease
from backend.queue.pipeline import Done, Isolation, Outcome, Pipeline, Step
from tests.integration.queue.ledger import Rows, eventually
from tests.integration.queue.probe_workload import PROBE, Probe
from workers.database import Transactions
from workers.executor import Executor
from workers.held import Held
from workers.isolation import Children
from workers.metrics import Metrics


class Lasting(Children):
    """Children whose work lasts until ``seen()``."""

    def __init__(self, seen: Callable[[], object]) -> None:
        super().__init__(2)
        self._seen = seen

    def run(self, step: Step, snapshot: Any, *, started: Callable[[], None], **how: Any) -> Outcome:
        started()
        self._seen()
        return Done({})


def run_halfway_on(lease: Lease, sessions: Sessions, children: Children) -> object:
    """Carry ``lease`` on from its first stage, the second one being a child's."""
    held = Held()
    held.add([lease])
    return executor(sessions, children, held).run(lease)


def executor(
    sessions: Sessions, children: Children, held: Held, *, ttl: timedelta = timedelta(minutes=1)
) -> Executor:
    transactions = Transactions(sessions, threading.Event())
    second = Step("second", eval, isolation=Isolation.PROCESS, result=dict)
    pipeline = Pipeline(queue=PROBE, steps=(Step("first", lambda _lease, _tools: Done({})), second))
    return Executor(
        pipeline, transactions=transactions, held=held, children=children,
        metrics=Metrics([PROBE.name], version="1"), ttl=ttl,
    )  # fmt: skip


def test_a_row_that_a_child_works_on_for_a_while_bears_the_stages_own_status(
    rows: Rows, sessions: Sessions
) -> None:
    row_id = rows.one()

    def shown() -> None:
        eventually(lambda: rows.row(row_id).status == "finishing")

    ended = run_halfway_on(rows.claim_one(), sessions, Lasting(shown))

    assert ended is not None
    assert rows.row(row_id).step == "first"


def test_a_row_whose_child_is_quick_rests_in_the_status_that_the_commit_left(
    rows: Rows, sessions: Sessions
) -> None:
    row_id = rows.one()
    seen = list[str]()

    run_halfway_on(
        rows.claim_one(), sessions, Lasting(lambda: seen.append(rows.row(row_id).status))
    )

    assert seen == ["halfway"]


def test_a_row_that_somebody_has_locked_keeps_no_other_from_being_announced(
    rows: Rows, sessions: Sessions
) -> None:
    locked, free = rows.one(), rows.one()
    leases = {lease.id: lease for lease in rows.claim()}
    begun, shown = threading.Event(), threading.Event()
    held, works = Held(), deque[Callable[[], object]]()
    held.add([*leases.values()])

    def lock() -> None:
        with sessions.begin() as session:
            session.execute(select(Probe).where(Probe.id == locked).with_for_update())
            begun.set()
            shown.wait(20)

    def look() -> None:
        try:
            eventually(lambda: rows.row(free).status == "finishing", within=5)
        finally:
            shown.set()

    works.extend([lock, look])

    def work() -> None:
        works.popleft()()

    one = executor(sessions, Lasting(work), held, ttl=timedelta(seconds=1.6))
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(one.run, leases[locked])
        assert begun.wait(5)
        for ended in one.run(leases[free]), waits.result():
            assert ended is not None
            assert ended.settlement.status == PROBE.done
