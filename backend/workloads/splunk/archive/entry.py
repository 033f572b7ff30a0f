"""What a reader of one format says of one entry, before anybody decides what becomes of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from backend.workloads.splunk.conf.stanza import Warned


class EntryKind(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    SYMBOLIC_LINK = "symbolic link"
    HARD_LINK = "hard link"
    DEVICE = "device"
    FIFO = "fifo"
    SPARSE = "sparse"
    UNSUPPORTED = "unsupported"


def nothing(_size: int) -> bytes:
    """What there is to read of an entry without content."""
    return b""


@dataclass(slots=True)
class Entry:
    """One entry of any kind.

    Attributes:
        name: as the archive has it; bytes that are no UTF-8 as lone surrogates.
        size: in bytes, of a file's content.
        target: of a link, as ``name``; of what is unsupported, one word on why.
        read: up to n bytes of a file's content, before the next entry is asked for.
    """

    name: str
    kind: EntryKind
    size: int = 0
    target: str = ""
    read: Callable[[int], bytes] = nothing


class Reader(Protocol):
    """Goes over one archive once."""

    notices: list[Warned]

    def entries(self) -> Iterator[Entry]:
        """In the archive's own order.

        Raises:
            Permanent: the archive is broken or over a limit.
        """
