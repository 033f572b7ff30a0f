"""One large file in a request: sent from the disk as it is read, never whole in memory."""

import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from backend.cli.errors import WRONG_USAGE, CommandError

_PIECE: Final = 1 << 16  # bytes


class FileBody:
    """A body that is the file, and nothing else."""

    def __init__(self, path: Path, media_type: str) -> None:
        """Raises CommandError: the file cannot be read."""
        self._path, self._size = path, _size(path)
        self.headers = {"Content-Type": media_type, "Content-Length": str(self._size)}

    def __iter__(self) -> Iterator[bytes]:
        """The whole body, each time from its beginning."""
        return _pieces(self._path, self._size)


class FileForm:
    """A form with one file, behind ``fields``: what is wrong with these is told first."""

    def __init__(self, path: Path, fields: Mapping[str, str]) -> None:
        """Raises CommandError: the file cannot be read."""
        self._path, self._size = path, _size(path)
        boundary = secrets.token_hex(16)
        head = "".join(
            f"--{boundary}\r\n{_disposition(name)}\r\n\r\n{value}\r\n"
            for name, value in fields.items()
        )
        file = f'{_disposition("file")}; filename="{_quoted(path.name)}"'
        self._head = f"{head}--{boundary}\r\n{file}\r\n\r\n".encode(errors="replace")
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._head) + self._size + len(self._tail)),
        }

    def __iter__(self) -> Iterator[bytes]:
        """The whole body, each time from its beginning."""
        yield self._head
        yield from _pieces(self._path, self._size)
        yield self._tail


def _size(path: Path) -> int:
    """Raises CommandError: the file cannot be read."""
    try:
        with path.open("rb") as opened:
            return os.fstat(opened.fileno()).st_size
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", WRONG_USAGE) from None


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    """The file, as long as it was announced to be, should it grow meanwhile."""
    left = size
    with path.open("rb") as opened:
        while left and (piece := opened.read(min(_PIECE, left))):
            left -= len(piece)
            yield piece


def _disposition(name: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"'


def _quoted(name: str) -> str:
    """As browsers do (HTML, "multipart form data")."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
