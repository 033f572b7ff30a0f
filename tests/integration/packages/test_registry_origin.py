import gzip
import random
import socket
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.outbound.addresses import refusal
from backend.queue.breaker import Breakers, Rules
from backend.settings import SettingsError
from backend.workloads.packages.registry.errors import (
    RegistryError,
    RegistryPermanent,
    RegistryTransient,
)
from backend.workloads.packages.registry.origin import Origin
from tests.registry_server import Answer, RegistryServer

CDN = "cdn.example.test"
LIMIT = 1_000_000


class Names:
    """A resolver with a table of its own; what is not in it goes to the system's."""

    def __init__(self, **table: list[str]) -> None:
        self.table = {name.replace("_", "."): found for name, found in table.items()}

    def __call__(self, host: str, port: int, **options: Any) -> list[Any]:
        addresses = self.table.get(host, [host])
        return [
            entry for address in addresses for entry in socket.getaddrinfo(address, port, **options)
        ]


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


@pytest.fixture
def cdn() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


@pytest.fixture
def origin(server: RegistryServer) -> Iterator[Origin]:
    with Origin(server.url, timeout=timedelta(seconds=20)) as opened:
        yield opened


def get(origin: Origin, path: str = "/x", *, max_bytes: int = LIMIT) -> bytes:
    return origin.get(f"{origin.base_url}{path}", accept="*/*", max_bytes=max_bytes).body


def stream(origin: Origin, path: str = "/x", *, max_bytes: int = LIMIT) -> bytes:
    url = f"{origin.base_url}{path}"
    with origin.stream(url, accept="*/*", max_bytes=max_bytes) as body:
        return b"".join(body)


def permanent(origin: Origin, path: str = "/x", **options: Any) -> RegistryPermanent:
    with pytest.raises(RegistryPermanent) as caught:
        get(origin, path, **options)
    return caught.value


def transient(origin: Origin, path: str = "/x", **options: Any) -> RegistryTransient:
    with pytest.raises(RegistryTransient) as caught:
        get(origin, path, **options)
    return caught.value


def allow_loopback(address: str) -> str | None:
    """Stands in for a CDN's public address, which a test cannot have."""
    return None if address == "127.0.0.1" else refusal(address)


def with_cdn(server: RegistryServer, cdn: RegistryServer, **options: Any) -> Origin:
    return Origin(
        server.url,
        (f"http://{CDN}:{cdn.port}",),
        resolver=Names(cdn_example_test=["127.0.0.1"]),
        refuse=allow_loopback,
        **options,
    )


@pytest.mark.parametrize("read", [get, stream])
@pytest.mark.parametrize("options", [{}, {"chunked": True}, {"length": None}])
def test_a_body_arrives_whole_however_it_is_framed(
    server: RegistryServer, origin: Origin, read: Any, options: dict[str, Any]
) -> None:
    content = random.Random(1).randbytes(300_000)
    server.answer("/x", Answer(body=content, **options))
    assert read(origin) == content


def test_connections_are_kept_between_requests_even_after_a_404(
    server: RegistryServer, origin: Origin
) -> None:
    server.answer("/x", Answer(body=b"yes"))
    for _ in range(3):
        get(origin)
        assert permanent(origin, "/missing").code == "not-found"
    assert {request.connection for request in server.requests} == {1}


def test_a_connection_that_the_registry_closed_meanwhile_is_replaced(
    server: RegistryServer, origin: Origin
) -> None:
    server.answer("/x", Answer(body=b"yes", closes=True))
    assert [get(origin) for _ in range(3)] == [b"yes"] * 3


def test_metadata_may_come_gzipped(server: RegistryServer, origin: Origin) -> None:
    server.answer("/x", Answer(body=b"a" * 10_000, gzip=True))
    assert get(origin) == b"a" * 10_000
    assert server.requests[0].headers["accept-encoding"] == "gzip"


