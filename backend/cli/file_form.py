"""A form with one large file: sent from the disk as it is read, never whole in memory."""

import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from backend.cli.errors import WRONG_USAGE, CommandError

_PIECE: Final = 1 << 16  # bytes


class FileForm:
    """``fields`` go before the file, so that what is wrong with them is told before it is sent."""

    def __init__(self, path: Path, fields: Mapping[str, str]) -> None:
        """Raises CommandError: the file cannot be read."""
        self._path = path
        try:
            with path.open("rb") as opened:
                self._size = os.fstat(opened.fileno()).st_size
        except OSError as error:
            raise CommandError(f"cannot read {path}: {error.strerror}", WRONG_USAGE) from None
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
        left = self._size
        with self._path.open("rb") as opened:
            while left and (piece := opened.read(min(_PIECE, left))):
                left -= len(piece)
                yield piece
        yield self._tail


def _disposition(name: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"'


def _quoted(name: str) -> str:
    """As browsers do (HTML, "multipart form data")."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
