"""A download that becomes a new file: whole, or not there."""

from pathlib import Path

from backend.cli.client import Client
from backend.cli.errors import WRONG_USAGE, CommandError


def download(client: Client, path: str, output: Path) -> int:
    """Write what is at ``path`` to ``output``; answers its size in bytes.

    Raises:
        CommandError: ``output`` is there, or cannot be written.
        Unreachable, Refused: there is nothing to be had; ``output`` is gone again.
    """
    try:
        with output.open("xb") as stream:
            try:
                client.download(path, stream)
            except BaseException:
                output.unlink()
                raise
            return stream.tell()
    except OSError as error:
        raise CommandError(f"cannot write {output}: {error.strerror}", WRONG_USAGE) from None
