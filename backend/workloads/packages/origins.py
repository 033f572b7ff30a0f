"""Where packages come from by setting: pure text, shared by the API and the worker."""

from functools import cache
from urllib.parse import urlsplit

from packageurl.contrib.purl2url import get_download_url

from backend.settings import Settings

DEFAULT_PORTS = {"http": 80, "https": 443}


@cache
def default_registry() -> str:
    """The ecosystem's public registry, as packageurl-python knows it."""
    url = get_download_url("pkg:npm/a@1.0.0")
    assert url is not None
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def source_registry(settings: Settings) -> str:
    return settings.source_repository_url or default_registry()


def known_hosts(settings: Settings) -> frozenset[str]:
    """Hosts whose ``resolved`` URLs mean "the registry": the configured one and the public one."""
    return frozenset(_host(url) for url in (source_registry(settings), default_registry()))


@cache
def _host(url: str) -> str:
    parts = urlsplit(url)
    host, port = (parts.hostname or "").lower(), parts.port
    return host if port in (None, DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{port}"
