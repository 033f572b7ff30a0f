"""What a worker keeps out of the pool leaves enough in it, however many queues it serves."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

from sqlalchemy import QueuePool

from backend.autocommit import Statement
from backend.db import make_engine
from backend.queue.pipeline import Done, Pipeline, Step
from backend.queue.writes import OTHERS
from tests.integration.queue.probe_workload import ERRAND, PARCEL, PUBLISH
from workers.assignment import Assignment, Policy
from workers.daemon import Daemon

SIZE = 4
SLOW = Statement("SELECT pg_sleep(0.1)")


def finish(_lease: object, _tools: object) -> Done:
    return Done()


def test_many_queues_keep_no_more_connections_than_one(database_url: str) -> None:
    engine = make_engine(database_url, pool_size=SIZE)
    assert isinstance(engine.pool, QueuePool)
    served = [
        Assignment(Pipeline(queue=queue, steps=(Step(queue.stages[0].name, finish),)))
        for queue in (ERRAND, PARCEL, PUBLISH)
    ]
    daemon = Daemon(engine, engine, served, Policy(ttl=timedelta(seconds=12)))
    together = Barrier(SIZE)

    def send(statements: object) -> None:
        together.wait(10)
        statements.rows(SLOW, {})  # type: ignore[attr-defined]

    with ThreadPoolExecutor(SIZE) as threads:
        for producer in daemon._producers:
            statements = producer._executor._writes.statements
            list(threads.map(send, [statements] * SIZE))

    assert 0 < engine.pool.checkedout() <= SIZE - OTHERS
    engine.dispose()
