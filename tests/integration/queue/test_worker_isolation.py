"""Child processes: whatever a step does to itself, the worker lives and names the cause.

The steps are Python expressions that a child evaluates: a stranger's bytes at their worst.
"""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, RootModel
from sqlalchemy import Engine, select

from backend.db import make_engine
from backend.queue.pipeline import Done, Isolation, Pipeline, Step
from backend.queue.retry import Died, Permanent, StepError, TimedOut, Transient
from tests.integration.queue.ledger import Rows, eventually
from tests.integration.queue.probe_workload import PARCEL, Parcel, effects, save
from workers.daemon import Assignment, Daemon, Policy
from workers.isolation import Children
from workers.kept_child import MAX_ANSWER

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


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children(2)
    yield children
    children.close()


def evaluate(children: Children, source: str, **limits: Any) -> Any:
    outcome = children.run(step(**limits), Source(source), started=lambda: None)
    assert isinstance(outcome, Done)
    return outcome.result.value


def test_a_childs_answer_is_validated_against_the_steps_result(children: Children) -> None:
    assert evaluate(children, answering("6 * 7")) == 42
    for wrong in ("{}", "[1]", "None", "{'value': {'nested': 1}}"):
        with pytest.raises(Died, match="nonsense"):
            evaluate(children, wrong)


@pytest.mark.parametrize(
    ("source", "cause", "detail"),
    [
        ("__import__('os')._exit(3)", Died, "exited with 3"),
        ("__import__('os')._exit(0)", Died, "exited with 0"),
        ("__import__('ctypes').string_at(0)", Died, "SIGSEGV"),
        ("__import__('os').abort()", Died, "SIGABRT"),
        ("__import__('os').kill(__import__('os').getpid(), 9)", Died, "SIGKILL"),
        ("bytearray(1 << 40)", Died, "memory"),
        ("'x' * (1 << 29)", Died, "memory"),
        ("float('nan')", Died, "nonsense"),
        ("1 / 0", Transient, "ZeroDivisionError"),
        ("__import__('sys').exit(1)", Died, "exited with 1"),
    ],
)
def test_the_death_of_a_child_is_named_and_the_next_row_is_served(
    children: Children, source: str, cause: type[StepError], detail: str
) -> None:
    with pytest.raises(cause, match=detail):
        evaluate(children, answering(source))

    assert evaluate(children, answering("'alive'")) == "alive"


@pytest.mark.parametrize("error", [Permanent, Transient])
def test_a_steps_own_verdict_comes_back_as_it_was_raised(
    children: Children, error: type[StepError]
) -> None:
    source = statements(
        f"from backend.queue.retry import {error.__name__}", f"raise {error.__name__}('because')"
    )
    with pytest.raises(error, match="because"):
        evaluate(children, source)


@pytest.mark.parametrize(
    "loop",
    [
        ["while True: pass"],
        ["while True:", "    try:", "        while True: pass", "    except BaseException: pass"],
        ["import time", "time.sleep(60)"],
        ["import signal", "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))",
         "while True: pass"],
    ],
)  # fmt: skip
def test_an_endless_step_ends_at_its_limit(children: Children, loop: list[str]) -> None:
    began = time.monotonic()
    with pytest.raises(TimedOut):
        evaluate(children, statements(*loop), timeout=timedelta(seconds=1))

    assert time.monotonic() - began < 4
    assert evaluate(children, answering("'alive'")) == "alive"


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


def test_a_child_inherits_no_secret_and_no_descriptor(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "JWT_SECRET", "PGPASSWORD"):
        monkeypatch.setenv(name, "a secret")
    listed = "sorted(__import__('os').environ.values())"
    assert "a secret" not in evaluate(children, answering(listed))

    with Path(os.devnull).open() as opened:
        os.set_inheritable(opened.fileno(), True)
        found = evaluate(children, answering("__import__('os').listdir('/proc/self/fd')"))
    assert len(found) == 5  # the three standard ones, the answer, and the listing itself


