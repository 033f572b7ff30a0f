"""How much of an archive is read before it is refused."""

from dataclasses import dataclass
from typing import Final

from backend.queue.retry import Permanent

MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes; what is over the first four refuses the archive, over the others one member.

    Attributes:
        members: entries of every kind, folders and extended headers among them.
        unpacked: of the whole archive, headers of a tar among them, as really read.
        ratio: unpacked bytes to one byte of the archive.
        ratio_from: the ratio is no matter below so many unpacked bytes: text that repeats itself
            packs a thousand to one, and is harmless while there is little of it.
        member: of one file.
        path: of a whole name, as in the archive (Linux: PATH_MAX).
        component: of one folder or file in it (Linux: NAME_MAX).
        depth: folders above a file.
    """

    members: int = 200_000
    unpacked: int = 4096 * MEBIBYTE
    ratio: int = 250
    ratio_from: int = 64 * MEBIBYTE
    member: int = 1024 * MEBIBYTE
    path: int = 4096
    component: int = 255
    depth: int = 100


class Budget:
    """Counts what one pass over an archive of ``size`` bytes has really unpacked.

    Raises (from both methods):
        Permanent: the archive is over a limit.
    """

    def __init__(self, limits: Limits, size: int) -> None:
        self.unpacked = 0
        self.members = 0
        self._limits = limits
        self._most = min(limits.unpacked, max(limits.ratio_from, limits.ratio * size))

    def unpack(self, size: int) -> None:
        self.unpacked += size
        if self.unpacked > self._most:
            bomb = self._most < self._limits.unpacked
            why = f"over {self._limits.ratio} times its size" if bomb else "the limit"
            raise Permanent(f"the archive unpacks to more than {self._most} bytes, {why}")

    def meet(self) -> None:
        """One more entry."""
        self.members += 1
        if self.members > self._limits.members:
            raise Permanent(f"the archive has more than {self._limits.members} members")
