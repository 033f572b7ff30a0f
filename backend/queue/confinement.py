"""Limits that a child process puts on itself before it opens a stranger's bytes.

Imports only the standard library: a child must start within tens of milliseconds.
"""

import contextlib
import json
import os
import resource
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from backend.queue import privileges

MAX_FILE_BYTES: Final = 1024**3
MAX_OPEN_FILES: Final = 64
MAX_PROCESSES: Final = 32
"""Processes and threads of a child with a user, or a user namespace, of its own."""
COUNTED_BY_NAMESPACE: Final = (5, 14)
"""Since this Linux a user namespace counts its processes apart from its user's others."""
MEASURING_SECONDS: Final = 30.0

IMPORT_PATH: Final = "\n".join([str(Path(__file__).parents[2]), *filter(None, sys.path)])


@dataclass(frozen=True, slots=True)
class Confinement:
    """What holds in a confined process; ``False`` and ``None`` where it could not be had."""

    pid: int
    """As its parent's process space knows it."""
    uid: int
    own_uid: bool
    """User and group of its own, no supplementary groups."""
    no_network: bool
    """A network namespace without interfaces, and an IPC namespace of its own."""
    own_processes: bool
    """A process namespace: it can name no other process, and all in it end together."""
    max_processes: int | None
    no_new_privileges: bool
    memory_limit: bool

    @property
    def held(self) -> frozenset[str]:
        """The names of what could be had."""
        return frozenset(name for name, value in asdict(self).items() if value)


def confine(*, memory: int, given: Iterable[Path] = ()) -> Confinement:
    """Limits a hostile input cannot talk its way out of; they hold for its children too.

    On Linux the process also dies with its parent, can gain no privileges and, where the kernel
    allows it, has a user (of a worker that is root), a network and a process space of its own.
    With a process space of its own this returns in a fork; the caller waits for it.

    Args:
        memory: address space in bytes (Linux).
        given: files and folders that are to belong to the process's own user.
    """
    limit_resources(memory, files=MAX_OPEN_FILES)
    spaces = privileges.NETWORK | privileges.PROCESSES
    own_uid = privileges.own_uid()
    apart = privileges.leave(spaces)
    if own_uid is not None:
        privileges.become(own_uid, given)
    of_user = not apart and privileges.leave_as_user(spaces)
    privileges.renounce()
    apart = apart or of_user
    counted = own_uid is not None or (of_user and _release() >= COUNTED_BY_NAMESPACE)
    if counted:
        _limit(resource.RLIMIT_NPROC, MAX_PROCESSES)
    if apart:
        privileges.enter_process_space()
    privileges.die_with_parent()
    return Confinement(
        pid=_outer_pid() if apart else os.getpid(),
        uid=os.getuid(),
        own_uid=own_uid is not None,
        no_network=apart,
        own_processes=apart,
        max_processes=MAX_PROCESSES if counted else None,
        no_new_privileges=privileges.LINUX,
        memory_limit=privileges.LINUX,
    )


def limit_memory(most: int) -> None:
    """At most ``most`` bytes of address space, for this process and its children (Linux)."""
    if privileges.LINUX:
        _limit(resource.RLIMIT_AS, most)


def limit_resources(memory: int, *, files: int) -> None:
    """No core dump, ``files`` open files, 1 GiB a file, ``memory`` bytes of address space."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, files)
    _limit(resource.RLIMIT_FSIZE, MAX_FILE_BYTES)
    limit_memory(memory)


def _limit(which: int, most: int) -> None:
    """A lower limit that holds already stays."""
    hard = resource.getrlimit(which)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (most, most))


def _outer_pid() -> int:
    """This process's id in the process space that /proc was mounted for, which is the parent's."""
    return int(Path("/proc/self").readlink().name)


def _release() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split(".")[:2] if part.isdigit())


def allow_processor_time(seconds: float) -> None:
    """From now on at most ``seconds`` more; the kernel then ends the process with SIGXCPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def children() -> list[int]:
    """Process ids of this process's children, zombies included; Linux only, empty elsewhere."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            fields = stat.read_text().rpartition(") ")[2].split()
            if int(fields[1]) == os.getpid():
                found.append(int(stat.parent.name))
    return found


def python(statement: str, *arguments: str) -> list[str]:
    """A command that runs ``statement`` in a Python with this one's modules, and little else.

    Without site: a child needs no hooks, and start-up is most of what it costs.
    """
    boot = "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); " + statement
    return [sys.executable, "-I", "-S", "-c", boot, IMPORT_PATH, *arguments]


def measured() -> dict[str, int | bool | None]:
    """What holds for a child of this process, told by one that was started for it; ~0.1 s.

    Raises:
        OSError, subprocess.SubprocessError: none could be started.
    """
    import subprocess  # with its threading it is a tenth of what each fork of a child costs

    statement = "from backend.queue.confinement import tell; tell()"
    told = subprocess.run(
        python(statement), env={"LANG": "C.UTF-8"}, cwd="/", stdin=subprocess.DEVNULL,
        capture_output=True, check=True, timeout=MEASURING_SECONDS,
    ).stdout  # fmt: skip
    said: dict[str, int | bool | None] = json.loads(told)
    return said


def limited(
    program: Sequence[str], *, memory: int, files: int, seconds: float, network: bool
) -> list[str]:
    """A command that runs ``program`` with limits of its own, as this user without privileges.

    Args:
        program: the whole command; the program by its path.
        memory: address space in bytes (Linux).
        files: open at a time.
        seconds: of processor time, all its threads together.
        network: False for a network namespace without interfaces, where the kernel allows one.
    """
    statement = "from backend.queue.confinement import launch; launch()"
    limits = {"memory": memory, "files": files, "seconds": seconds, "network": network}
    return python(statement, json.dumps(limits), *program)


def launch() -> None:
    """Be limited and become the program; the body of :func:`limited`'s command."""
    limits, program = json.loads(sys.argv[1]), sys.argv[2:]
    limit_resources(limits["memory"], files=limits["files"])
    if not limits["network"] and not privileges.leave(privileges.NETWORK):
        privileges.leave_as_user(privileges.NETWORK)
    privileges.renounce()
    allow_processor_time(limits["seconds"])
    privileges.die_with_parent()
    try:
        os.execv(program[0], program)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.exit(f"it cannot be started ({error.strerror})")


def tell() -> None:
    """Be confined and print what holds; the body of :func:`measured`'s child."""
    sys.stdout.write(json.dumps(asdict(confine(memory=1024**3))))
    sys.stdout.flush()
