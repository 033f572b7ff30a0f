"""Child processes: whatever a step does to itself, the worker lives and names the cause.

The steps are Python expressions that a child evaluates: a stranger's bytes at their worst.
"""

import gc
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel, RootModel
from sqlalchemy import Engine, select
from structlog.testing import capture_logs

from backend.db import Sessions, make_engine
from backend.queue import confinement, control
from backend.queue.pipeline import Done, Isolation, Outcome, Pipeline, Rewind, Step
from backend.queue.retry import Died, Permanent, StepError, TimedOut, Transient
from tests.integration.queue.ledger import Rows, eventually
from tests.integration.queue.probe_workload import PARCEL, Parcel, effects, save
from workers import isolation, kept_child
from workers.alone import run_alone
from workers.assignment import Assignment, Policy
from workers.daemon import Daemon
from workers.isolation import Children
from workers.kept_child import MAX_ANSWER
from workers.main import _say_confinement

MEBIBYTE = 2**20


class Answer(BaseModel):
    value: str | int | list[str]


Source = RootModel[str]


def step(**limits: Any) -> Step:
    limits = {"timeout": timedelta(seconds=10), "memory": 256 * MEBIBYTE, **limits}
    return Step("inspect", eval, save=save, isolation=Isolation.PROCESS, result=Answer, **limits)


def statements(*lines: str) -> str:
    """An expression that runs ``lines``."""
    return f"exec({chr(10).join(lines)!r})"


def answering(value: str) -> str:
    return f"{{'value': {value}}}"


@pytest.fixture(scope="module")
def held() -> confinement.Confinement:
    """What holds for children on this machine."""
    return confinement.Confinement(**confinement.measured())  # type: ignore[arg-type] # as measured


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    """Shared: whatever one test does to its child, the next one is served."""
    children = Children(2)
    yield children
    children.close()


WITHOUT_SPACES = (
    "from backend.queue import privileges; "
    "privileges.leave = privileges.leave_as_user = lambda spaces: False; "
)
ORDINARY = "from backend.queue import privileges; privileges.become(65534); "


class Lesser(Children):
    """Children that run ``before`` first: a machine with less to offer than this one."""

    def __init__(self, before: str) -> None:
        super().__init__(2)
        self._before = before

    def _start(self, memory: int) -> kept_child.KeptChild:
        whole, before = confinement.python, self._before
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kept_child, "python", lambda run, *rest: whole(before + run, *rest))
            return super()._start(memory)


@contextmanager
def started_with(before: str) -> Iterator[Children]:
    with closing(Lesser(before)) as children:
        yield children


@pytest.fixture(scope="module")
def plain_children() -> Iterator[Children]:
    with started_with(WITHOUT_SPACES) as children:
        yield children


def test_no_child_runs_with_less_confinement_than_those_before_it(
    held: confinement.Confinement,
) -> None:
    if not held.own_processes:
        pytest.skip("not checked: the kernel refuses process namespaces here")
    children = Lesser("")
    with closing(children):
        assert evaluate(children, answering("1")) == 1
        children.close()
        children._before = WITHOUT_SPACES
        with pytest.raises(Transient, match="no_network, own_processes"):
            evaluate(children, answering("1"))
        children._before = ""
        assert evaluate(children, answering("1")) == 1


@pytest.fixture(params=["children", "plain_children"])
def either(request: pytest.FixtureRequest) -> Children:
    """With what the kernel gives, and on one that gives no namespaces."""
    found: Children = request.getfixturevalue(request.param)
    return found


def evaluate(
    children: Children,
    source: str,
    prepare: Callable[[Any, Path], Rewind | None] | None = None,
    **limits: Any,
) -> Any:
    outcome = children.run(step(prepare=prepare, **limits), Source(source), started=lambda: None)
    assert isinstance(outcome, Done)
    return outcome.result.value


def test_a_childs_answer_is_validated_against_the_steps_result(children: Children) -> None:
    assert evaluate(children, answering("6 * 7")) == 42
    for wrong in ("{}", "[1]", "None", "{'value': {'nested': 1}}"):
        with pytest.raises(Died, match="nonsense"):
            evaluate(children, wrong)