def test_a_childs_scratch_folder_is_its_own_and_is_removed(children: Children) -> None:
    source = "[open('left', 'w').close() or __import__('os').getcwd()]"
    (first,) = evaluate(children, answering(source))
    (second,) = evaluate(children, answering(source))

    assert first != second
    assert not Path(first).exists()
    assert not Path(second).exists()


def alive(pid: int) -> bool:
    """Whether the process runs: neither gone nor a zombie that nobody has collected."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


GRANDCHILD = "__import__('subprocess').Popen(['sleep', '600']{}).pid"


def test_the_children_of_a_child_die_with_it(children: Children, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    source = statements(
        f"open({str(told)!r}, 'w').write(str({GRANDCHILD.format('')}))", "while True: pass"
    )
    with pytest.raises(TimedOut):
        evaluate(children, source, timeout=timedelta(seconds=1))

    eventually(lambda: not alive(int(told.read_text())), within=5)


def test_what_a_step_leaves_running_does_not_outlive_its_row(children: Children) -> None:
    pid = evaluate(children, answering(GRANDCHILD.format("")))

    eventually(lambda: not alive(pid), within=5)


@pytest.mark.parametrize("ends", ["while True: pass", "import os; os._exit(1)"])
def test_a_grandchild_that_left_the_session_can_neither_hang_the_worker_nor_live_on(
    children: Children, tmp_path: Path, ends: str
) -> None:
    told = tmp_path / "pid"
    escaped = GRANDCHILD.format(", start_new_session=True")
    source = statements(f"open({str(told)!r}, 'w').write(str({escaped}))", ends)
    with pytest.raises((TimedOut, Died)):
        evaluate(children, source, timeout=timedelta(seconds=1))

    eventually(lambda: not alive(int(told.read_text())), within=5)


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
    children, started, lock = Children(2), [], threading.Lock()
    most = 0

    def run() -> None:
        def began() -> None:
            nonlocal most
            with lock:
                started.append(1)
                most = max(most, len(started))

        children.run(step(), Source(answering("1")), started=began)
        with lock:
            started.pop()

    with ThreadPoolExecutor(6) as pool:
        for work in [pool.submit(run) for _ in range(6)]:
            work.result(20)
    children.close()
    assert most <= 3  # one may have left its slot and not yet said so


def parcels(**limits: Any) -> Pipeline:
    def load(session: Any, row_id: int) -> RootModel[str]:
        return Source(session.scalars(select(Parcel.payload).where(Parcel.id == row_id)).one())

    return Pipeline(queue=PARCEL, steps=(step(**limits),), load=load)


@pytest.fixture
def serving(database_url: str) -> Iterator[Daemon]:
    engine: Engine = make_engine(database_url, application_name="worker under test")
    policy = Policy(
        ttl=timedelta(seconds=2), concurrency=4, children=2, interval=timedelta(seconds=0.2)
    )
    daemon = Daemon(engine, engine, [Assignment(parcels(timeout=timedelta(seconds=2)))], policy)
    yield daemon
    daemon.drain()
    engine.dispose()


def test_hostile_rows_end_as_poison_and_their_neighbours_are_done(
    rows: Rows, serving: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.producer.SUSPECTS_EVERY", 0.2)
    good = [rows.one(PARCEL, payload=answering(str(n))) for n in range(12)]
    hostile = [
        rows.one(PARCEL, payload=payload)
        for payload in ("__import__('ctypes').string_at(0)", "__import__('os')._exit(9)")
    ]
    endless = rows.one(PARCEL, payload=statements("while True: pass"), max_attempts=1)
    serving.start()

    ended = {"delivered", "returned"}
    eventually(lambda: set(rows.statuses(PARCEL).values()) <= ended, within=40)
    assert [rows.row(row_id, PARCEL).status for row_id in good] == ["delivered"] * 12
    assert [rows.row(row_id, PARCEL).failure for row_id in hostile] == ["poison"] * 2
    assert rows.row(endless, PARCEL).failure == "timeout"
    assert [rows.outcomes(row_id) for row_id in hostile] == [["died", "died", "failed"]] * 2
    assert serving.healthy
    with rows.sessions.begin() as session:
        assert effects(session) == {(row_id, "inspect"): 1 for row_id in good}


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
