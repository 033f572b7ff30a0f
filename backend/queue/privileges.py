"""Giving up what a process may do: its user, its capabilities, its view of the machine.

Linux only, as far as the kernel allows it; elsewhere nothing is given up and the answers say so.
Sources: credentials(7), capabilities(7), namespaces(7), user_namespaces(7), pid_namespaces(7).
"""

import ctypes
import os
import signal
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NoReturn

LINUX: Final = sys.platform == "linux"
LIBC: Final = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
CAPABILITIES_V3: Final = 0x20080522

NETWORK: Final = 0x40000000 | 0x08000000  # CLONE_NEWNET, CLONE_NEWIPC
PROCESSES: Final = 0x20000000  # CLONE_NEWPID
USER: Final = 0x10000000  # CLONE_NEWUSER

DESCRIPTORS: Final = "/proc/self/fd/"

OWN_UIDS: Final = 2_000_000_000
"""User and group of a child of root: this plus its process id, which is below 2^22.

No distribution and no container runtime hands these ids out. As the id is one child's alone, its
limit on processes counts that child's and nobody else's.
"""


def prctl(option: int, value: int) -> None:
    if LINUX:
        LIBC.prctl(option, value, 0, 0, 0)


def die_with_parent() -> None:
    """On Linux: SIGKILL when the parent ends. Neither a fork nor a change of user keeps this."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """On Linux: descendants whose parent ended become children of this process."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def works(attempt: Callable[[], object]) -> bool:
    """Whether ``attempt`` succeeds; made in a fork, so that this process stays as it is."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            attempt()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def own_uid() -> int | None:
    """As root: a user and group id for this process alone; None where it cannot be taken.

    To be asked before :func:`leave`: it is tried in a fork, whether the system has such ids and
    Python's library and the folder for temporary files can be reached under one.
    """
    if not LINUX or os.geteuid() != 0:
        return None
    uid = OWN_UIDS + os.getpid()

    def attempt() -> None:
        become(uid)
        package = sys.modules["backend.queue"].__path__[0]
        for folder in (tempfile.gettempdir(), package, *filter(os.path.isdir, sys.path)):
            list(Path(folder).iterdir())

    return uid if works(attempt) else None


def become(uid: int, given: Iterable[Path] = ()) -> None:
    """Take ``uid`` as user and group, for good, and leave every other group.

    Python's library stays importable, also from below a folder that only root may enter.
    ``given`` files and folders belong to the new user.
    """
    hold_library()
    for path in given:
        os.chown(path, uid, uid, follow_symlinks=False)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def keep_to_itself() -> None:
    """On Linux: others of this user can neither trace this process nor read its environment.

    What it executes is open to them again.
    """
    prctl(PR_SET_DUMPABLE, 0)


def renounce() -> None:
    """No capability, none to be had by executing anything, and no tracing by a namesake."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if LINUX:
        header = (ctypes.c_uint32 * 2)(CAPABILITIES_V3, 0)
        LIBC.capset(header, (ctypes.c_uint32 * 6)())
    keep_to_itself()


def leave(spaces: int) -> bool:
    """Out of the machine's ``spaces`` into new ones; a new process space begins with a fork."""
    return LINUX and LIBC.unshare(spaces) == 0


def leave_as_user(spaces: int) -> bool:
    """The same for an ordinary user, who needs a user namespace for it; the ids stay as they are.

    Tried in a fork first: some kernels let a process in and then not map its own ids.
    """
    if not LINUX or not works(lambda: _map_ids(spaces)):
        return False
    _map_ids(spaces)
    return True


def _map_ids(spaces: int) -> None:
    uid, gid = os.getuid(), os.getgid()
    if LIBC.unshare(spaces | USER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    prctl(PR_SET_DUMPABLE, 1)  # after a change of user the files in /proc/self are root's
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny")
    (own / "gid_map").write_text(f"{gid} {gid} 1")
    (own / "uid_map").write_text(f"{uid} {uid} 1")


def enter_process_space() -> None:
    """Go on as the first process of the new process space; the old one waits and ends alike.

    Who ends the first process ends all in its space. Told by SIGTERM to end, the waiting one does
    so, and is itself gone only when all of them are.
    """
    first = os.fork()
    if first == 0:
        return
    die_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: os.kill(first, signal.SIGKILL))
    _end_like(first)


def _end_like(pid: int) -> NoReturn:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code < 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


def hold_library() -> None:
    """Keep every folder of ``sys.path`` usable that others cannot reach from the root folder.

    One that was opened before can be used by a name that does not lead through those above it.
    """
    held = {
        folder: f"{DESCRIPTORS}{os.open(folder, os.O_PATH | os.O_DIRECTORY)}"
        for folder in sys.path
        if Path(folder).is_dir() and not _open_to_all(Path(folder))
    }

    def renamed(path: str) -> str:
        for folder, name in held.items():
            if path == folder or path.startswith(folder + os.sep):
                return name + path[len(folder) :]
        return path

    sys.path[:] = map(renamed, sys.path)
    for module in list(sys.modules.values()):
        places: Any = getattr(module, "__path__", None)
        if isinstance(places, list):
            places[:] = map(renamed, places)


def library_descriptors() -> set[int]:
    """What :func:`hold_library` holds open: paths only, no file can be read through them."""
    names = (Path(folder) for folder in sys.path if folder.startswith(DESCRIPTORS))
    return {int(name.parts[4]) for name in names}


def _open_to_all(folder: Path) -> bool:
    return all(place.stat().st_mode & stat.S_IXOTH for place in (folder, *folder.parents))
