"""Carries out the faults of a schedule; what must be undone later is remembered with its time."""

import heapq
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import count
from typing import Final, TextIO

from sqlalchemy import Engine

from tests.chaos import processes
from tests.chaos.fleet import ChaosWorker, Fleet, Hit, held_by
from tests.chaos.points import marker
from tests.chaos.recovery import Recoveries
from tests.chaos.schedule import Fault
from tests.chaos.server import Server

SECOND_SIGTERM: Final = 0.1  # seconds after the first
DRAINED: Final = 10.0  # seconds past its grace that a draining worker may take on a busy machine
FROZEN: Final = 1.7  # lease times that a worker stands still at a fault point
END_LOOK: Final = 0.05  # seconds


class NotNow(Exception):
    """The fault found nobody to happen to."""


class Spared(Exception):
    """A suspect runs alone behind the victim's link: its silence would convict it."""


class Injector:
    """The one that breaks things; used from the main thread alone."""

    def __init__(
        self,
        server: Server,
        fleet: Fleet,
        engine: Engine,
        diary: TextIO,
        *,
        crew: int,
        ttl: float,
    ) -> None:
        self.crew = crew
        self.injected: Counter[str] = Counter()
        self.spared: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.recoveries = Recoveries()
        self.violations: list[str] = []
        self.deaths_by_row = 0
        self._began = time.monotonic()
        self._diary = diary
        self._server = server
        self._fleet = fleet
        self._engine = engine
        self._ttl = ttl
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._away: set[ChaosWorker] = set()
        self._drains: dict[ChaosWorker, float] = {}
        self._twice: set[ChaosWorker] = set()
        self._kinds: Mapping[str, Callable[[Fault], bool]] = {
            "kill": self._kill,
            "kill-at-point": self._kill_at_point,
            "zombie": self._zombie,
            "freeze-at-point": self._freeze_at_point,
            "drain": self._drain,
            "drain-twice": self._drain_twice,
            "drain-group": self._drain_group,
            "crew": self._change_crew,
            "skew": self._skew,
            "server-crash": self._server_crash,
            "server-restart": self._server_restart,
            "crash-in-recovery": self._crash_in_recovery,
            "outage": self._outage,
            "server-freeze": self._server_freeze,
            "freeze-all": self._freeze_all,
            "terminate-backend": self._terminate_backend,
            "cut": self._cut,
            "cut-after": self._cut_after,
            "cut-before": self._cut_before,
            "blackhole": self._blackhole,
            "hold": self._hold,
            "deafen": self._deafen,
        }

    def inject(self, fault: Fault) -> None:
        """Make ``fault`` happen, or note why it cannot."""
        said = ""
        try:
            if self._kinds[fault.kind](fault):
                self.injected[fault.kind] += 1
        except Spared:
            self.spared[fault.kind] += 1
            said = "spared: "
        except NotNow:
            self.missed[fault.kind] += 1
            said = "nobody there: "
        self._say(f"{said}{fault}")

    def tend(self) -> None:
        """Undo what is due, hear what traps report, bury the dead and start their successors."""
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        dead = [worker for worker in self._fleet if not worker.alive]
        for worker in dead:
            worker.wait_silent()
        while not self._fleet.hits.empty():
            self._sprung(self._fleet.hits.get())
        for worker in dead:
            self._bury(worker)
        for worker, deadline in list(self._drains.items()):
            if time.monotonic() > deadline:
                self._violated(f"{worker.name} did not drain in time")
                self._away.add(worker)
                worker.kill()
        while len(self._fleet.workers) - len(self._drains) < self.crew:
            self._fleet.start(ttl=self._ttl)
        self._fleet.clear_graves()
        if self._server.up:
            for recovered in self.recoveries.look(held_by(self._engine), time.monotonic()):
                self._say(recovered)

    def end_fleet(self) -> None:
        """Everything is at rest: all workers drain, and all exit with 0."""
        self.crew = 0
        self._away.clear()
        for worker in self._fleet:
            self._begin_drain(worker)
        while self._drains:
            self.tend()
            time.sleep(END_LOOK)

    @property
    def quiet(self) -> bool:
        """Nothing that was broken is still to be mended."""
        return not self._later and not self._drains

    def cease(self) -> None:
        """No trap and no cut springs from now on; what is broken already is mended in time."""
        self.crew = max(self.crew, 2)
        for worker in self._fleet:
            worker.disarm()
            worker.proxy.forget_cuts()

    # What happens afterwards

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._numbers), act))

    def _say(self, what: str) -> None:
        self._diary.write(f"{time.monotonic() - self._began:8.2f} {what}\n")

    def _violated(self, what: str) -> None:
        self.violations.append(what)
        self._say(f"VIOLATION {what}")

    def _sprung(self, hit: Hit) -> None:
        kind = "freeze-at-point" if hit.act == "stop" else "kill-at-point"
        self.injected[kind] += 1
        self._say(f"{hit.act} of {hit.worker.name} at {hit.point}")
        self._note_loss(hit.worker)
        if hit.act == "stop":
            self._leave_alone(hit.worker, FROZEN * self._ttl, hit.worker.cont)
        else:
            self._away.add(hit.worker)

    def _bury(self, worker: ChaosWorker) -> None:
        code = worker.process.returncode
        # A row may kill its worker at any time.
        expected = {-signal.SIGKILL} | ({0} if worker in self._drains else set())
        if worker in self._twice:
            expected |= {128 + signal.SIGTERM}
        if code not in expected:
            self._violated(f"{worker.name} exited with {code}")
        if code == -signal.SIGKILL and worker not in self._away:
            self.deaths_by_row += 1
            self._note_loss(worker)
        self._say(f"{worker.name} is gone ({code})")
        self._away.discard(worker)
        self._twice.discard(worker)
        self._drains.pop(worker, None)
        self._fleet.bury(worker)

    def _note_loss(self, worker: ChaosWorker) -> None:
        if self._server.up:
            held = held_by(self._engine, worker.name)
            self.recoveries.lost(worker.name, held, time.monotonic())

    def _leave_alone(self, worker: ChaosWorker, seconds: float, then: Callable[[], None]) -> None:
        """No other fault for ``worker`` until ``then`` has ended this one."""
        self._away.add(worker)

        def back() -> None:
            then()
            self._away.discard(worker)

        self._after(seconds, back)

    # Workers

    def _victim(self, fault: Fault) -> ChaosWorker:
        at_hand = [
            w for w in self._fleet if w.ready and w not in self._away and w not in self._drains
        ]
        if not at_hand:
            raise NotNow
        return at_hand[fault.victim % len(at_hand)]

    def _unreachable(self, fault: Fault) -> ChaosWorker:
        """A victim that stands still and whose link may be broken for longer than a lease.

        Of a suspect that runs alone behind the same link nobody could tell its silence from its
        own death.
        """
        worker = self._victim(fault)
        worker.stop()
        worker.wait_stopped()  # and so it starts nobody either
        if worker.works_alone:
            worker.cont()
            raise Spared
        self._note_loss(worker)
        return worker

    def _kill(self, fault: Fault) -> bool:
        worker = self._victim(fault)
        self._note_loss(worker)
        self._away.add(worker)
        worker.kill()
        return True

    def _kill_at_point(self, fault: Fault) -> bool:
        self._victim(fault).arm(fault.point, "kill", fault.nth)
        return False  # counted when it is sprung

    def _freeze_at_point(self, fault: Fault) -> bool:
        self._victim(fault).arm(fault.point, "stop", fault.nth)
        return False

    def _zombie(self, fault: Fault) -> bool:
        worker = self._victim(fault)
        worker.stop()
        worker.wait_stopped()
        self._note_loss(worker)
        self._leave_alone(worker, fault.seconds, worker.cont)
        return True

    def _drain(self, fault: Fault) -> bool:
        self._begin_drain(self._victim(fault))
        return True

    def _begin_drain(self, worker: ChaosWorker) -> None:
        self._drains[worker] = time.monotonic() + worker.options.grace + DRAINED
        worker.terminate()

    def _drain_twice(self, fault: Fault) -> bool:
        worker = self._victim(fault)
        self._twice.add(worker)
        self._begin_drain(worker)
        self._after(SECOND_SIGTERM, worker.terminate)  # does nothing once it has exited
        return True

    def _drain_group(self, fault: Fault) -> bool:
        """SIGTERM to the worker and to all it started, as a supervisor does that stops a unit."""
        worker = self._victim(fault)
        self._begin_drain(worker)
        processes.send(signal.SIGTERM, *(processes.group(worker.pid) - {worker.pid}))
        return True

    def _change_crew(self, fault: Fault) -> bool:
        """Two to five reapers at once; who is too many drains."""
        self.crew = fault.crew
        if len(self._fleet.workers) - len(self._drains) > self.crew:
            self._drain(fault)
        return True

    def _skew(self, fault: Fault) -> bool:
        """One more worker, whose clock is wrong by hours."""
        self._fleet.start(name="skewed", ttl=self._ttl, clock_ahead=3600 * fault.hours)
        return True

    # Connections

    def _terminate_backend(self, fault: Fault) -> bool:
        worker = self._victim(fault)
        if not self._server.terminate_backend(f"{worker.name}%"):
            raise NotNow
        return True

    def _cut(self, fault: Fault) -> bool:
        return self._victim(fault).proxy.cut() > 0

    def _cut_after(self, fault: Fault) -> bool:
        proxy = self._victim(fault).proxy
        proxy.cut_after(marker(fault.point), fault.nth, at_commit=fault.at_commit)
        return True

    def _cut_before(self, fault: Fault) -> bool:
        proxy = self._victim(fault).proxy
        proxy.cut_before(marker(fault.point), fault.nth, at_commit=fault.at_commit)
        return True

    def _blackhole(self, fault: Fault) -> bool:
        worker = self._unreachable(fault)
        worker.proxy.blackhole(fault.seconds)
        worker.cont()
        self._leave_alone(worker, fault.seconds + self._ttl, lambda: None)
        return True

    def _hold(self, fault: Fault) -> bool:
        worker = self._unreachable(fault)
        worker.proxy.hold(fault.seconds)
        worker.cont()
        self._leave_alone(worker, fault.seconds + self._ttl, lambda: None)
        return True

    def _deafen(self, fault: Fault) -> bool:
        if not self._victim(fault).proxy.deafen():
            raise NotNow
        return True

    # The server

    def _all_lose(self) -> None:
        self.recoveries.lost("the server", held_by(self._engine), None)

    def _server_back(self) -> None:
        self.recoveries.server_is_back(time.monotonic())

    def _start_server(self) -> None:
        self._server.start()
        self._server_back()

    def _server_crash(self, _fault: Fault) -> bool:
        self._all_lose()
        self._server.crash()
        self._start_server()
        return True

    def _server_restart(self, _fault: Fault) -> bool:
        self._all_lose()
        self._server.restart()
        self._server_back()
        return True

    def _crash_in_recovery(self, _fault: Fault) -> bool:
        self._all_lose()
        during = self._server.crash_in_recovery()
        self._start_server()
        if not during:  # two crashes, neither of them in a recovery
            self.injected["server-crash"] += 1
        return during

    def _outage(self, fault: Fault) -> bool:
        self._all_lose()
        self._server.crash()
        self._after(fault.seconds, self._start_server)
        return True

    def _server_freeze(self, fault: Fault) -> bool:
        self._all_lose()
        self._server.freeze()
        self._after(fault.seconds, self._thaw)
        return True

    def _freeze_all(self, fault: Fault) -> bool:
        """Server and workers stand still together, as in a machine that was put to sleep."""
        self._all_lose()
        frozen = [w for w in self._fleet if w.ready and w not in self._away]
        for worker in frozen:
            worker.stop()
            self._leave_alone(worker, fault.seconds, worker.cont)
        self._server.freeze()
        self._after(fault.seconds, self._thaw)
        return True

    def _thaw(self) -> None:
        self._server.thaw()
        self._server_back()
