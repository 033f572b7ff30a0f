"""Connections that break when it hurts most, go silent, or lead through a pooler."""

from backend.db import make_engine
from backend.queue.wake import Listener, Notifier
from tests.chaos.points import marker
from tests.chaos.proxy import Proxy
from tests.chaos.stage import Stage, eventually

CUTS = [
    (statement, at_commit) for statement in ("claim", "commit", "settle")
    for at_commit in (False, True)
]  # fmt: skip


def test_a_write_whose_outcome_is_unknown_is_made_once_and_nobody_is_blamed(stage: Stage) -> None:
    (worker,) = stage.start()
    for statement, at_commit in CUTS:
        for expect in (worker.proxy.cut_after, worker.proxy.cut_before):
            cut = expect(marker(statement), at_commit=at_commit)
            stage.add(10)
            assert cut.wait(15), f"{expect.__name__} {statement} {at_commit=}"
            stage.rest()

    assert stage.outcomes() == {"done": 2 * 10 * len(CUTS)}


def test_a_listener_that_was_dropped_silently_is_noticed_and_replaced(stage: Stage) -> None:
    heard: list[str] = []
    with Proxy(stage.server.port) as proxy:
        listening = make_engine(stage.server.url_through(proxy.port), application_name="listener")
        listener = Listener(listening, heard.append, canary=0.2)
        listener.start()
        eventually(lambda: listens(stage))
        assert eventually(proxy.deafen) == 1
        deaf = set(listens(stage))
        eventually(lambda: set(listens(stage)) - deaf, within=10)
        notifier = Notifier(stage.engine)
        notifier.ready("chaos_ledger")

        eventually(lambda: "chaos_ledger" in heard)
        notifier.close()
        listener.stop()
        listening.dispose()


def listens(stage: Stage) -> list[int]:
    return stage.column(
        "SELECT pid FROM pg_stat_activity"
        " WHERE application_name = 'listener' AND query LIKE 'LISTEN%'"
    )


def test_a_worker_whose_listener_is_deaf_still_finds_its_rows(stage: Stage) -> None:
    (worker,) = stage.start()
    eventually(worker.proxy.deafen)

    stage.add(30)
    stage.rest()