def test_tarballs_are_asked_for_as_they_are_and_never_unpacked(
    server: RegistryServer, origin: Origin
) -> None:
    packed = gzip.compress(b"content", mtime=0)
    server.answer("/x", Answer(body=packed, headers=(("Content-Encoding", "gzip"),)))
    assert stream(origin) == packed
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_a_gzip_bomb_is_cut_at_the_limit_and_costs_no_memory(
    server: RegistryServer, origin: Origin
) -> None:
    bomb = gzip.compress(bytes(200_000_000), 9)
    server.answer("/x", Answer(body=bomb, headers=(("Content-Encoding", "gzip"),)))
    tracemalloc.start()
    try:
        assert permanent(origin).code == "too-large"
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"not gzip at all", "gzip"),
        (gzip.compress(bytes(1000), mtime=0)[:-9], "gzip"),
        (b"", "gzip"),
        (b"\x1b\x03", "br"),
        (gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "gzip, gzip"),
    ],
)
def test_an_encoding_that_cannot_be_undone_is_transient(
    server: RegistryServer, origin: Origin, body: bytes, encoding: str
) -> None:
    server.answer("/x", Answer(body=body, headers=(("Content-Encoding", encoding),)))
    transient(origin)


@pytest.mark.parametrize("options", [{}, {"chunked": True}, {"length": None}, {"length": "no"}])
def test_a_body_over_the_limit_is_cut_whatever_it_said(
    server: RegistryServer, origin: Origin, options: dict[str, Any]
) -> None:
    server.answer("/x", Answer(body=bytes(100_001), **options))
    assert permanent(origin, max_bytes=100_000).code == "too-large"


def test_a_body_of_exactly_the_limit_is_allowed(server: RegistryServer, origin: Origin) -> None:
    server.answer("/x", Answer(body=bytes(100_000)))
    assert len(get(origin, max_bytes=100_000)) == 100_000


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"short", length=100),
        Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf"),
        Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nabcdef"),
        Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Le"),
        Answer(raw=b""),
        Answer(raw=b"SSH-2.0-OpenSSH_9.2\r\n"),
        Answer(raw=b"<html>not HTTP</html>"),
        Answer(raw=b"HTTP/1.1 " + b"2" * 70_000),
        Answer(raw=b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n"),
    ],
)
def test_a_truncated_or_garbled_answer_is_transient(
    server: RegistryServer, origin: Origin, answer: Answer
) -> None:
    server.answer("/x", answer)
    transient(origin)


