"""What a fork prints is kept in the machine's memory: it is bounded, and its end can be read."""

import os
import sys

import pytest

from workers import child


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is a file on the disk")
def test_a_fork_cannot_fill_the_memory_by_printing() -> None:
    printed = child.open_printed()
    try:
        for _ in range(child.MAX_PRINTED // 2**20):
            assert os.write(printed, b"x" * 2**20) == 2**20
        with pytest.raises(PermissionError):
            os.write(printed, b"x")
        assert os.fstat(printed).st_blocks * 512 <= child.MAX_PRINTED
        assert child._last(printed) == b"x" * child.PRINTED
    finally:
        os.close(printed)


def test_of_what_was_printed_the_end_is_read() -> None:
    printed = child.open_printed()
    try:
        assert child._last(printed) == b""
        os.write(printed, b"Traceback\n" + b"MemoryError\n")
        assert child._last(printed) == b"Traceback\nMemoryError\n"
    finally:
        os.close(printed)
