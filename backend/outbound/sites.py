"""The site that a URL leads to. Pure."""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import SplitResult, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
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
        if parts.scheme not in DEFAULT_PORTS:
            raise ValueError("it is not an http or https URL")
        if "@" in parts.netloc:
            raise ValueError("it carries a user name or password")
        return cls(parts.scheme, _host(parts), parts.port or DEFAULT_PORTS[parts.scheme])

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_header}"


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").removesuffix(".")
    if ":" in host:
        return str(IPv6Address(host))
    if not _HOST_NAME.fullmatch(host):
        raise ValueError("its host is not a host name")
    return host
