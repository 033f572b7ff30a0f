"""Files that somebody else left: opened only where they are what they seem."""

import os
import stat
from pathlib import Path
from typing import BinaryIO


def plain_file(path: Path) -> BinaryIO:
    """A plain file of the other's own: no link to one of ours, nothing that would block.

    Raises:
        ValueError: it is no such file.
        OSError: it cannot be opened, for one because it is a symbolic link.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        file.close()
        raise ValueError(f"{path.name} is no plain file")
    return file
