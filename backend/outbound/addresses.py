"""Which IP addresses nobody may send us to.

The tables follow the IANA special-purpose address registries (RFC 6890 and its updates). They are
written out because ``ipaddress.is_global`` differs between Python releases.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_REFUSED_V4 = tuple(
    (IPv4Network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "an unspecified address"),
        ("10.0.0.0/8", "a private address"),
        ("100.64.0.0/10", "a shared address"),
        ("127.0.0.0/8", "a loopback address"),
        ("169.254.0.0/16", "a link-local address"),
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.0/24", "a reserved address"),
        ("192.0.2.0/24", "a documentation address"),
        ("192.88.99.0/24", "a reserved address"),
        ("192.168.0.0/16", "a private address"),
        ("198.18.0.0/15", "a benchmarking address"),
        ("198.51.100.0/24", "a documentation address"),
        ("203.0.113.0/24", "a documentation address"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved address"),
    )
)

_REFUSED_V6 = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("::/128", "an unspecified address"),
        ("::1/128", "a loopback address"),
        ("::/96", "an IPv4-compatible address"),
        ("64:ff9b:1::/48", "a local translation address"),
        ("fc00::/7", "a unique local address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address"),
        ("ff00::/8", "a multicast address"),
        ("2001::/32", "a Teredo address"),
        ("2001::/23", "a reserved address"),
        ("2001:db8::/32", "a documentation address"),
        ("3fff::/20", "a documentation address"),
    )
)

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
NO_ADDRESS = "not an IP address"
_ISATAP_MARKS = (0x00005EFE, 0x02005EFE)


def refusal(address: str) -> str | None:
    """Say why this address may not be connected to; None = it is globally routable.

    Args:
        address: an IP address as a resolver gives it, with or without a scope id. Anything else
            is refused as well.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return NO_ADDRESS
    if isinstance(parsed, IPv4Address):
        return _refused_v4(parsed)
    if parsed.scope_id is not None:
        return "a link-local address"
    return _refused_v6(parsed)


def _refused_v4(address: IPv4Address) -> str | None:
    return next((reason for network, reason in _REFUSED_V4 if address in network), None)


def _refused_v6(address: IPv6Address) -> str | None:
    # Checked first: these prefixes are only clothing, the IPv4 address inside is what is reached.
    if address in _MAPPED or address in _NAT64:
        return _refused_inside(_low(address))
    named = next((reason for network, reason in _REFUSED_V6 if address in network), None)
    if named is not None:
        return named
    if address not in _GLOBAL_UNICAST:
        return "a reserved address"
    if address in _SIX_TO_FOUR:
        return _refused_inside(IPv4Address(int(address) >> 80 & 0xFFFFFFFF))
    if int(address) >> 32 & 0xFFFFFFFF in _ISATAP_MARKS:
        return _refused_inside(_low(address))
    return None


def _low(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFFFFFF)


def _refused_inside(address: IPv4Address) -> str | None:
    reason = _refused_v4(address)
    return reason and f"{reason} ({address}) inside IPv6"
