"""What of a registry's behaviour opens its breaker, over real sockets, and what never does."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import pytest

from backend.queue.breaker import FAILURES, Breakers, CircuitOpen
from backend.workloads.packages.registry.errors import RegistryError
from backend.workloads.packages.registry.origin import Origin
from tests.registry_server import Answer, RegistryServer

TIMES = FAILURES + 2
LIMIT = 1000  # bytes

FAILS = {
    "500": Answer(500),
    "503": Answer(503),
    "429": Answer(429),
    "garbage": Answer(raw=b"garbage\r\n\r\n"),
    "hangs-up": Answer(raw=b""),
    "breaks-off": Answer(body=b"short", length="300"),
    "silent": Answer(silent=True),
}
ANSWERS = {
    "200": Answer(body=b"{}"),
    "401": Answer(401),
    "404": Answer(404),
    "410": Answer(410),
    "418": Answer(418),
    "too-large": Answer(body=b"x" * (LIMIT + 1)),
    "redirect-refused": Answer.redirect("http://192.0.2.1/"),
}


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


def ask(base: str, breakers: Breakers, *, cdns: tuple[str, ...] = ()) -> None:
    """More often than opens a breaker."""
    timeout = timedelta(seconds=0.3)
    with Origin(base, cdns, timeout=timeout, breakers=breakers, refuse=lambda _: None) as origin:
        for _ in range(TIMES):
            with suppress(RegistryError, CircuitOpen):
                origin.get(f"{base}/x", accept="*/*", max_bytes=LIMIT)


@pytest.mark.parametrize("name", FAILS)
def test_a_registry_that_fails_is_asked_no_more_after_some_failures(
    server: RegistryServer, name: str
) -> None:
    breakers = Breakers()
    server.answer("/x", FAILS[name])
    ask(server.url, breakers)
    assert breakers.states() == {f"127.0.0.1:{server.port}": "open"}
    assert server.requested("/x") == FAILURES


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_of_whatever_kind_is_no_failure_of_the_registry(
    server: RegistryServer, name: str
) -> None:
    breakers = Breakers()
    server.answer("/x", ANSWERS[name])
    ask(server.url, breakers)
    assert breakers.states() == {f"127.0.0.1:{server.port}": "closed"}
    assert server.requested("/x") == TIMES


def test_a_registry_that_cannot_be_connected_to_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    breakers = Breakers()
    ask(f"http://{host}", breakers)
    assert breakers.states() == {host: "open"}


def test_a_cdn_that_is_down_does_not_shut_off_the_registry(server: RegistryServer) -> None:
    breakers = Breakers()
    with RegistryServer() as cdn:
        server.answer("/x", Answer.redirect(f"{cdn.url}/x"))
        cdn.instead = Answer(503)
        ask(server.url, breakers, cdns=(cdn.url,))
    states = {f"127.0.0.1:{server.port}": "closed", f"127.0.0.1:{cdn.port}": "open"}
    assert breakers.states() == states
    assert (server.requested("/x"), cdn.requested("/x")) == (TIMES, FAILURES)


def test_a_reader_that_fails_by_itself_is_no_failure_of_the_registry(
    server: RegistryServer,
) -> None:
    breakers = Breakers()
    server.answer("/x", Answer(body=b"whole"))
    with Origin(server.url, breakers=breakers) as origin:
        for _ in range(TIMES):
            with (
                suppress(ZeroDivisionError),
                origin.stream(f"{server.url}/x", accept="*/*", max_bytes=LIMIT) as body,
            ):
                assert len([*body]) / 0
    assert breakers.states() == {f"127.0.0.1:{server.port}": "closed"}