def test_any_bytes_at_all_end_as_an_answer_or_a_registry_error(server: RegistryServer) -> None:
    patient = Breakers(Rules(failures=1000))
    noise = random.Random(2)
    heads = [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
    alphabet = b"\r\n\r\n:;-0aF \x00\xff"
    with Origin(server.url, timeout=timedelta(seconds=20), breakers=patient) as origin:
        for _ in range(150):
            tail = bytes(noise.choices(alphabet, k=noise.randrange(40)))
            server.answer("/x", Answer(raw=noise.choice(heads) + tail))
            with suppress(RegistryError):
                get(origin)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_retry_after_reaches_the_caller(
    server: RegistryServer, origin: Origin, status: int
) -> None:
    server.answer("/x", Answer(status, headers=(("Retry-After", "17"),)))
    assert transient(origin).retry_after == timedelta(seconds=17)


def test_nobody_listening_is_transient() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with Origin(url) as origin:
        assert "failed" in transient(origin).detail


def test_a_name_that_does_not_resolve_is_transient() -> None:
    def unknown(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with Origin("https://registry.example.test", resolver=unknown) as origin:
        assert "could not be resolved" in transient(origin).detail


def test_the_next_address_is_tried_where_one_does_not_answer(server: RegistryServer) -> None:
    server.answer("/x", Answer(body=b"yes"))
    names = Names(registry_example_test=["127.0.0.9", "127.0.0.1"])
    with Origin(f"http://registry.example.test:{server.port}", resolver=names) as origin:
        assert get(origin) == b"yes"
    assert server.requests[0].headers["host"] == f"registry.example.test:{server.port}"


def test_the_registrys_own_name_is_resolved_once_a_minute_and_again_after_a_failure(
    server: RegistryServer,
) -> None:
    asked: list[str] = []

    def watch(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]

    server.answer("/x", Answer(body=b"yes"))
    with Origin(f"http://registry.example.test:{server.port}", resolver=watch) as origin:
        assert [get(origin) for _ in range(3)] == [b"yes"] * 3
        assert len(asked) == 1

        server.answer("/x", Answer(raw=b"nonsense", closes=True))
        transient(origin)
        server.answer("/x", Answer(body=b"yes"))
        assert get(origin) == b"yes"
        assert len(asked) == 2


# Time


def ends_within(seconds: float, origin: Origin, read: Any) -> RegistryTransient:
    began = time.monotonic()
    with pytest.raises(RegistryTransient) as caught:
        read(origin)
    assert time.monotonic() - began < seconds
    assert caught.value.code == "registry-timeout"
    return caught.value


BODY_OF_MINUTES = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + b"x" * 9000
CHUNK_SIZE_OF_MINUTES = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 9000
HEADERS_OF_MINUTES = b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 90


@pytest.mark.parametrize("read", [get, stream])
@pytest.mark.parametrize(
    "answer",
    [
        Answer(silent=True),
        Answer(raw=BODY_OF_MINUTES, drip=0.02),
        Answer(raw=CHUNK_SIZE_OF_MINUTES, drip=0.02),
        Answer(raw=HEADERS_OF_MINUTES, drip=0.02),
    ],
    ids=["silence", "body", "chunk size", "headers"],
)
def test_a_silent_or_dripping_registry_is_given_up_at_the_deadline(
    server: RegistryServer, read: Any, answer: Answer
) -> None:
    server.answer("/x", answer)
    with Origin(server.url, timeout=timedelta(seconds=0.4)) as origin:
        ends_within(5, origin, read)


def test_the_deadline_counts_over_redirects_too(server: RegistryServer) -> None:
    slow = Answer(status=302, headers=(("Location", "/x"),), drip=0.004)
    server.answer("/x", slow)
    with Origin(server.url, timeout=timedelta(seconds=0.5)) as origin:
        ends_within(5, origin, get)


def test_a_kept_connection_gets_a_new_deadline(server: RegistryServer) -> None:
    server.answer("/x", Answer(body=b"yes"))
    with Origin(server.url, timeout=timedelta(seconds=0.5)) as origin:
        began = time.monotonic()
        while time.monotonic() - began < 0.8:
            assert get(origin) == b"yes"
    assert {request.connection for request in server.requests} == {1}


# Redirects and addresses


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_the_origin_is_followed(
    server: RegistryServer, origin: Origin, status: int
) -> None:
    server.answer("/x", Answer.redirect("/y?token=1", status))
    server.answer("/y?token=1", Answer(body=b"there"))
    response = origin.get(f"{origin.base_url}/x", accept="*/*", max_bytes=LIMIT)
    assert (response.body, response.url) == (b"there", f"{server.url}/y")


def test_at_most_three_redirects_are_followed(server: RegistryServer, origin: Origin) -> None:
    for hop in range(4):
        server.answer(f"/{hop}", Answer.redirect(f"/{hop + 1}"))
    server.answer("/4", Answer(body=b"there"))
    assert get(origin, "/1") == b"there"
    assert permanent(origin, "/0").code == "redirect-refused"


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:1/",
        "http://localhost/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "https://elsewhere.example.test/x",
        "//elsewhere.example.test/x",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "https://user:secret@127.0.0.1/",
        "http://[::1/",
        "/a b",
        "\\\\elsewhere.example.test\\x",
        "caf\xe9",
    ],
)
def test_a_redirect_out_of_the_registry_is_refused_and_nothing_is_asked(
    server: RegistryServer, location: str
) -> None:
    server.answer("/x", Answer.redirect(location))
    asked: list[str] = []

    def watch(host: str, *arguments: Any, **options: Any) -> list[Any]:
        asked.append(host)
        return socket.getaddrinfo(host, *arguments, **options)

    with Origin(server.url, resolver=watch) as origin:
        refused = permanent(origin)
    assert refused.code == "redirect-refused"
    assert "secret" not in refused.detail
    assert asked == ["127.0.0.1"]


def test_a_url_outside_the_registry_is_not_asked_for(origin: Origin) -> None:
    with pytest.raises(RegistryPermanent) as caught:
        origin.get("http://127.0.0.1:1/x", accept="*/*", max_bytes=LIMIT)
    assert caught.value.code == "redirect-refused"


@pytest.mark.parametrize(
    "addresses",
    [
        ["169.254.169.254"],
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:10.0.0.1"],
        ["2002:a9fe:a9fe::"],
        ["64:ff9b::7f00:1"],
        ["8.8.8.8", "10.0.0.1"],
    ],
)
def test_a_listed_cdn_whose_name_leads_inside_is_refused(
    server: RegistryServer, addresses: list[str]
) -> None:
    server.answer("/x", Answer.redirect(f"https://{CDN}/x"))
    names = Names(cdn_example_test=addresses)
    with Origin(server.url, (CDN,), resolver=names) as origin:
        refused = permanent(origin)
    assert refused.code == "address-refused"
    assert addresses[-1] in refused.detail


