"""The state of a run: who works, who is away and until when, and what has come of it so far."""

import heapq
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Final, TextIO

from sqlalchemy import Engine

from tests.chaos.fleet import ChaosWorker, Fleet, Hit, held_by
from tests.chaos.recovery import Recoveries
from tests.chaos.schedule import Fault
from tests.chaos.server import Server

DRAINED: Final = 10.0  # seconds past its grace that a draining worker may take on a busy machine
FROZEN: Final = 1.7  # lease times that a worker stands still at a fault point
END_LOOK: Final = 0.05  # seconds


class NotNow(Exception):
    """The fault found nobody to happen to."""


class Spared(Exception):
    """A suspect runs alone behind the victim's link: its silence would convict it."""


class Harness:
    """Keeps ``crew`` workers at work and mends what faults broke; used from the main thread alone.

    Args:
        diary: gets a line for each fault and what followed from it.
        ttl: the workers' lease time in seconds.
    """

    def __init__(
        self, server: Server, fleet: Fleet, engine: Engine, diary: TextIO, *, crew: int, ttl: float
    ) -> None:
        self.server = server
        self.fleet = fleet
        self.engine = engine
        self.crew = crew
        self.ttl = ttl
        self.injected: Counter[str] = Counter()
        self.spared: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.recoveries = Recoveries()
        self.violations: list[str] = []
        self.deaths_by_row = 0
        self._began = time.monotonic()
        self._diary = diary
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._away: set[ChaosWorker] = set()
        self._drains: dict[ChaosWorker, float] = {}
        self._told_twice: set[ChaosWorker] = set()
        self._told_early: set[ChaosWorker] = set()
        self._expected: list[tuple[str, threading.Event]] = []

    def tend(self) -> None:
        """Undo what is due, hear what traps report, bury the dead and start their successors."""
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        self._hear_of_faults()
        for worker in [worker for worker in self.fleet if not worker.alive]:
            worker.wait_silent()
            self._hear_of_faults()
            self._bury(worker)
        for worker, deadline in list(self._drains.items()):
            if time.monotonic() > deadline:
                self._violated(f"{worker.name} did not drain in time")
                self.take_away(worker)
                worker.kill()
        while self._working < self.crew:
            self.fleet.start(ttl=self.ttl)
        self.fleet.clear_graves()
        if self.server.up:
            for recovered in self.recoveries.look(held_by(self.engine), time.monotonic()):
                self.say(recovered)

    @property
    def _working(self) -> int:
        return len(self.fleet.workers) - len(self._drains)

    @property
    def quiet(self) -> bool:
        """Nothing that was broken is still to be mended."""
        return not self._later and not self._drains

    def cease(self) -> None:
        """No trap and no cut springs from now on; what is broken already is mended in time."""
        self.crew = max(self.crew, 2)
        for worker in self.fleet:
            worker.disarm()
            worker.proxy.forget_cuts()

    def end_fleet(self) -> None:
        """Everything is at rest: all workers drain, and all exit with 0."""
        self.crew = 0
        for worker in self.fleet:
            self.drain(worker)
        while self._drains:
            self.tend()
            time.sleep(END_LOOK)

    # For those who break things

    def victim(self, fault: Fault) -> ChaosWorker:
        """The worker that ``fault`` picks among those at work.

        Raises:
            NotNow: there is none.
        """
        at_hand = [w for w in self.at_work if w not in self._drains]
        if not at_hand:
            raise NotNow
        return at_hand[fault.victim % len(at_hand)]

    @property
    def at_work(self) -> list[ChaosWorker]:
        return [w for w in self.fleet if w.ready and w not in self._away]

    @property
    def too_many(self) -> bool:
        return self._working > self.crew

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._numbers), act))

    def expect(self, kind: str, happened: threading.Event) -> None:
        """A fault of ``kind`` counts once it has ``happened``."""
        self._expected.append((kind, happened))

    def lose(self, worker: ChaosWorker) -> None:
        """What ``worker`` holds has nobody now."""
        if self.server.up:
            self.recoveries.lost(worker.name, held_by(self.engine, worker.name), time.monotonic())

    def lose_server(self) -> None:
        self.recoveries.lost("the server", held_by(self.engine), None)

    def server_is_back(self) -> None:
        self.recoveries.server_is_back(time.monotonic())

    def take_away(self, worker: ChaosWorker) -> None:
        """No other fault is for ``worker``."""
        self._away.add(worker)

    def take_away_for(
        self, worker: ChaosWorker, seconds: float, then: Callable[[], None] = lambda: None
    ) -> None:
        """No other fault is for ``worker`` until ``then`` has ended this one."""
        self.take_away(worker)

        def back() -> None:
            then()
            self._away.discard(worker)

        self.after(seconds, back)

    def drain(self, worker: ChaosWorker, *, twice: bool = False) -> None:
        """SIGTERM; it must be gone in time, with the right exit code."""
        self._drains[worker] = time.monotonic() + worker.options.grace + DRAINED
        if twice:
            self._told_twice.add(worker)
        if not worker.ready:
            self._told_early.add(worker)
        worker.terminate()

    def say(self, what: str) -> None:
        self._diary.write(f"{time.monotonic() - self._began:8.2f} {what}\n")

    # What follows

    def _violated(self, what: str) -> None:
        self.violations.append(what)
        self.say(f"VIOLATION {what}")

    def _hear_of_faults(self) -> None:
        while not self.fleet.hits.empty():
            self._sprung(self.fleet.hits.get())
        for expected in [one for one in self._expected if one[1].is_set()]:
            self._expected.remove(expected)
            self.injected[expected[0]] += 1

    def _sprung(self, hit: Hit) -> None:
        kind = "freeze-at-point" if hit.act == "stop" else "kill-at-point"
        self.injected[kind] += 1
        self.say(f"{hit.act} of {hit.worker.name} at {hit.point}")
        self.lose(hit.worker)
        if hit.act == "stop":
            self.take_away_for(hit.worker, FROZEN * self.ttl, hit.worker.cont)
        else:
            self.take_away(hit.worker)

    def _bury(self, worker: ChaosWorker) -> None:
        code = worker.process.returncode
        # A row may kill its worker at any time.
        expected = {-signal.SIGKILL} | ({0} if worker in self._drains else set())
        if worker in self._told_twice:
            # The second of them where the interpreter is shutting down: its handlers are gone.
            expected |= {128 + signal.SIGTERM, -signal.SIGTERM}
        if worker in self._told_early:
            expected.add(-signal.SIGTERM)  # its handlers were not there yet, and it held nothing
        if code not in expected:
            self._violated(f"{worker.name} exited with {code}")
        if code == -signal.SIGKILL and worker not in self._away:
            self.deaths_by_row += 1
            self.lose(worker)
        self.say(f"{worker.name} is gone ({code})")
        self._away.discard(worker)
        self._told_twice.discard(worker)
        self._told_early.discard(worker)
        self._drains.pop(worker, None)
        self.fleet.bury(worker)
