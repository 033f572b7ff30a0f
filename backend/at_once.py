"""System calls that do not wait, made without giving the interpreter away.

Python gives it away for each call that could wait. Where threads queue for it, to get it back costs
a change of threads: a question that is answered at once then costs more than all that follows it.
"""

import ctypes
import select
from typing import Final

_THIS = ctypes.PyDLL(None, use_errno=True)  # unlike CDLL, which would give it away as well
_poll, _write = _THIS.poll, _THIS.write
_poll.argtypes = (ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int)
_write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
_write.restype = ctypes.c_ssize_t

ATOMIC: Final = select.PIPE_BUF
"""So many bytes fit whole where a pipe takes any."""


class _Pollfd(ctypes.Structure):
    """poll(2)."""

    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class Readiness:
    """Whether a descriptor is ready for what is asked, such as ``select.POLLIN``."""

    def __init__(self, descriptor: int, events: int) -> None:
        self._asked = _Pollfd(descriptor, events)
        self._at = ctypes.addressof(self._asked)

    def now(self) -> bool:
        """Also where it is broken."""
        return bool(_poll(self._at, 1, 0))


class Outlet:
    """A descriptor that takes short pieces of text for as long as it has room; for any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._room = Readiness(descriptor, select.POLLOUT)

    def take(self, text: bytes) -> bool:
        """Write all of it, or nothing; False where that could wait, or did not go well."""
        if len(text) > ATOMIC or not self._room.now():
            return False
        return bool(_write(self._descriptor, text, len(text)) == len(text))
