"""Which names of members are fit to be stored and shown, and how the others are written."""

import re
from dataclasses import dataclass
from typing import Final

from backend.workloads.splunk.archive.limits import Limits

_SHOWN: Final = 200  # characters of a name that is too long to be kept
_SEPARATORS: Final = re.compile(r"[\\/]")
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_UNDECODED: Final = range(0xDC80, 0xDD00)  # how ``surrogateescape`` keeps a byte
_BEYOND_BMP: Final = 0x10000


@dataclass(frozen=True, slots=True)
class Refused:
    """``reason`` and ``detail`` as of ``Skipped``; the name is shortened unless it is kept."""

    reason: str
    detail: str
    keeps_name: bool = False


def escaped(text: str) -> str:
    r"""``text`` with nothing in it that PostgreSQL refuses or a terminal obeys.

    Undecoded bytes become ``\xd3``, characters that do not print (controls, marks that turn the
    direction of writing, lone surrogates) ``\u202e``, a backslash two: no two texts become one.
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_escaped(c) for c in text)


def _escaped(c: str) -> str:
    code = ord(c)
    if c == "\\":
        return "\\\\"
    if c.isprintable():
        return c
    if code in _UNDECODED:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < _BEYOND_BMP else f"\\U{code:08x}"


def shortened(text: str) -> str:
    """As :func:`escaped`, of at most some two hundred characters, for a message."""
    return escaped(text) if len(text) <= _SHOWN else escaped(text[:_SHOWN]) + "…"


def normal(name: str) -> str:
    """Without what does not matter in a path: ``./``, doubled and final slashes."""
    if "//" in name or name.startswith("./") or "/./" in name or name.endswith(("/", "/.")):
        return "/".join(part for part in name.split("/") if part not in {"", "."})
    return "" if name == "." else name


def refused(name: str, limits: Limits) -> Refused | None:
    """Why a member of this name is not read; None for a good name.

    A backslash separates components on Windows, so ``..`` beside one is refused too.
    """
    size = len(name) if name.isascii() else len(name.encode("utf-8", "surrogatepass"))
    if size > limits.path:
        return Refused("too-long", f"its name is {size} bytes long")
    if name.startswith(("/", "\\")) or _DRIVE.match(name):
        return Refused("absolute", "its name is an absolute path")
    if ".." in name and ".." in _SEPARATORS.split(name):
        return Refused("traversal", "its name leads out of the archive")
    if "\0" in name or normal(name) == "":
        return Refused("unsafe-name", "its name is empty or holds a NUL")
    return _too_far(name, size, limits)


def _too_far(name: str, size: int, limits: Limits) -> Refused | None:
    if name.count("/") > limits.depth:
        return Refused("too-deep", f"it lies more than {limits.depth} folders deep")
    if size > limits.component and any(
        len(part.encode("utf-8", "surrogatepass")) > limits.component for part in name.split("/")
    ):
        return Refused("too-long", f"a component of its name is over {limits.component} bytes long")
    return None


def leads_out(name: str, target: str, *, hard: bool) -> bool:
    """Whether a link leaves the archive.

    A symbolic link's target counts from the link's own folder, a hard link's from the top.
    """
    if target.startswith(("/", "\\")) or _DRIVE.match(target):
        return True
    depth = 0 if hard else normal(name).count("/")
    for part in _SEPARATORS.split(target):
        depth += (part not in {"", "."}) - 2 * (part == "..")
        if depth < 0:
            return True
    return False
