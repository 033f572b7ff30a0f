"""System calls that are answered at once, or not made."""

import os
import select
import socket
from collections.abc import Iterator

import pytest

from backend.at_once import ATOMIC, Outlet, Readiness


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_what_was_said_and_that_the_other_end_is_gone_are_both_seen() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        seen = Readiness(ours.fileno(), select.POLLIN)
        silent = seen.now()
        theirs.send(b"x")
        spoken = seen.now()
        ours.recv(1)
        silent_again = seen.now()
        theirs.close()

        assert (silent, spoken, silent_again, seen.now()) == (False, True, False, True)


def test_a_short_piece_is_written_whole(pipe: tuple[int, int]) -> None:
    reader, writer = pipe

    assert Outlet(writer).take(b"a line\n")
    assert os.read(reader, 100) == b"a line\n"


def test_what_would_wait_is_not_begun(pipe: tuple[int, int]) -> None:
    _, writer = pipe
    outlet = Outlet(writer)

    assert not outlet.take(b"x" * (ATOMIC + 1))
    while outlet.take(b"x" * ATOMIC):  # until it is full
        pass
    assert not outlet.take(b"x")


def test_nothing_is_taken_where_nobody_reads_any_more() -> None:
    reader, writer = os.pipe()
    os.close(reader)

    assert not Outlet(writer).take(b"lost")
    os.close(writer)
