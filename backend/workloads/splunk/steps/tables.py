"""The files in which a child leaves rows for COPY, one for each table."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from backend.queue.retry import Permanent
from backend.workloads.splunk.copying import line

SUFFIX: Final = ".copy"
MOST_BYTES: Final = 1000 * 1024 * 1024
"""Of one table; a child may write no larger file than a GiB."""
_BUFFER: Final = 256 * 1024


class Tables:
    """Writes rows into ``folder``; a table without rows has no file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._sizes: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for file in self._files.values():
            file.close()

    def mark(self) -> Mapping[str, int]:
        """Where :meth:`rewind` goes back to: the bytes of each table so far."""
        return dict(self._sizes)

    def rewind(self, mark: Mapping[str, int]) -> None:
        """Take away the rows that were added since."""
        for table, file in self._files.items():
            if self._sizes[table] > (size := mark.get(table, 0)):
                file.seek(size)
                file.truncate()
                self._sizes[table] = size

    def add(self, table: str, row: Iterable[Any]) -> None:
        """One row, in the order of ``copying.COLUMNS``.

        Raises:
            Permanent: there is more of them than can be stored.
        """
        encoded = line(row)
        file = self._files.get(table)
        if file is None:
            file = (self._folder / f"{table}{SUFFIX}").open("wb", buffering=_BUFFER)
            self._files[table], self._sizes[table] = file, 0
        self._sizes[table] += len(encoded)
        if self._sizes[table] > MOST_BYTES:
            raise Permanent(f"what the archive says takes more than {MOST_BYTES} bytes of {table}")
        file.write(encoded)
