"""Where a registry's URLs may lead: its own origin and the CDN hosts that are listed. Pure."""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import SplitResult, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PLAIN_URL = re.compile(r"[!-\[\]-~]+")  # printable ASCII without space and backslash
_HOST_NAME = re.compile(
    r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,62})?\.)*[a-z0-9_]([a-z0-9_-]{0,62})?"
)


@dataclass(frozen=True, slots=True)
class Site:
    """Scheme, host (lower case, no brackets, no trailing dot) and port of a URL."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Site":
        """Take a URL's site.

        Raises:
            ValueError: not an absolute http or https URL of a plain host, or it carries user-info.
        """
        if not _PLAIN_URL.fullmatch(url):
            raise ValueError("it holds characters that a URL may not hold")
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS:
            raise ValueError("it is not an http or https URL")
        if "@" in parts.netloc:
            raise ValueError("it carries a user name or password")
        return cls(parts.scheme, _host(parts), parts.port or _DEFAULT_PORTS[parts.scheme])

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_header}"


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").removesuffix(".")
    if ":" in host:
        return str(IPv6Address(host))
    if not _HOST_NAME.fullmatch(host):
        raise ValueError("its host is not a host name")
    return host


@dataclass(frozen=True, slots=True)
class Boundary:
    """The sites that requests for one registry may reach."""

    origin: Site
    cdns: frozenset[Site] = frozenset()

    @classmethod
    def around(cls, base_url: str, cdns: tuple[str, ...]) -> "Boundary":
        """Build the boundary of a registry.

        Args:
            base_url: the registry's base URL.
            cdns: ``host``, ``host:port`` (https is meant) or ``scheme://host[:port]``.

        Raises:
            ValueError: one of them is not a usable URL.
        """
        listed = (cdn if "://" in cdn else f"https://{cdn}" for cdn in cdns)
        return cls(Site.of(base_url), frozenset(map(Site.of, listed)))

    def owns(self, site: Site) -> bool:
        """Whether the site is the origin itself, or the same host behind TLS."""
        upgraded = Site("https", self.origin.host, site.port)
        ports = {self.origin.port, _DEFAULT_PORTS["https"]}
        return site == self.origin or (
            self.origin.scheme == "http" and site == upgraded and site.port in ports
        )

    def refusal(self, site: Site, *, came_from: Site | None) -> str | None:
        """Say why a request may not go to ``site``; None = it may."""
        if came_from is not None and came_from.scheme == "https" and site.scheme == "http":
            return f"{site} gives up TLS"
        if self.owns(site) or site in self.cdns:
            return None
        return f"{site} is neither the registry nor a listed CDN"