def test_what_a_kept_child_rehearsed_is_there_for_each_row() -> None:
    children = Children(1)
    enabled = answering("str(__import__('gc').isenabled())")
    found = [evaluate(children, enabled, rehearse=gc.disable) for _ in range(2)]
    children.close()
    assert found == ["False", "False"]


SPENT = r" after \d+\.\d\d s \(peak \d+ MiB of 256 MiB\)$"


@pytest.mark.parametrize(
    ("source", "cause", "detail"),
    [
        ("__import__('os')._exit(3)", Died, "^exited with 3" + SPENT),
        ("__import__('os')._exit(0)", Died, "^exited with 0" + SPENT),
        ("__import__('ctypes').string_at(0)", Died, "^killed by SIGSEGV" + SPENT),
        ("__import__('os').abort()", Died, "^killed by SIGABRT" + SPENT),
        ("__import__('os').kill(__import__('os').getpid(), 9)", Died, "^killed by SIGKILL" + SPENT),
        ("[bytearray(1 << 20) for _ in iter(int, 1)]", Died,
         "^out of its memory limit of 256 MiB" + SPENT),
        ("'x' * (1 << 29)", Died, "^out of its memory limit of 256 MiB" + SPENT),
        ("(f := open('f', 'wb', 0)).truncate(1 << 31)", Died,
         "^out of its limit of 1024 MiB a file" + SPENT),
        ("float('nan')", Died, "nonsense"),
        ("1 / 0", Transient, "ZeroDivisionError"),
        ("__import__('sys').exit(1)", Died, "exited with 1"),
    ],
)  # fmt: skip
def test_the_death_of_a_child_is_named_and_the_next_row_is_served(
    children: Children, source: str, cause: type[StepError], detail: str
) -> None:
    with pytest.raises(cause, match=detail):
        evaluate(children, answering(source))

    assert evaluate(children, answering("'alive'")) == "alive"


def test_the_peak_of_a_dead_child_is_what_it_used(children: Children) -> None:
    source = statements("x = bytearray(100 << 20)", "x[:] = b'1' * len(x)", "import os",
                        "os._exit(1)")  # fmt: skip
    with pytest.raises(Died) as died:
        evaluate(children, source)

    assert 200 <= int(died.value.detail.partition("(peak ")[2].split()[0]) <= 256


@pytest.mark.parametrize("error", [Permanent, Transient])
def test_a_steps_own_verdict_comes_back_as_it_was_raised(
    children: Children, error: type[StepError]
) -> None:
    source = statements(
        f"from backend.queue.retry import {error.__name__}", f"raise {error.__name__}('because')"
    )
    with pytest.raises(error, match="because"):
        evaluate(children, source)


SOFT = r"^soft limit of 0\.3 s \(peak \d+ MiB of 256 MiB\)$"
HARD = r"^killed at the hard limit of 0\.8 s \(peak \d+ MiB of 256 MiB\)$"


@pytest.mark.parametrize(
    ("limit", "loop"),
    [
        (SOFT, ["while True: pass"]),
        (SOFT, ["import re", "re.match('(a+)+$', 'a' * 50 + 'b')"]),
        (SOFT, ["while True:", "    try:", "        while True: id(1)",
                "    except Exception: pass"]),
        # In a function: a loop's own jump back is not among what its handler guards.
        (HARD, ["def spin():", "    while True: id(1)",
                "while True:", "    try: spin()", "    except BaseException: pass"]),
        (HARD, ["sum(iter(int, 1))"]),  # in C, where no signal is looked at
        (HARD, ["import signal", "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))",
                "while True: pass"]),
    ],
)  # fmt: skip
def test_an_endless_step_is_told_and_then_killed_at_its_limit(
    children: Children, limit: str, loop: list[str]
) -> None:
    hard, soft = timedelta(seconds=0.8), timedelta(seconds=0.3)
    began = time.monotonic()
    with pytest.raises(TimedOut, match=limit):
        evaluate(children, statements(*loop), timeout=hard, soft_timeout=soft)

    assert time.monotonic() - began < 3
    assert evaluate(children, answering("'alive'")) == "alive"


