import pytest

from backend.outbound.sites import Site
from backend.workloads.packages.registry.sites import Boundary


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://Registry.Example.Test/npm", Site("https", "registry.example.test", 443)),
        ("http://registry.example.test.:8080/", Site("http", "registry.example.test", 8080)),
        ("http://[2001:DB8::1]:4873", Site("http", "2001:db8::1", 4873)),
    ],
)
def test_a_site_is_scheme_host_and_port_in_one_spelling(url: str, site: Site) -> None:
    assert Site.of(url) == site


@pytest.mark.parametrize(
    "url",
    [
        "ftp://registry.example.test/",
        "file:///etc/passwd",
        "//registry.example.test/",
        "registry.example.test",
        "https://",
        "https://user:secret@registry.example.test/",
        "https://user@registry.example.test/",
        "https://registry.example.test\\@evil.example.test/",
        "https://registry.example.test/a b",
        "https://registry.example.test/\r\nX: y",
        "https://registry.example.test:99999/",
        "https://registry.example.test:port/",
        "https://bücher.example.test/",
        "https://[::1/",
        "https://[fe80::1%25eth0/",
        "https://a..example.test/",
        f"https://{'a' * 64}.example.test/",
        "https://registry.example.test%2eevil.example.test/",
    ],
)
def test_a_url_that_cannot_be_read_in_one_way_only_has_no_site(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Site.of(url)


@pytest.mark.parametrize(
    ("site", "header"),
    [
        (Site("https", "registry.example.test", 443), "registry.example.test"),
        (Site("https", "registry.example.test", 8443), "registry.example.test:8443"),
        (Site("http", "2001:db8::1", 80), "[2001:db8::1]"),
    ],
)
def test_the_host_header_names_the_port_only_where_it_is_not_the_default(
    site: Site, header: str
) -> None:
    assert site.host_header == header


def refused(origin: str, target: str, *, came_from: str, cdns: tuple[str, ...] = ()) -> str | None:
    boundary = Boundary.around(origin, cdns)
    return boundary.refusal(Site.of(target), came_from=Site.of(came_from))


@pytest.mark.parametrize(
    ("origin", "target"),
    [
        ("https://registry.example.test", "https://registry.example.test/x"),
        ("http://registry.example.test", "https://registry.example.test/x"),
        ("http://registry.example.test:4873", "https://registry.example.test:4873/x"),
        ("http://registry.example.test:4873", "https://registry.example.test/x"),
    ],
)
def test_a_redirect_within_the_origin_or_up_to_tls_is_followed(origin: str, target: str) -> None:
    assert refused(origin, target, came_from=origin) is None


@pytest.mark.parametrize(
    ("origin", "target"),
    [
        ("https://registry.example.test", "https://other.example.test/x"),
        ("https://registry.example.test", "https://registry.example.test.evil.example.test/x"),
        ("https://registry.example.test", "https://registry.example.test:8443/x"),
        ("http://registry.example.test", "http://registry.example.test:22/x"),
        ("http://registry.example.test", "https://registry.example.test:22/x"),
        ("https://registry.example.test", "http://registry.example.test/x"),
    ],
)
def test_a_redirect_elsewhere_or_down_from_tls_is_refused(origin: str, target: str) -> None:
    assert refused(origin, target, came_from=origin) is not None


def test_a_listed_cdn_is_reached_over_https_only() -> None:
    origin, cdns = "http://registry.example.test", ("cdn.example.test",)
    assert refused(origin, "https://cdn.example.test/x", cdns=cdns, came_from=origin) is None
    assert refused(origin, "http://cdn.example.test/x", cdns=cdns, came_from=origin) is not None


def test_a_cdn_listed_with_its_scheme_is_reached_over_that_scheme() -> None:
    origin, cdns = "http://registry.example.test", ("http://cdn.example.test:8080",)
    assert refused(origin, "http://cdn.example.test:8080/x", cdns=cdns, came_from=origin) is None


def test_tls_is_never_given_up_even_for_a_cdn_listed_without_it() -> None:
    cdns = ("http://cdn.example.test",)
    reason = refused(
        "https://registry.example.test",
        "http://cdn.example.test/x",
        cdns=cdns,
        came_from="https://registry.example.test",
    )
    assert reason == "http://cdn.example.test gives up TLS"
