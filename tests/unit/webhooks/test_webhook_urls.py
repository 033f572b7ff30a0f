"""Where webhooks may lead, before anything is asked and when names are resolved."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from backend.outbound.posting import InternalHosts, Poster, Unanswered, UrlRefused, permitted
from backend.queue.retry import Permanent, Transient
from backend.workloads.webhooks.delivering import refuse

NOBODY = InternalHosts(())


def resolving(*addresses: str) -> Callable[..., list[Any]]:
    def resolve(_host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    return resolve


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example.test/in", "gives up TLS"),
        ("ftp://hooks.example.test/in", "not an http or https"),
        ("https://ada:secret@hooks.example.test/in", "user name or password"),
        ("https://hooks.example.test/in?token=secret", "query or a fragment"),
        ("https://hooks.example.test/in#part", "query or a fragment"),
        ("https://hooks.example.test/a b", "characters"),
        ("https:///in", "not a host name"),
        ("hooks.example.test/in", "not an http or https"),
        ("https://127.0.0.1/in", "a loopback address"),
        ("https://10.1.2.3/in", "a private address"),
        ("https://169.254.169.254/latest", "a link-local address"),
        ("https://[::1]/in", "a loopback address"),
        ("https://[::ffff:10.0.0.1]/in", "a private address"),
    ],
)
def test_a_url_that_may_never_be_posted_to_is_refused_at_once(url: str, why: str) -> None:
    with pytest.raises(UrlRefused, match=why) as refused:
        permitted(url, NOBODY)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["https://hooks.example.test", "https://hooks.example.test:8443/a"])
def test_a_public_host_behind_tls_may_be_posted_to(url: str) -> None:
    assert permitted(url, NOBODY).host == "hooks.example.test"


@pytest.mark.parametrize("listed", ["Hooks.internal.test", "hooks.internal.test:8080"])
def test_a_listed_host_may_be_internal_and_without_tls(listed: str) -> None:
    permitted("http://hooks.internal.test:8080/in", InternalHosts([listed]))

    with pytest.raises(UrlRefused):
        permitted("http://other.internal.test:8080/in", InternalHosts([listed]))
    with pytest.raises(UrlRefused):
        permitted("http://hooks.internal.test:8081/in", InternalHosts(["hooks.internal.test:8080"]))


@pytest.mark.parametrize("addresses", [("10.0.0.7",), ("93.184.215.14", "127.0.0.1")])
def test_a_name_that_leads_inside_is_refused_with_every_post(addresses: tuple[str, ...]) -> None:
    poster = Poster(NOBODY, resolver=resolving(*addresses))

    with pytest.raises(UrlRefused, match="it leads to"):
        poster.post("https://hooks.example.test/in", {}, b"{}")


def test_a_name_that_cannot_be_resolved_is_asked_again_later() -> None:
    def unknown(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror

    with pytest.raises(Unanswered, match="could not be resolved"):
        Poster(NOBODY, resolver=unknown).post("https://hooks.example.test/in", {}, b"{}")


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_any_2xx_means_received(status: int) -> None:
    refuse(status)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 304, 410])
def test_a_redirect_and_gone_end_a_delivery(status: int) -> None:
    with pytest.raises(Permanent, match=str(status)):
        refuse(status)


@pytest.mark.parametrize("status", [400, 401, 404, 408, 429, 500, 503, 199, 600])
def test_anything_else_is_worth_another_attempt(status: int) -> None:
    with pytest.raises(Transient, match=str(status)):
        refuse(status)