def test_a_step_may_say_itself_when_it_is_told(children: Children) -> None:
    soon = timedelta(seconds=0.2)
    with pytest.raises(TimedOut, match=r"soft limit of 0\.2 s"):
        evaluate(children, statements("while True: pass"), timeout=soon * 99, soft_timeout=soon)
    with pytest.raises(ValueError, match="soft limit"):
        step(timeout=timedelta(seconds=1), soft_timeout=timedelta(seconds=1))


def test_processor_time_is_limited_too(children: Children) -> None:
    """Many threads at once could use many times what the hard limit means."""
    soft = "__import__('resource').getrlimit(__import__('resource').RLIMIT_CPU)[0]"

    assert 10 <= evaluate(children, answering(soft), timeout=timedelta(seconds=10)) <= 13


@pytest.mark.parametrize("descriptor", [1, 2])
def test_what_a_library_prints_is_not_taken_for_the_answer(
    children: Children, descriptor: int
) -> None:
    garbage = f"__import__('os').write({descriptor}, b'{{\"ok\": 1}}' * 10000)"
    assert evaluate(children, answering(f"[str({garbage} and 'mine'), print('x') or 'y']")) == [
        "mine", "y",
    ]  # fmt: skip


def test_an_answer_that_is_too_long_is_refused_and_the_next_row_is_served(
    children: Children,
) -> None:
    with pytest.raises(Permanent, match="longer"):
        evaluate(children, answering(f"'x' * {MAX_ANSWER + 1}"), memory=1024 * MEBIBYTE)

    assert evaluate(children, answering("'alive'")) == "alive"


def test_an_input_and_an_answer_that_no_pipe_holds_at_once_arrive_whole(
    children: Children,
) -> None:
    long = "x" * 2**20

    assert evaluate(children, answering(repr(long))) == long


DESCRIPTORS = (
    "(lambda os: [(lambda f: os.readlink(f) if os.path.islink(f) else 'listing')"
    "(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')])(__import__('os'))"
)


def test_a_child_inherits_no_secret_and_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "JWT_SECRET", "PGPASSWORD"):
        monkeypatch.setenv(name, "a secret")
    child = Children(1)
    with Path(os.devnull).open() as opened:
        os.set_inheritable(opened.fileno(), True)
        environment = evaluate(child, answering("sorted(__import__('os').environ)"))
        found = evaluate(child, answering(DESCRIPTORS))
    child.close()

    assert set(environment) <= {"LANG", "LC_CTYPE", "PATH"}
    # Python's own folders are kept usable where only root may enter those above them.
    others = [path for path in found if path not in sys.path]
    (pipe,) = [path for path in others if path.startswith("pipe:")]  # where it answers to
    (printed,) = {path for path in others if others.count(path) == 2}  # where it prints to
    assert sorted(others) == sorted([os.devnull, printed, printed, pipe, "listing"])


def test_a_childs_scratch_folder_is_its_own_and_is_removed(children: Children) -> None:
    source = "[open('left', 'w').close() or __import__('os').getcwd()]"
    (first,) = evaluate(children, answering(source))
    (second,) = evaluate(children, answering(source))

    assert first != second
    assert not Path(first).exists()
    assert not Path(second).exists()


MARKS = count(600_000_000)


def grandchild(more: str = "") -> tuple[str, Callable[[], bool]]:
    """An expression that starts a process, and whether that runs: its id is not the same here."""
    mark = f"{next(MARKS)}.{os.getpid()}"

    def runs() -> bool:
        return any(mark.encode() in command for command in commands())

    return f"__import__('subprocess').Popen(['sleep', '{mark}']{more}).pid", runs


def commands() -> Iterator[bytes]:
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield found.read_bytes()  # empty for a zombie
        except OSError:
            continue


POOL = ThreadPoolExecutor(8)
"""Its threads live on: Linux ends a child when the thread ends that started it."""


@contextmanager
def evaluating(children: Children, source: str, **how: Any) -> Iterator[Callable[[], Outcome]]:
    """Run ``source`` in the background; gives its outcome, or raises what it raised."""
    started = how.pop("started", lambda: None)
    limits = {"timeout": how.pop("timeout", timedelta(seconds=2))}
    running = POOL.submit(children.run, step(**limits), Source(source), started=started, **how)
    try:
        yield lambda: running.result(20)
    finally:
        wait([running])


