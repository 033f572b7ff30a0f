"""Fault points: places between the statements of a worker where it can be made to die or freeze.

Nothing of this is in production code. The worker's engine is watched from outside: each statement
of the engine is recognised as the very object that ``backend.queue.sql`` keeps, a turn by its name,
and each COMMIT by what its transaction had sent before. The names of the points are

- ``S:before`` and ``S:after`` for each statement S of :data:`STATEMENTS`;
- ``S:before-COMMIT`` and ``S:after-COMMIT`` for each S that the transaction had sent, but for
  ``turn``. Before: the server has been told nothing; after: it has committed and the worker has
  heard of it.

Each statement also bears its name as a comment (:func:`marker`), by which a proxy on the way to
the server knows it.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Connection, Engine, Insert, event

from backend.autocommit import Link
from backend.queue import sql
from backend.queue.lifecycle import Queue
from backend.queue.turn import NAME as TURN
from tests.chaos.workload import Booking

STATEMENTS: Final = (
    "turn", "claim", "claim_suspect", "adopt", "progress", "commit", "save", "settle", "release",
    "heartbeat", "still_mine", "reaper_lock", "reap",
)  # fmt: skip
"""``turn`` settles and claims, and is a transaction of its own: after it, it is committed. Where it
failed, ``settle`` and ``claim`` take its place. ``save`` counts an effect inside a commit or
settle; ``release`` is a turn or a settle of released rows."""

RELEASED: Final = '"released"'

MOMENTS: Final = ("before", "after", "before-COMMIT", "after-COMMIT")

Act = Literal["kill", "stop", "report"]


@dataclass(slots=True)
class Trap:
    """What happens at the ``nth`` passage of ``point`` from now on, once."""

    point: str
    act: Act
    nth: int = 1


def marker(statement: str) -> bytes:
    """The comment that precedes ``statement`` on the wire."""
    return f"/*chaos:{statement}*/".encode()


def statements(queues: Iterable[Queue]) -> dict[int, str]:
    """Names of the engine's statements by their identity; ``sql`` keeps each for ever."""
    named: dict[int, str] = {}
    for queue in queues:
        named |= {
            id(sql.claim(queue)): "claim",
            id(sql.claim_suspect(queue)): "claim_suspect",
            id(sql.adopt(queue)): "adopt",
            id(sql.progress(queue)): "progress",
            id(sql.commit_step(queue)): "commit",
            id(sql.settle(queue)): "settle",
            id(sql.settle(queue, wait=False)): "settle",
            id(sql.heartbeat(queue)): "heartbeat",
            id(sql.still_mine(queue)): "still_mine",
            id(sql.try_reaper_lock(queue.table)): "reaper_lock",
            id(sql.reap(queue)): "reap",
        }
    return named


class Points:
    """Watches the engines of this process and springs the traps that are set.

    Args:
        report: told ``(point, act)`` before a trap is sprung: the last thing a killed worker says.
    """

    def __init__(
        self,
        queues: Iterable[Queue],
        report: Callable[[str, str], None],
    ) -> None:
        self._named = statements(queues)
        self._report = report
        self._traps: list[Trap] = []
        self._lock = threading.Lock()
        self._sent = threading.local()  # a transaction stays in its thread

    def arm(self, trap: Trap) -> None:
        with self._lock:
            self._traps.append(trap)

    def disarm(self) -> None:
        with self._lock:
            self._traps.clear()

    def install(self, engine: Engine) -> None:
        event.listen(engine, "before_cursor_execute", self._before, retval=True)
        event.listen(engine, "after_cursor_execute", self._after)
        commit, rollback = engine.dialect.do_commit, engine.dialect.do_rollback

        def committing(connection: Any) -> None:
            sent, self._sent.names = self._names(), []
            for name in sent:
                self.passed(f"{name}:before-COMMIT")
            commit(connection)
            for name in sent:
                self.passed(f"{name}:after-COMMIT")

        def rolling_back(connection: Any) -> None:
            self._sent.names = []
            rollback(connection)

        # No event of SQLAlchemy's comes after a COMMIT.
        vars(engine.dialect).update(do_commit=committing, do_rollback=rolling_back)

    def install_at_turns(self) -> None:
        """Turns go by the driver alone, of all engines."""
        ask = Link.ask

        def asking(link: Link, message: str, params: Any) -> tuple[list[Any], Sequence[Any]]:
            if TURN not in message:
                return ask(link, message, params)
            ended = set(params["ends_outcome"].strip("{}").split(","))
            name = "release" if ended == {RELEASED} else "turn"
            self.passed(f"{name}:before")
            answer = ask(link, marker(name).decode() + message, params)
            self.passed(f"{name}:after")
            return answer

        Link.ask = asking  # type: ignore[method-assign, assignment] # for this process

    def passed(self, point: str) -> None:
        """The process is at ``point`` now."""
        for trap in self._due(point):
            self._report(point, trap.act)
            if trap.act == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif trap.act == "stop":
                # To this thread, which cannot take another step then: what is sent to the process
                # may be delivered by another thread later, when this one is past the point.
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    def _due(self, point: str) -> list[Trap]:
        with self._lock:
            here = [trap for trap in self._traps if trap.point == point]
            for trap in here:
                trap.nth -= 1
            due = [trap for trap in here if trap.nth == 0]
            self._traps = [trap for trap in self._traps if trap.nth > 0]
        return due

    def _names(self) -> list[str]:
        names: list[str] = getattr(self._sent, "names", [])
        return names

    def _name(self, context: Any) -> str | None:
        statement = context.invoked_statement if context and context.compiled else None
        if isinstance(statement, Insert):
            return "save" if statement.table.name == Booking.__tablename__ else None
        name = self._named.get(id(statement))
        if name == "settle" and set(context.compiled_parameters[0]["ends_outcome"]) == {"released"}:
            return "release"
        return name

    def _before(
        self, _connection: Connection, _cursor: Any, text: str, parameters: Any, context: Any,
        _many: bool,
    ) -> tuple[str, Any]:  # fmt: skip
        name = self._name(context)
        if name is None:
            return text, parameters
        self._sent.names = [*self._names(), name]
        self.passed(f"{name}:before")
        return marker(name).decode() + text, parameters

    def _after(
        self, _connection: Connection, _cursor: Any, text: str, parameters: Any, context: Any,
        _many: bool,
    ) -> None:  # fmt: skip
        name = self._name(context)
        if name is not None:
            self.passed(f"{name}:after")
