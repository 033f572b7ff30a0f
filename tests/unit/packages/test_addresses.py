import socket

import pytest

from backend.outbound.addresses import refusal


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("0.0.0.0", "unspecified"),
        ("10.1.2.3", "private"),
        ("100.64.0.1", "shared"),
        ("100.127.255.255", "shared"),
        ("127.0.0.1", "loopback"),
        ("127.255.0.1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.8", "reserved"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "reserved"),
        ("192.168.1.1", "private"),
        ("198.19.0.1", "benchmarking"),
        ("203.0.113.9", "documentation"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.250", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("fc00::1", "unique local"),
        ("fd12:3456::1", "unique local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("2606:4700::1%1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("100::1", "reserved"),
        ("4000::1", "reserved"),
        ("2001:db8::1", "documentation"),
        ("3fff::1", "documentation"),
        ("2001:2::1", "reserved"),
    ],
)
def test_an_address_that_is_not_globally_routable_is_refused(address: str, reason: str) -> None:
    assert reason in (refusal(address) or "")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("::ffff:127.0.0.1", "loopback address (127.0.0.1) inside IPv6"),
        ("::ffff:a9fe:a9fe", "link-local address (169.254.169.254) inside IPv6"),
        ("::ffff:100.64.0.1", "shared"),
        ("::127.0.0.1", "IPv4-compatible"),
        ("::8.8.8.8", "IPv4-compatible"),
        ("::ffff:0:127.0.0.1", "reserved"),
        ("2002:7f00:1::", "loopback address (127.0.0.1) inside IPv6"),
        ("2002:a9fe:a9fe::1", "169.254.169.254"),
        ("64:ff9b::127.0.0.1", "loopback"),
        ("64:ff9b::a9fe:a9fe", "169.254.169.254"),
        ("64:ff9b:1::8.8.8.8", "translation"),
        ("64:ff9b:1:a00::1", "translation"),
        ("2001:0:7f00:1::1", "Teredo"),
        ("2606:4700::5efe:10.0.0.1", "private address (10.0.0.1) inside IPv6"),
        ("2606:4700::200:5efe:169.254.169.254", "169.254.169.254"),
        ("fe80::5efe:8.8.8.8", "link-local"),
    ],
)
def test_an_internal_address_in_ipv6_clothing_is_refused(address: str, reason: str) -> None:
    assert reason in (refusal(address) or "")


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "223.255.255.255",
        "2606:4700::6810:1b22",
        "2a00:1450:4001:81b::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2606:4700::5efe:8.8.8.8",
    ],
)
def test_a_globally_routable_address_is_allowed(address: str) -> None:
    assert refusal(address) is None


@pytest.mark.parametrize("text", ["", "localhost", "0x7f000001", "127.1", "2130706433", "[::1]"])
def test_what_is_not_an_ip_address_is_refused(text: str) -> None:
    assert refusal(text) == "not an IP address"


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1"])
def test_odd_spellings_are_refused_once_they_are_resolved(host: str) -> None:
    resolved = socket.getaddrinfo(host, 80, family=socket.AF_INET, type=socket.SOCK_STREAM)
    assert refusal(str(resolved[0][4][0])) == "a loopback address"
