import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.outbound.addresses import refusal
from backend.workloads.packages.registry.errors import RegistryPermanent, RegistryTransient
from backend.workloads.packages.registry.origin import Origin
from tests.registry_server import Answer, RegistryServer

HOST = "registry.example.test"
CDN = "cdn.example.test"

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the openssl program makes these tests' certificates"
)


class Authority:
    """A certificate authority that lives for one test session, made with the openssl program."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca_file = folder / "ca.pem"
        self._openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Test authority"),
        )

    def context(self, names: str, *, days: int = 2) -> ssl.SSLContext:
        """A server's context with a certificate for ``names`` (as subjectAltName writes them)."""
        (self._folder / "names").write_text(f"subjectAltName={names}\n")
        self._openssl(
            *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server"),
        )
        self._openssl(
            *("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-out", "server.pem", "-days", str(days), "-extfile", "names"),
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / "server.pem", self._folder / "server.key")
        return context

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


Serve = Callable[[str], RegistryServer]


@pytest.fixture
def serve(authority: Authority) -> Iterator[Serve]:
    running: list[RegistryServer] = []

    def start(names: str) -> RegistryServer:
        server = RegistryServer(tls=authority.context(names))
        server.answer("/x", Answer(body=b"secure"))
        running.append(server.__enter__())
        return server

    yield start
    for server in running:
        server.__exit__()


def to_loopback(_host: str, port: int, **_options: Any) -> list[Any]:
    return [(None, None, 0, "", ("127.0.0.1", port))]


def get(origin: Origin) -> bytes:
    return origin.get(f"{origin.base_url}/x", accept="*/*", max_bytes=1000).body


def test_a_certificate_for_the_host_from_the_configured_authority_is_accepted(
    serve: Serve, authority: Authority
) -> None:
    base = f"https://{HOST}:{serve(f'DNS:{HOST}').port}"
    with Origin(base, ca_file=authority.ca_file, resolver=to_loopback) as origin:
        assert [get(origin), get(origin)] == [b"secure"] * 2


def test_a_connection_to_a_kept_tls_registry_is_used_again(
    serve: Serve, authority: Authority
) -> None:
    server = serve(f"DNS:{HOST}")
    with Origin(
        f"https://{HOST}:{server.port}", ca_file=authority.ca_file, resolver=to_loopback
    ) as origin:
        for _ in range(3):
            get(origin)
    assert {request.connection for request in server.requests} == {1}


@pytest.mark.parametrize("names", ["DNS:other.example.test", "IP:127.0.0.1"])
def test_a_certificate_for_another_name_is_not_accepted_even_for_the_right_address(
    serve: Serve, authority: Authority, names: str
) -> None:
    server = serve(names)
    base = f"https://{HOST}:{server.port}"
    with (
        Origin(base, ca_file=authority.ca_file, resolver=to_loopback) as origin,
        pytest.raises(RegistryTransient, match=r"certificate .* was not accepted"),
    ):
        get(origin)
    assert server.requests == []


def test_an_unknown_authority_is_not_accepted(serve: Serve) -> None:
    server = serve(f"DNS:{HOST}")
    with (
        Origin(f"https://{HOST}:{server.port}", resolver=to_loopback) as origin,
        pytest.raises(RegistryTransient, match=r"certificate .* was not accepted"),
    ):
        get(origin)
    assert server.requests == []


def test_a_registry_named_by_its_address_needs_a_certificate_for_it(
    serve: Serve, authority: Authority
) -> None:
    with Origin(serve("IP:127.0.0.1").url, ca_file=authority.ca_file) as origin:
        assert get(origin) == b"secure"
    with (
        Origin(serve(f"DNS:{HOST}").url, ca_file=authority.ca_file) as origin,
        pytest.raises(RegistryTransient, match="certificate"),
    ):
        get(origin)


def test_plain_http_where_tls_was_expected_is_transient(authority: Authority) -> None:
    with RegistryServer() as server:
        base = f"https://127.0.0.1:{server.port}"
        with (
            Origin(base, ca_file=authority.ca_file, timeout=timedelta(seconds=2)) as origin,
            pytest.raises(RegistryTransient),
        ):
            get(origin)


def test_a_cdn_is_reached_over_tls_under_its_own_name_and_without_the_token(
    serve: Serve, authority: Authority
) -> None:
    registry, cdn = serve(f"DNS:{HOST}"), serve(f"DNS:{CDN}")
    registry.answer("/x", Answer.redirect(f"https://{CDN}:{cdn.port}/x"))
    with Origin(
        f"https://{HOST}:{registry.port}",
        (f"{CDN}:{cdn.port}",),
        ca_file=authority.ca_file,
        token="secret",
        resolver=to_loopback,
        refuse=lambda address: None if address == "127.0.0.1" else refusal(address),
    ) as origin:
        assert get(origin) == b"secure"
    assert registry.requests[0].headers["authorization"] == "Bearer secret"
    assert "authorization" not in cdn.requests[0].headers


def test_tls_is_not_given_up_by_a_redirect(serve: Serve, authority: Authority) -> None:
    registry = serve(f"DNS:{HOST}")
    registry.answer("/x", Answer.redirect(f"http://{HOST}:{registry.port}/x"))
    base = f"https://{HOST}:{registry.port}"
    with (
        Origin(base, ca_file=authority.ca_file, resolver=to_loopback) as origin,
        pytest.raises(RegistryPermanent, match="gives up TLS"),
    ):
        get(origin)