@pytest.mark.parametrize("more", ["", ", start_new_session=True"])
@pytest.mark.parametrize("ends", ["while True: pass", "import time; time.sleep(.8); 1 / 0"])
def test_what_a_step_starts_can_neither_hang_the_worker_nor_outlive_its_row(
    either: Children, ends: str, more: str
) -> None:
    start, runs = grandchild(more)
    with evaluating(either, statements(start, ends)) as outcome:
        eventually(runs, within=5)
        with pytest.raises((TimedOut, Transient)):
            outcome()

    assert not runs()


def test_processes_that_a_step_leaves_running_are_gone_when_its_answer_is_there(
    either: Children,
) -> None:
    start, runs = grandchild()
    assert evaluate(either, answering(start)) > 0

    assert not runs()


def test_a_fork_bomb_stays_within_its_limit_and_leaves_nothing(
    children: Children, held: confinement.Confinement
) -> None:
    if held.max_processes is None:
        pytest.skip("not checked: no user and no user namespace of its own, so none to limit")
    bomb = statements(
        "import os, time",
        "from backend.queue.retry import Permanent",
        "made = 0",
        "while True:",
        "    try:",
        "        if os.fork(): made += 1",
        "        else: time.sleep(600)",
        "    except BlockingIOError: raise Permanent(f'{made} processes')",
    )
    with pytest.raises(Permanent) as ended:
        evaluate(children, bomb)
    assert 1 < int(ended.value.detail.split()[0]) < held.max_processes

    endless = statements("import os", "while True:", "    try: os.fork()", "    except OSError: 0")
    with pytest.raises(TimedOut):
        evaluate(children, endless, timeout=timedelta(seconds=0.8))
    of_its_user = (
        "(lambda os: sum(os.stat(f'/proc/{n}').st_uid == os.getuid()"
        " for n in os.listdir('/proc') if n.isdigit()))(__import__('os'))"
    )
    if held.own_uid:  # the one that waits, the kept one and this row's fork
        assert evaluate(children, answering(of_its_user)) <= 3


def test_a_row_leaves_nothing_behind_in_the_child_for_the_next_one(children: Children) -> None:
    evaluate(children, answering("[str(setattr(__import__('json'), 'left', 1))]"))

    assert evaluate(children, answering("str(hasattr(__import__('json'), 'left'))")) == "False"


def test_a_second_answer_is_not_taken_for_that_of_the_next_row(children: Children) -> None:
    forged = b'{"ok": {"value": "forged"}}'
    framed = len(forged).to_bytes(4, "big") + forged
    fds = "[int(n) for n in __import__('os').listdir('/proc/self/fd') if int(n) > 2]"
    twice = f"[__import__('threading').Timer(0.05, lambda: [w(fd, {framed!r}) for fd in {fds}])"
    source = f"(lambda w: {answering('str(' + twice + '.start()])')})(__import__('os').write)"
    evaluate(children, source)
    slow = "(__import__('time').sleep(0.3), 'mine')[1]"

    assert evaluate(children, answering(slow)) == "mine"


def test_no_more_children_run_at_once_than_there_are_slots() -> None:
    children, clock = Children(2), "str(__import__('time').monotonic())"
    lived = answering(f"[{clock}, __import__('time').sleep(0.05) or {clock}]")
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(evaluate, children, lived) for _ in range(6)]
        spans = [[float(when) for when in answer.result(20)] for answer in answers]
    children.close()
    # All processes of a machine read one monotonic clock.
    assert max(sum(began <= at < ended for began, ended in spans) for at, _ in spans) == 2


def test_children_of_two_memory_limits_are_both_kept() -> None:
    happened: list[str] = []
    children = Children(1, happened=happened.append)
    for _ in range(3):
        for memory in 256, 512:
            evaluate(children, answering("1"), memory=memory * 1024 * 1024)
    children.close()
    assert happened == ["started"] * 2 + ["closed"] * 2


def test_the_child_that_nobody_needed_for_longest_makes_room_for_others() -> None:
    happened: list[str] = []
    children = Children(1, happened=happened.append)
    for memory in 256, 300, 350, 300, 350:
        evaluate(children, answering("1"), memory=memory * 1024 * 1024)
    assert happened == ["started", "started", "started", "replaced"]
    children.close()