def test_even_a_cdn_listed_by_an_internal_address_is_refused(
    server: RegistryServer, cdn: RegistryServer
) -> None:
    server.answer("/x", Answer.redirect(f"{cdn.url}/x"))
    with Origin(server.url, (cdn.url,)) as origin:
        assert permanent(origin).code == "address-refused"
    assert cdn.requests == []


def test_the_address_is_checked_again_on_every_request(
    server: RegistryServer, cdn: RegistryServer
) -> None:
    server.answer("/x", Answer.redirect(f"http://{CDN}:{cdn.port}/x"))
    cdn.answer("/x", Answer(body=b"yes"))
    names = Names(cdn_example_test=["127.0.0.1"])
    cdns = (f"http://{CDN}:{cdn.port}",)
    with Origin(server.url, cdns, resolver=names, refuse=allow_loopback) as origin:
        assert get(origin) == b"yes"
        names.table[CDN] = ["169.254.169.254"]
        assert permanent(origin).code == "address-refused"


def test_the_token_goes_to_the_registry_and_to_no_other_host(
    server: RegistryServer, cdn: RegistryServer
) -> None:
    server.answer("/x", Answer.redirect("/y"))
    server.answer("/y", Answer.redirect(f"http://{CDN}:{cdn.port}/z"))
    cdn.answer("/z", Answer(body=b"there"))
    with with_cdn(server, cdn, token="secret") as origin:
        assert get(origin) == b"there"
    assert [request.headers["authorization"] for request in server.requests] == [
        "Bearer secret"
    ] * 2
    assert "authorization" not in cdn.requests[0].headers
    assert cdn.requests[0].headers["host"] == f"{CDN}:{cdn.port}"


def test_a_cdn_may_redirect_back_to_the_registry_which_gets_its_token_again(
    server: RegistryServer, cdn: RegistryServer
) -> None:
    server.answer("/x", Answer.redirect(f"http://{CDN}:{cdn.port}/z"))
    cdn.answer("/z", Answer.redirect(f"{server.url}/y"))
    server.answer("/y", Answer(body=b"back"))
    with with_cdn(server, cdn, token="secret") as origin:
        assert get(origin) == b"back"
    assert server.requests[-1].headers["authorization"] == "Bearer secret"


def test_proxy_variables_and_netrc_are_ignored(
    server: RegistryServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    server.answer("/x", Answer(body=b"direct", headers=(("Set-Cookie", "a=b"),)))
    with Origin(server.url) as origin:
        assert [get(origin), get(origin)] == [b"direct"] * 2
    for request in server.requests:
        assert not {"authorization", "cookie", "proxy-authorization"} & set(request.headers)


# Settings


@pytest.mark.parametrize(
    ("base_url", "options"),
    [
        ("registry.example.test", {}),
        ("ftp://registry.example.test", {}),
        ("https://user:secret@registry.example.test", {}),
        ("https://registry.example.test", {"cdns": ("cdn example",)}),
        ("https://registry.example.test", {"token": "a\r\nX-Evil: b"}),
        ("https://registry.example.test", {"ca_file": Path("/nonexistent.pem")}),
    ],
)
def test_settings_that_cannot_work_are_told_at_once_without_the_secret(
    base_url: str, options: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError) as caught:
        Origin(base_url, **options)
    assert "secret" not in str(caught.value)


def test_a_base_url_keeps_its_path_and_loses_query_and_trailing_slash() -> None:
    with Origin("https://Registry.Example.Test/npm/?a=b") as origin:
        assert origin.base_url == "https://registry.example.test/npm"


def test_eight_threads_share_one_origin(server: RegistryServer, origin: Origin) -> None:
    for number in range(200):
        server.answer(f"/{number}", Answer(body=str(number).encode() * 5000))
    with ThreadPoolExecutor(8) as threads:
        bodies = list(threads.map(lambda number: get(origin, f"/{number}"), range(200)))
    assert bodies == [str(number).encode() * 5000 for number in range(200)]
    assert len({request.connection for request in server.requests}) <= 16
