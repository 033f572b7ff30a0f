"""The outside of PROCESS steps: which child runs a row, and what its answer means."""

import contextlib
import functools
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from backend.problems import Malformed
from backend.queue.pipeline import Done, Outcome, Step
from backend.queue.retry import Died, Permanent, TimedOut, Transient
from backend.strictjson import loads
from workers.kept_child import KeptChild, Report, Watch

TASKS: Final = 1000
"""A child is replaced after so many; a new one costs as much as fifty rows."""
RSS_CEILING: Final = 256 * 1024 * 1024
"""Or once it keeps more than this resident, in bytes; numeric libraries alone take two thirds."""
SCRATCH: Final = "lockkeeper-step-"
IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the folders in it have names of their own
"""A file system in memory: on a disk, to make and remove a row's folder is dear."""
ROOMY: Final = 2 * 2**30
"""Bytes that have to be free there: a container's is often small, and steps copy what they open."""
LEFTOVER: Final = 86400.0
"""Seconds after which no step works in its folder any more: the longest takes an hour."""


def _uncounted(_what: str) -> None:
    pass


def _unreported(_percent: int, _message: str) -> None:
    pass


def _unwatched(_stop: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


class Children:
    """Runs PROCESS steps, at most ``limit`` children at once.

    Children are spawned, never forked from this process, and kept for rows of the same memory
    limit; each forks for each row, so that no row can reach another's answer.

    Twice as many may be idle: of several memory limits, each has some at hand.

    ``happened`` is told of each child that it "started", and in one word why it ended: it was
    "recycled", "replaced" by those of other memory limits, "killed" with its row, or "closed".
    """

    def __init__(self, limit: int, *, happened: Callable[[str], None] = _uncounted) -> None:
        self._slots = threading.BoundedSemaphore(limit)
        self._happened = happened
        self._most_idle = 2 * limit
        self._idle: deque[KeptChild] = deque()  # who was needed last comes last
        self._lock = threading.Lock()
        self._held = frozenset[str]()
        """What confined the last child: where the kernel once refuses a part of it, none is run."""

    def run(
        self,
        step: Step,
        snapshot: BaseModel,
        *,
        started: Callable[[], None],
        watch: Watch = _unwatched,
        fresh: bool = False,
        folder: Path | None = None,
        report: Report = _unreported,
    ) -> Outcome:
        """Run ``step`` on ``snapshot``.

        Args:
            step: a PROCESS step.
            snapshot: its input.
            started: called once a slot is free.
            watch: see :data:`~workers.kept_child.Watch`; who is told to stop kills this row's
                child, and no other.
            fresh: use a child for this row alone.
            folder: the :func:`scratch` folder, where it is to outlive this call.
            report: told how far the step says it is, in percent and words.

        Raises:
            Permanent, Transient: what the step itself raised.
            TimedOut: the hard limit passed; the child was killed.
            Died: a signal, the memory limit or an exit without an answer.
        """
        # A slot is for the child alone: what is done before and after it would leave a core idle.
        with scratch(step) if folder is None else contextlib.nullcontext(folder) as place:
            instead = step.prepare(snapshot, place) if step.prepare else None
            if instead is not None:
                return instead
            with self._slots:
                started()
                with self._child(step.memory, fresh=fresh) as child:
                    child.give(place)
                    out = child.ask(step, snapshot.model_dump_json(), place, watch, report)
        return Done(_result(step, _read(out)))

    @contextlib.contextmanager
    def _child(self, memory: int, *, fresh: bool) -> Iterator[KeptChild]:
        """A child that is kept for the next row where the block ends well."""
        child = self._start(memory) if fresh else self._take(memory)
        why = "killed"
        try:
            yield child
            worn = fresh or child.tasks >= TASKS or child.rss > RSS_CEILING
            why = "recycled" if worn else ""
        finally:
            if why:
                self._end(child, why)
            else:
                self._keep(child)

    def _keep(self, child: KeptChild) -> None:
        with self._lock:
            self._idle.append(child)
            surplus = self._idle.popleft() if len(self._idle) > self._most_idle else None
        if surplus:
            self._end(surplus, "replaced")

    def _take(self, memory: int) -> KeptChild:
        while child := self._fitting(memory):
            if child.alive:
                return child
            self._end(child, "killed")
        return self._start(memory)

    def _fitting(self, memory: int) -> KeptChild | None:
        """The one that was needed last: what it has at hand is warm."""
        with self._lock:
            for child in reversed(self._idle):
                if child.memory == memory:
                    self._idle.remove(child)
                    return child
        return None

    def _start(self, memory: int) -> KeptChild:
        child = KeptChild(memory)
        self._happened("started")
        held = child.confinement.held
        if held < self._held:
            self._end(child, "killed")
            missing = ", ".join(sorted(self._held - held))
            raise Transient(f"a child could not be confined as others before it: {missing}")
        self._held = held
        return child

    def _end(self, child: KeptChild, why: str) -> None:
        child.kill()
        self._happened(why)

    def close(self) -> None:
        """End the idle children."""
        with contextlib.suppress(IndexError):
            while True:
                self._end(self._idle.popleft(), "closed")


@contextlib.contextmanager
def scratch(step: Step) -> Iterator[Path]:
    """A folder for one row; that a step made parts of it hard to remove must cost nobody else.

    What is stored from it in bulk may be more than memory has room for.
    """
    where = tempfile.gettempdir() if step.bulk else _roomiest()
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=where, ignore_cleanup_errors=True) as name:
        yield Path(name)


@functools.cache
def _roomiest() -> str:
    """Where this process makes scratch folders: in memory, unless TMPDIR says where."""
    if "TMPDIR" not in os.environ:
        with contextlib.suppress(OSError):
            free = os.statvfs(IN_MEMORY)
            if free.f_bavail * free.f_frsize >= ROOMY and os.access(IN_MEMORY, os.W_OK | os.X_OK):
                return str(IN_MEMORY)
    return tempfile.gettempdir()


def sweep_leftovers() -> None:
    """Remove the scratch folders that killed workers left behind, perhaps with unpacked giants."""
    for where in {_roomiest(), tempfile.gettempdir()}:
        for folder in Path(where).glob(f"{SCRATCH}*"):
            with contextlib.suppress(OSError):
                if time.time() - folder.lstat().st_mtime > LEFTOVER:
                    shutil.rmtree(folder, ignore_errors=True)


def _read(out: bytes) -> dict[str, Any]:
    """The child opened a stranger's bytes, so its answer is a stranger's too."""
    try:
        said = loads(out)
    except Malformed:
        said = None
    return said if isinstance(said, dict) else {"died": "child answered nonsense"}


@functools.cache
def _adapter(result: Any) -> TypeAdapter[Any]:
    return TypeAdapter(result)


def _result(step: Step, said: dict[str, Any]) -> Any:
    match said:
        case {"ok": value}:
            try:
                return _adapter(step.result).validate_python(value)
            except ValidationError:
                raise Died("child answered nonsense") from None
        case {"permanent": str(detail)}:
            raise Permanent(detail)
        case {"timeout": str(detail)}:
            raise TimedOut(detail)
        case {"transient": str(detail)}:
            raise Transient(detail)
        case {"died": str(detail)}:
            raise Died(detail)
    raise Died("child answered nonsense")
