"""Where a registry's URLs may lead: its own origin and the CDN hosts that are listed. Pure."""

from dataclasses import dataclass
from typing import Final

from backend.outbound.sites import DEFAULT_PORTS, Site

REGISTRY: Final = "the registry"
"""What errors call a server that is one."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """The sites that requests for one registry may reach; ``server`` is what errors call it."""

    origin: Site
    cdns: frozenset[Site] = frozenset()
    server: str = REGISTRY

    @classmethod
    def around(cls, base_url: str, cdns: tuple[str, ...], *, server: str = REGISTRY) -> "Boundary":
        """Build the boundary of a registry.

        Args:
            base_url: the registry's base URL.
            cdns: ``host``, ``host:port`` (https is meant) or ``scheme://host[:port]``.
            server: what errors call it.

        Raises:
            ValueError: one of them is not a usable URL.
        """
        listed = (cdn if "://" in cdn else f"https://{cdn}" for cdn in cdns)
        return cls(Site.of(base_url), frozenset(map(Site.of, listed)), server)

    def owns(self, site: Site) -> bool:
        """Whether the site is the origin itself, or the same host behind TLS."""
        upgraded = Site("https", self.origin.host, site.port)
        ports = {self.origin.port, DEFAULT_PORTS["https"]}
        return site == self.origin or (
            self.origin.scheme == "http" and site == upgraded and site.port in ports
        )

    def refusal(self, site: Site, *, came_from: Site | None) -> str | None:
        """Say why a request may not go to ``site``; None = it may."""
        if came_from is not None and came_from.scheme == "https" and site.scheme == "http":
            return f"{site} gives up TLS"
        if self.owns(site) or site in self.cdns:
            return None
        return f"{site} is neither {self.server} nor a listed CDN"
