"""What each kind of fault does. Each function answers whether its fault has happened by now."""

import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

from tests.chaos import processes
from tests.chaos.fleet import ChaosWorker
from tests.chaos.harness import Harness, NotNow, Spared
from tests.chaos.points import marker
from tests.chaos.schedule import Fault

SECOND_SIGTERM: Final = 0.1  # seconds after the first
TRIES: Final = 40  # to find a worker amid a transaction
GLANCE: Final = 0.01  # seconds


def inject(harness: Harness, fault: Fault) -> None:
    """Make ``fault`` happen, or note why it cannot."""
    said = ""
    try:
        if KINDS[fault.kind](harness, fault):
            harness.injected[fault.kind] += 1
    except Spared:
        harness.spared[fault.kind] += 1
        said = "spared: "
    except NotNow:
        harness.missed[fault.kind] += 1
        said = "nobody there: "
    harness.say(f"{said}{fault}")


# Workers


def stopped(harness: Harness, fault: Fault) -> ChaosWorker:
    """A victim that stands still."""
    worker = harness.victim(fault)
    worker.stop()
    worker.wait_stopped()
    if not worker.alive:  # a row was faster
        raise NotNow
    return worker


def unreachable(harness: Harness, fault: Fault) -> ChaosWorker:
    """A victim that stands still and whose link may be broken for longer than a lease.

    Of a suspect that runs alone behind the same link nobody could tell its silence from its death.
    """
    worker = stopped(harness, fault)  # and so it starts nobody either
    if worker.works_alone:
        worker.cont()
        raise Spared
    harness.lose(worker)
    return worker


def kill(harness: Harness, fault: Fault) -> bool:
    worker = harness.victim(fault)
    harness.lose(worker)
    harness.take_away(worker)
    worker.kill()
    return True


def kill_at_point(harness: Harness, fault: Fault) -> bool:
    harness.victim(fault).arm(fault.point, "kill", fault.nth)
    return False


def freeze_at_point(harness: Harness, fault: Fault) -> bool:
    harness.victim(fault).arm(fault.point, "stop", fault.nth)
    return False


def zombie(harness: Harness, fault: Fault) -> bool:
    worker = stopped(harness, fault)
    harness.lose(worker)
    harness.take_away_for(worker, fault.seconds, worker.cont)
    return True


def drain(harness: Harness, fault: Fault) -> bool:
    harness.drain(harness.victim(fault))
    return True


def drain_twice(harness: Harness, fault: Fault) -> bool:
    worker = harness.victim(fault)
    harness.drain(worker, twice=True)
    harness.after(SECOND_SIGTERM, worker.terminate)  # does nothing once it has exited
    return True


def drain_group(harness: Harness, fault: Fault) -> bool:
    """SIGTERM to the worker and to all it started, as a supervisor does that stops a unit."""
    worker = harness.victim(fault)
    harness.drain(worker)
    processes.send(signal.SIGTERM, *(processes.group(worker.pid) - {worker.pid}))
    return True


def change_crew(harness: Harness, fault: Fault) -> bool:
    """Two to five reapers at once; who is too many drains."""
    harness.crew = fault.crew
    return harness.too_many and drain(harness, fault)


def skew(harness: Harness, fault: Fault) -> bool:
    """One more worker, whose clock is wrong by hours."""
    harness.fleet.start(name="skewed", ttl=harness.ttl, clock_ahead=3600 * fault.hours)
    return True


# Connections


def terminate_backend(harness: Harness, fault: Fault) -> bool:
    worker = harness.victim(fault)
    for _ in range(TRIES):
        if harness.server.terminate_backend(worker.name):
            return True
        time.sleep(GLANCE)
    raise NotNow


def cut(harness: Harness, fault: Fault) -> bool:
    return harness.victim(fault).proxy.cut() > 0


def cut_after(harness: Harness, fault: Fault) -> bool:
    proxy = harness.victim(fault).proxy
    happened = proxy.cut_after(marker(fault.point), fault.nth, at_commit=_at_commit(fault))
    harness.expect(fault.kind, happened)
    return False


def cut_before(harness: Harness, fault: Fault) -> bool:
    proxy = harness.victim(fault).proxy
    happened = proxy.cut_before(marker(fault.point), fault.nth, at_commit=_at_commit(fault))
    harness.expect(fault.kind, happened)
    return False


def _at_commit(fault: Fault) -> bool:
    """A turn has no COMMIT of its own."""
    return fault.at_commit and fault.point != "turn"


def blackhole(harness: Harness, fault: Fault) -> bool:
    worker = unreachable(harness, fault)
    worker.proxy.blackhole(fault.seconds)
    worker.cont()
    harness.take_away_for(worker, fault.seconds + harness.ttl)
    return True


def hold(harness: Harness, fault: Fault) -> bool:
    worker = unreachable(harness, fault)
    worker.proxy.hold(fault.seconds)
    worker.cont()
    harness.take_away_for(worker, fault.seconds + harness.ttl)
    return True


def deafen(harness: Harness, fault: Fault) -> bool:
    if not harness.victim(fault).proxy.deafen():
        raise NotNow
    return True


# The server


def start_server(harness: Harness) -> None:
    harness.server.start()
    harness.server_is_back()


def thaw_server(harness: Harness) -> None:
    harness.server.thaw()
    harness.server_is_back()


def server_crash(harness: Harness, _fault: Fault) -> bool:
    harness.lose_server()
    harness.server.crash()
    start_server(harness)
    return True


def server_restart(harness: Harness, _fault: Fault) -> bool:
    harness.lose_server()
    harness.server.restart()
    harness.server_is_back()
    return True


def crash_in_recovery(harness: Harness, _fault: Fault) -> bool:
    harness.lose_server()
    during = harness.server.crash_in_recovery()
    start_server(harness)
    if not during:  # two crashes, neither of them in a recovery
        harness.injected["server-crash"] += 1
    return during


def outage(harness: Harness, fault: Fault) -> bool:
    harness.lose_server()
    harness.server.crash()
    harness.after(fault.seconds, lambda: start_server(harness))
    return True


def server_freeze(harness: Harness, fault: Fault) -> bool:
    harness.lose_server()
    harness.server.freeze()
    harness.after(fault.seconds, lambda: thaw_server(harness))
    return True


def freeze_all(harness: Harness, fault: Fault) -> bool:
    """Server and workers stand still together, as in a machine that was put to sleep."""
    harness.lose_server()
    for worker in harness.at_work:
        worker.stop_all()
        harness.take_away_for(worker, fault.seconds, worker.cont_all)
    harness.server.freeze()
    harness.after(fault.seconds, lambda: thaw_server(harness))
    return True


KINDS: Final[Mapping[str, Callable[[Harness, Fault], bool]]] = {
    "kill": kill,
    "kill-at-point": kill_at_point,
    "zombie": zombie,
    "freeze-at-point": freeze_at_point,
    "drain": drain,
    "drain-twice": drain_twice,
    "drain-group": drain_group,
    "crew": change_crew,
    "skew": skew,
    "server-crash": server_crash,
    "server-restart": server_restart,
    "crash-in-recovery": crash_in_recovery,
    "outage": outage,
    "server-freeze": server_freeze,
    "freeze-all": freeze_all,
    "terminate-backend": terminate_backend,
    "cut": cut,
    "cut-after": cut_after,
    "cut-before": cut_before,
    "blackhole": blackhole,
    "hold": hold,
    "deafen": deafen,
}
