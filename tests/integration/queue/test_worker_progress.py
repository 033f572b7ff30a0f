"""A row shows that a child works on it once that lasts; the fence stands there as well."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from backend.db import Sessions
from backend.queue.leases import Lease
from backend.queue.pipeline import Done, Isolation, Outcome, Pipeline, Step
from tests.integration.queue.ledger import Rows, eventually
from tests.integration.queue.probe_workload import PROBE
from workers.database import Transactions
from workers.executor import Executor
from workers.held import Held
from workers.isolation import Children
from workers.metrics import Metrics


class Lasting(Children):
    """One child, whose work lasts until ``seen()``."""

    def __init__(self, seen: Callable[[], object]) -> None:
        super().__init__(1)
        self._seen = seen

    def run(self, step: Step, snapshot: Any, *, started: Callable[[], None], **how: Any) -> Outcome:
        started()
        self._seen()
        return Done({})


def run_halfway_on(lease: Lease, sessions: Sessions, children: Children) -> object:
    """Carry ``lease`` on from its first stage, the second one being a child's."""
    transactions, held = Transactions(sessions, threading.Event()), Held()
    second = Step("second", eval, isolation=Isolation.PROCESS, result=dict)
    pipeline = Pipeline(queue=PROBE, steps=(Step("first", lambda _lease, _tools: Done({})), second))
    held.add([lease])
    return Executor(
        pipeline, transactions=transactions, held=held, children=children,
        metrics=Metrics([PROBE.name], version="1"), ttl=timedelta(minutes=1),
    ).run(lease)  # fmt: skip


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
