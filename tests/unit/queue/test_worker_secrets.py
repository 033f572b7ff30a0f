"""Processes of a worker's own user cannot read its secrets, where nothing else keeps them apart."""

import ctypes
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.queue import privileges
from backend.settings import Settings
from workers import alone, main

pytestmark = pytest.mark.skipif(not privileges.LINUX, reason="prctl(2) is Linux's")

PR_GET_DUMPABLE = 3  # linux/prctl.h
NAMESAKE = 54321


def readable() -> bool:
    """Whether this process is as one that was just started: open to others of its user."""
    return bool(ctypes.CDLL(None).prctl(PR_GET_DUMPABLE) == 1)


def started(process: Callable[[], object]) -> None:
    os.environ.pop("DATABASE_URL", None)
    privileges.prctl(privileges.PR_SET_DUMPABLE, 1)
    process()
    assert not readable()


def test_a_namesake_cannot_read_what_is_kept() -> None:
    def namesakes() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(NAMESAKE, NAMESAKE, NAMESAKE)
            os.setresuid(NAMESAKE, NAMESAKE, NAMESAKE)
        memory = Path(f"/proc/{os.getpid()}/environ")
        privileges.prctl(privileges.PR_SET_DUMPABLE, 1)  # as whoever is started as that user
        assert privileges.works(memory.read_bytes)
        privileges.keep_to_itself()
        assert not privileges.works(memory.read_bytes)

    assert privileges.works(namesakes)


@pytest.mark.parametrize(
    "process",
    [
        lambda: main.run(Settings(_env_file=None)),
        lambda: alone.main(["packages", str(uuid.uuid4()), "worker"]),
    ],
    ids=["worker", "alone"],
)
def test_every_process_with_the_workers_secrets_keeps_them(process: Callable[[], object]) -> None:
    assert privileges.works(lambda: started(process))
