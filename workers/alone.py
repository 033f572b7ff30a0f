"""One row in a process of its own: ``python -m workers.alone QUEUE TOKEN NAME [PARTITION…]``.

Claims, under TOKEN, one ready row that has stalled twice, works on it and settles it. Nothing else
is held here, so a death of this process is that row's own doing, whether its step runs in a thread
or in a child. ``suspects.py`` starts it and draws the conclusion.

Exit codes: 0 the row was settled or released, or there was none; 2 a setting is wrong.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from backend import logs
from backend.db import make_engine, make_sessions
from backend.queue import fleet, leases, privileges
from backend.queue.confinement import limit_memory
from backend.queue.leases import Lease, Settlement
from backend.settings import Settings, SettingsError
from workers.assignment import Assignment, Policy, this_worker
from workers.database import Stopped, Transactions
from workers.executor import Executor, unstored
from workers.heartbeat import Heartbeat
from workers.held import Held
from workers.isolation import Children
from workers.main import policy_of, served
from workers.metrics import Metrics

log = structlog.get_logger(__name__)

MEMORY: Final = 4 * 1024**3
"""Address space in bytes, the threads' stacks included: a row that wants more ends this process,
and not the machine."""
LOOK: Final = 0.2  # seconds between two looks at the signals


def take(
    session: Session, assignment: Assignment, *, worker: str, token: UUID, policy: Policy
) -> Lease | None:
    """The one suspect; after a lost answer, the one that was taken already."""
    queue = assignment.pipeline.queue
    adopted = leases.adopt(session, queue, token)
    if adopted:
        return adopted[0]
    return leases.claim_suspect(
        session, queue, worker=worker, ttl=policy.ttl, token=token, partitions=assignment.partitions
    )


def run_alone(
    engine: Engine,
    assignment: Assignment,
    policy: Policy,
    *,
    name: str,
    token: UUID,
    stop: threading.Event,
) -> None:
    """Work on one suspect of ``assignment``; released where ``stop`` comes and the grace ends."""
    queue = assignment.pipeline.queue
    over = threading.Event()
    sessions = make_sessions(engine, limit=policy.ttl)
    transactions = Transactions(sessions, over)
    held, children = Held(), Children(1)
    metrics = Metrics([queue.name], version=version("lockkeeper"))
    heartbeat = Heartbeat(
        [queue], this_worker(name, [queue.name]), transactions=transactions, held=held,
        ttl=policy.ttl, metrics=metrics,
    )  # fmt: skip
    executor = Executor(
        assignment.pipeline, transactions=transactions, held=held, children=children,
        metrics=metrics, ttl=policy.ttl, beat=heartbeat.beat,
    )  # fmt: skip
    claiming = Transactions(sessions, stop)
    try:
        lease = claiming.run(
            partial(take, assignment=assignment, worker=name, token=token, policy=policy),
            doing="claim alone",
        )
    except Stopped:
        return
    if lease is None:
        return
    log.info("suspect.begun", queue=queue.name, row_id=lease.id, worker=name)
    held.add([lease])
    heartbeat.start()
    worked = threading.Thread(
        target=_work, args=(executor, transactions, lease), name="suspect", daemon=True
    )
    worked.start()
    while worked.is_alive() and held.holds(lease) and not stop.is_set():
        worked.join(LOOK)
    worked.join(policy.grace.total_seconds())
    if worked.is_alive():
        _once(transactions, lambda session: leases.release(session, queue, held.of(queue)))
    heartbeat.stop()
    heartbeat.join(timeout=5)
    _once(transactions, lambda session: fleet.leave(session, name))
    over.set()
    children.close()


def _once(transactions: Transactions, work: Callable[[Session], object]) -> None:
    """That the database is away is not the row's doing: our worker does what is left to do."""
    try:
        transactions.once(work)
    except SQLAlchemyError as error:
        log.warning("suspect.left", error=type(error).__name__)


def _work(executor: Executor, transactions: Transactions, lease: Lease) -> None:
    ended = executor.run(lease)
    if ended is None:
        return

    def settle(settlement: Settlement) -> None:
        transactions.run(
            lambda session: leases.settle(session, lease.queue, [settlement]), doing="settle"
        )

    try:
        try:
            settle(ended.settlement)
        except DBAPIError as error:  # else the row would be left behind, and convicted for it
            settle(unstored(lease, "settling", error))
    except Stopped:
        log.warning("settle.failed", queue=lease.queue.name, row_id=lease.id)


def told_to_stop() -> threading.Event:
    """Set by SIGTERM, SIGINT or the end of the terminal, however often.

    A supervisor or a terminal tells all processes at once, and our worker tells us again: to end
    at the second signal, as a worker does, would convict the row.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: stop.set())
    return stop


def main(arguments: Sequence[str]) -> int:
    queue, token, name, *partitions = arguments
    limit_memory(MEMORY)
    privileges.keep_to_itself()
    stop = told_to_stop()
    try:
        settings = Settings.load()
        logs.configure(level=settings.log_level, log_format=settings.log_format)
        (found,) = [a for a in served(settings) if a.pipeline.queue.name == queue]
        engine = make_engine(settings.require_database_url(), pool_size=4, application_name=name)
    except SettingsError as error:
        log.error("worker.refused", reason=str(error))  # noqa: TRY400 - one line, no traceback
        return 2
    assignment = Assignment(found.pipeline, partitions or None)
    run_alone(engine, assignment, policy_of(settings), name=name, token=UUID(token), stop=stop)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # A step that outlived the grace works for a lease that is given back: nobody waits for it.
    os._exit(code)
