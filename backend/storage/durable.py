"""Directories that are still there after a crash."""

import os
from contextlib import suppress
from pathlib import Path


def make_directory(path: Path) -> None:
    """Make a directory and those above it, mode 0700 and durable."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with suppress(FileExistsError):  # another writer was faster
        path.mkdir(mode=0o700)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """What was made, renamed or removed in it is so on the disk as well."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