def test_a_child_has_no_network(children: Children, held: confinement.Confinement) -> None:
    if not held.no_network:
        pytest.skip("not checked: the kernel refuses network namespaces here")
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = f"__import__('socket').create_connection({server.getsockname()!r}, 2)"
        with pytest.raises(Transient, match="unreachable"):
            evaluate(children, answering(connect))


def test_a_child_can_reach_no_other_process(
    children: Children, held: confinement.Confinement
) -> None:
    if not held.own_processes:
        pytest.skip("not checked: the kernel refuses process namespaces here")
    with pytest.raises(Transient, match="ProcessLookupError"):
        evaluate(children, f"__import__('os').kill({os.getpid()}, 0)")
    with pytest.raises(Transient, match=r"ProcessLookupError|PermissionError"):
        evaluate(children, f"open('/proc/{os.getpid()}/environ').read() and 1 / 0")


@pytest.mark.skipif(sys.platform != "linux", reason="not checked: Linux's own")
def test_a_child_has_no_privileges_and_can_gain_none(either: Children) -> None:
    status = dict(
        line.split(":\t")
        for line in evaluate(either, answering("open('/proc/self/status').read()")).splitlines()
        if ":\t" in line
    )
    assert status["NoNewPrivs"] == "1"
    assert [int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")] == [0] * 4


ROOT = pytest.mark.skipif(
    os.geteuid() != 0, reason="not checked: only root can give a child another user"
)


@ROOT
def test_a_child_of_root_has_a_user_of_its_own_that_owns_only_its_scratch_folder(
    either: Children, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("for the worker alone")
    secret.chmod(0o600)
    ids = "(lambda os: [str(i) for i in (*os.getresuid(), *os.getresgid(), *os.getgroups())])"
    own = set(evaluate(either, answering(ids + "(__import__('os'))")))

    assert len(own) == 1
    assert int(own.pop()) >= 2_000_000_000
    with pytest.raises(Transient, match="PermissionError"):
        evaluate(either, f"open({str(secret)!r})")
    owned = "__import__('os').stat('.').st_uid == __import__('os').getuid()"
    assert evaluate(either, answering(owned)) == 1


def test_the_worker_copies_what_a_step_needs_into_its_scratch_folder(
    either: Children, tmp_path: Path
) -> None:
    def prepare(snapshot: RootModel[str], folder: Path) -> None:
        (folder / "copy").write_bytes((tmp_path / "input").read_bytes())
        (folder / "copy").chmod(0o600)

    (tmp_path / "input").write_text("bytes")
    read = answering("open('copy').read() + str(open('copy', 'a').write('mine'))")
    assert evaluate(either, read, prepare=prepare) == "bytes4"


def test_a_step_whose_input_is_gone_starts_no_child(children: Children) -> None:
    gone = step(prepare=lambda _snapshot, _folder: Rewind("gone"))

    assert children.run(gone, Source("1 / 0"), started=lambda: None) == Rewind("gone")


@ROOT
def test_children_of_an_ordinary_worker_keep_its_user_and_are_confined_all_the_same(
    held: confinement.Confinement,
) -> None:
    with started_with(ORDINARY) as children:
        opened = {"prepare": lambda _snapshot, folder: folder.chmod(0o777)}  # root made it
        found = evaluate(children, answering("__import__('os').getuid()"), **opened)
        assert found == 65534
        with pytest.raises(Died, match="SIGSEGV"):
            evaluate(children, "__import__('ctypes').string_at(0)", **opened)
        # Whether an ordinary user may have namespaces is the kernel's to say.
        (child,) = {evaluate(children, answering("1"), **opened): children._idle[-1]}.values()
        if child.confinement.no_network:
            connect = "__import__('socket').create_connection(('127.0.0.1', 9), 2)"
            with pytest.raises(Transient, match="unreachable"):
                evaluate(children, answering(connect), **opened)


def test_what_confines_children_is_measured_for_the_operator(
    children: Children, held: confinement.Confinement
) -> None:
    evaluate(children, answering("1"))
    (*_, child) = children._idle

    for name in ("own_uid", "no_network", "own_processes", "max_processes", "no_new_privileges"):
        assert getattr(child.confinement, name) == getattr(held, name)


LIMITED = """
import json, resource, socket
own = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
print(json.dumps([
    own["NoNewPrivs"], int(own["CapEff"], 16), socket.if_nameindex(),
    resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    resource.getrlimit(resource.RLIMIT_CORE)[0],
]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="not checked: Linux's own")
def test_a_program_that_scans_has_limits_no_privileges_and_no_network_it_does_not_need(
    held: confinement.Confinement,
) -> None:
    def told(*, network: bool) -> list[Any]:
        command = confinement.limited(
            [sys.executable, "-I", "-S", "-c", LIMITED],
            memory=2**30, files=32, seconds=10, network=network,
        )  # fmt: skip
        found: list[Any] = json.loads(
            subprocess.run(command, check=True, capture_output=True).stdout
        )
        return found

    everywhere = [name for _number, name in socket.if_nameindex()]
    flags, capabilities, interfaces, *limits = told(network=False)
    assert (flags, capabilities, limits) == ("1", 0, [2**30, 32, 0])
    if held.no_network:
        assert [name for _number, name in interfaces] == ["lo"]
    assert [name for _number, name in told(network=True)[2]] == everywhere


def test_a_starting_worker_says_what_confines_its_children(
    held: confinement.Confinement,
) -> None:
    with capture_logs() as said:
        _say_confinement()

    (line,) = said
    assert line["event"] == "isolation.confinement"
    assert {name: line[name] for name in ("own_uid", "no_network", "max_processes")} == {
        "own_uid": held.own_uid,
        "no_network": held.no_network,
        "max_processes": held.max_processes,
    }


def kept(children: Children) -> set[int]:
    return {child.confinement.pid for child in children._idle}


@pytest.mark.parametrize(("limit", "value"), [("TASKS", 2), ("RSS_CEILING", 1)])
def test_a_child_is_replaced_after_so_many_rows_or_so_much_memory(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    children = Children(1)
    evaluate(children, answering("1"))
    first = kept(children)
    assert len(first) == 1

    monkeypatch.setattr(isolation, limit, value)
    evaluate(children, answering("2"))
    assert kept(children) == set()
    evaluate(children, answering("3"))
    children.close()


def test_a_row_that_stalled_twice_has_a_child_to_itself(children: Children) -> None:
    evaluate(children, answering("1"))
    before = kept(children)
    born = "open('/proc/self/stat').read()"
    for _ in range(2):
        children.run(step(), Source(answering(born)), started=lambda: None, fresh=True)

    assert kept(children) == before


def test_a_lost_rows_child_is_killed_at_once_with_all_it_started_and_no_other_child(
    either: Children,
) -> None:
    stops: list[Callable[[], None]] = []

    @contextmanager
    def watch(stop: Callable[[], None]) -> Iterator[None]:
        stops.append(stop)
        yield

    start, runs = grandchild(", start_new_session=True")
    lost = statements(start, "import time", "time.sleep(60)")
    neighbour = answering("str(__import__('time').sleep(1))")
    minute = timedelta(minutes=1)
    with (
        evaluating(either, neighbour, timeout=minute) as neighbours,
        evaluating(either, lost, timeout=minute, watch=watch) as outcome,
    ):
        eventually(runs)
        began = time.monotonic()
        stops[0]()
        with pytest.raises(Died, match=r"^child .+ after \d+\.\d\d s \(peak [1-9]\d* MiB"):
            outcome()
        assert time.monotonic() - began < 1
        assert not runs()
        assert neighbours() == Done(Answer(value="None"))


def parcels(**limits: Any) -> Pipeline:
    def load(session: Any, row_id: int) -> RootModel[str]:
        return Source(session.scalars(select(Parcel.payload).where(Parcel.id == row_id)).one())

    return Pipeline(queue=PARCEL, steps=(step(**limits),), load=load)


POLICY = Policy(
    ttl=timedelta(seconds=1),
    concurrency=4,
    children=2,
    interval=timedelta(seconds=0.2),
    grace=timedelta(seconds=3),
)


@pytest.fixture
def serving(database_url: str) -> Iterator[Daemon]:
    engine: Engine = make_engine(database_url, application_name="worker under test")
    daemon = Daemon(engine, engine, [Assignment(parcels(timeout=timedelta(seconds=2)))], POLICY)
    yield daemon
    daemon.drain()
    engine.dispose()


def test_hostile_rows_cost_only_their_own_attempts_and_end_as_poison_alone(
    rows: Rows, engine: Engine, serving: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endless one runs for twice the lease time: nobody's lease runs out meanwhile."""
    good = [rows.one(PARCEL, payload=answering(str(n))) for n in range(12)]
    killers = ("__import__('ctypes').string_at(0)", "__import__('os')._exit(9)")
    hostile = [rows.one(PARCEL, payload=payload) for payload in killers]
    endless = rows.one(PARCEL, payload=statements("sum(iter(int, 1))"), max_attempts=1)
    serving.start()

    def at_rest() -> bool:
        return all(
            row.status in {"delivered", "returned"} or row.stalls == 2
            for row in (rows.row(row_id, PARCEL) for row_id in rows.statuses(PARCEL))
        )

    eventually(at_rest, within=40)
    assert [rows.row(row_id, PARCEL).status for row_id in good] == ["delivered"] * 12
    assert rows.row(endless, PARCEL).failure == "timeout"
    assert rows.row(endless, PARCEL).error.startswith("killed at the hard limit of 2 s (peak")
    assert [rows.outcomes(row_id) for row_id in good] == [["done"]] * 12
    assert [rows.outcomes(row_id) for row_id in hostile] == [["died", "died"]] * 2
    assert serving.healthy
    with rows.sessions.begin() as session:
        assert effects(session) == {(row_id, "inspect"): 1 for row_id in good}

    fresh: list[bool] = []
    run = Children.run

    def seen(self: Children, *what: Any, **how: Any) -> Outcome:
        fresh.append(how["fresh"])
        return run(self, *what, **how)

    monkeypatch.setattr(Children, "run", seen)

    def convicted() -> bool:
        run_alone(
            engine, Assignment(parcels()), POLICY, name="alone", token=uuid4(),
            stop=threading.Event(),
        )  # fmt: skip
        return {rows.row(row_id, PARCEL).status for row_id in hostile} == {"returned"}

    eventually(convicted)
    assert fresh == [True, True]
    assert [rows.row(row_id, PARCEL).failure for row_id in hostile] == ["poison"] * 2
    assert "killed by SIGSEGV after" in rows.row(hostile[0], PARCEL).error


def test_cancelling_a_running_row_kills_its_child(
    rows: Rows, serving: Daemon, sessions: Sessions
) -> None:
    start, runs = grandchild()
    serving._producers[0]._executor._pipeline = parcels(timeout=timedelta(minutes=1))
    endless = rows.one(PARCEL, payload=statements(start, "import time", "time.sleep(60)"))
    neighbour = rows.one(PARCEL, payload=answering("str(__import__('time').sleep(1))"))
    serving.start()
    eventually(runs)
    with sessions.begin() as session:
        control.cancel(session, PARCEL, [endless], why="not wanted")

    eventually(lambda: not runs(), within=5)
    eventually(lambda: rows.row(neighbour, PARCEL).status == "delivered")
    assert rows.row(endless, PARCEL).failure == "cancelled"
    assert rows.outcomes(endless) == ["cancelled"]


def test_waiting_for_a_childs_slot_is_no_stall(rows: Rows, serving: Daemon) -> None:
    """A row's time without progress counts from when its child may begin."""
    for _ in range(3):
        rows.one(PARCEL, payload=answering("str(__import__('time').sleep(0.7))"))
    serving.start()

    def begun_late() -> bool:
        found = [rows.row(row_id, PARCEL) for row_id in rows.statuses(PARCEL)]
        return any(
            row.status == "inspecting"
            and row.progressed_at - row.started_at > timedelta(milliseconds=300)
            for row in found
        )

    eventually(begun_late, within=10)


def test_scratch_folders_that_killed_workers_left_behind_are_removed_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "_roomiest", lambda: str(tmp_path))
    left, fresh, other = (
        tmp_path / name for name in ("lockkeeper-step-1", "lockkeeper-step-2", "somebody-elses")
    )
    for folder in (left, fresh, other):
        folder.mkdir()
        (folder / "unpacked").write_text("much")
    for folder in (left, other):
        os.utime(folder, (0, 0))

    isolation.sweep_leftovers()
    assert sorted(tmp_path.iterdir()) == [fresh, other]
