"""How a process ended, said in words."""

import signal

import pytest

from workers.endings import signal_name


@pytest.mark.parametrize(
    ("number", "name"),
    [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGRTMIN + 1, f"signal {signal.SIGRTMIN + 1}")],
)
def test_a_signal_without_a_name_is_told_by_its_number(number: int, name: str) -> None:
    assert signal_name(number) == name
