# ruff: noqa: INP001 - a program by itself, mounted into containers
"""Run a program, and start it again when a Python file below one of the folders changes.

    python reload.py FOLDER… -- PROGRAM [ARGUMENT…]

For development in containers. One that ended by itself is started again at the next change.
SIGTERM and SIGINT go to the program, whose exit code is ours.
"""

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

LOOK = 1.0  # seconds between two looks at the files


def changed(folders: Sequence[Path]) -> dict[Path, int]:
    """When each Python file was changed, in nanoseconds since 1970."""
    return {
        file: file.stat().st_mtime_ns
        for folder in folders
        for file in folder.rglob("*.py")
        if file.exists()  # an editor may replace it at this moment
    }


def end(child: "subprocess.Popen[bytes]") -> int:
    """Ask it to end; answers its exit code, 128 + n where signal n ended it."""
    child.terminate()
    code = child.wait()
    return code if code >= 0 else 128 - code


def run(folders: Sequence[Path], command: Sequence[str], stop: threading.Event) -> int:
    known = changed(folders)
    child = subprocess.Popen(command)
    while not stop.wait(LOOK):
        found = changed(folders)
        if found != known:
            known = found
            sys.stderr.write("reload: the code has changed\n")
            end(child)
            child = subprocess.Popen(command)
    return end(child)


def main(arguments: Sequence[str]) -> int:
    if "--" not in arguments[1:-1]:
        sys.stderr.write(f"reload: wrong usage\n{__doc__}")
        return 2
    where = arguments.index("--")
    stop = threading.Event()

    def received(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, received)
    return run([Path(folder) for folder in arguments[:where]], arguments[where + 1 :], stop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
