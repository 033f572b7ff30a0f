"""Hosts of their own on one machine: network namespaces that reach one another by a bridge.

Its links can be cut as a switch's port is: nothing is reset, everything is silent. Linux, as root.
"""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

IP: Final = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class NoHosts(Exception):
    """This machine allows none; one line that says why."""


@dataclass(frozen=True, slots=True)
class Host:
    """A namespace with one address; ``inside`` stands before a command that is to run there."""

    name: str
    address: str
    link: str

    @property
    def inside(self) -> list[str]:
        assert IP is not None
        return [IP, "netns", "exec", self.name]

    def cut(self) -> None:
        """From now on what it sends, and what is sent to it, is lost."""
        _ip("link", "set", self.link, "down")

    def mend(self) -> None:
        _ip("link", "set", self.link, "up")


@contextmanager
def network(count: int) -> Iterator[tuple[str, list[Host]]]:
    """Our own address, and ``count`` hosts that reach it; all gone afterwards.

    Raises:
        NoHosts: not Linux, no program ``ip``, or not allowed.
    """
    mark = f"lk{os.getpid() % 100_000}"
    subnet = f"10.{random.randint(128, 254)}.{random.randint(1, 254)}"
    with ExitStack() as made:
        _made(made, ["link", "add", f"{mark}b", "type", "bridge"], ["link", "del", f"{mark}b"])
        _ip("addr", "add", f"{subnet}.1/24", "dev", f"{mark}b")
        _ip("link", "set", f"{mark}b", "up")
        yield f"{subnet}.1", [_host(made, mark, subnet, number) for number in range(count)]


def _host(made: ExitStack, mark: str, subnet: str, number: int) -> Host:
    host = Host(f"{mark}h{number}", f"{subnet}.{number + 2}", f"{mark}v{number}")
    _made(made, ["netns", "add", host.name], ["netns", "del", host.name])
    peer = ["peer", "name", "eth0", "netns", host.name]
    _ip("link", "add", host.link, "type", "veth", *peer)
    _ip("link", "set", host.link, "master", f"{mark}b", "up")
    for words in (f"addr add {host.address}/24 dev eth0", "link set eth0 up", "link set lo up"):
        _ip("-netns", host.name, *words.split())
    return host


def _made(made: ExitStack, add: list[str], remove: list[str]) -> None:
    _ip(*add)
    made.callback(_gone, remove)


def _gone(remove: list[str]) -> None:
    with suppress(NoHosts):
        _ip(*remove)


def _ip(*words: str) -> None:
    if IP is None:
        raise NoHosts("there is no program ip (iproute2)")
    done = subprocess.run([IP, *words], capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        raise NoHosts(f"ip {' '.join(words)}: {done.stderr.strip()}")
