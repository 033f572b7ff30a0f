"""URLs and dependency specifications of a lock: what kind they are, and what must not be kept."""

import re
from typing import Literal, NamedTuple

SpecKind = Literal["git", "file", "link", "web", "plain", "strange"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}):")
_GIT_SCHEMES = frozenset({"git", "ssh", "github", "gitlab", "bitbucket", "gist"})
_GIT_HOSTED = re.compile(r"[\w.-]+/[\w.-]+(?:#.*)?|[\w.-]+@[\w.-]+:.*", re.ASCII | re.DOTALL)
_DEFAULT_PORTS = {"http": 80, "https": 443}

# Stricter than any client: one "@" at most before the host, which is ASCII.
_PRINTABLE = re.compile(r"[!-\[\]-~]*")  # no space, no backslash
_ADDRESS = re.compile(
    r"(https?)://(?:[^/?#@]*@)?(\[[0-9a-f:.]+\]|[0-9a-z._-]+)(?::([0-9]{0,5}))?"
    r"(/[^?#]*)?(?:[?#].*)?",
    re.IGNORECASE | re.ASCII,
)

_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]{0,30}:)?//\S*")
_WHOLE_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]{0,30}:)?//")
_HOSTED_USER_INFO = re.compile(r"((?:^|@)(?:github|gitlab|bitbucket|gist):)[^:/@\s]*+:[^/@\s]*+@")
_SCP_USER_INFO = re.compile(r"(?:^|(?<=@))[^/@\s]*@(?=[\w-]+(?:\.[\w-]+)+:)")
_INLINE_SECRET = re.compile(r"(_(?:auth|authToken|password))=\S*", re.IGNORECASE)


class Address(NamedTuple):
    """Of an http(s) URL: the lower-case host, with a port that is not the default; and the path."""

    origin: str
    path: str


def spec_kind(spec: str) -> SpecKind:
    """What an npm ``version`` or ``resolved`` value points at.

    ``web`` is http(s) and not git; ``plain`` has no scheme (a version, a range, a path);
    ``strange`` is any scheme that npm has no fetcher for.
    """
    match = _SCHEME.match(spec) if ":" in spec else None
    if match is None:
        return "git" if ("/" in spec or "@" in spec) and _GIT_HOSTED.fullmatch(spec) else "plain"
    scheme = match[1].lower()
    if scheme in _GIT_SCHEMES or scheme.startswith("git+"):
        return "git"
    if scheme in {"http", "https"}:
        return "git" if spec.partition("#")[0].partition("?")[0].endswith(".git") else "web"
    if scheme in {"file", "link"}:
        return "file" if scheme == "file" else "link"
    return "strange"


def address_of(url: str) -> Address | None:
    """Where ``url`` points, or None where readers of URLs could disagree about that."""
    match = _ADDRESS.fullmatch(url) if _PRINTABLE.fullmatch(url) else None
    if match is None:
        return None
    scheme, host, port, path = match.groups()
    is_default = not port or int(port) == _DEFAULT_PORTS[scheme.lower()]
    return Address(host.lower() if is_default else f"{host.lower()}:{int(port)}", path or "")


def redact_url(url: str) -> str:
    """``url`` without user-info, query and fragment. Works on what is no URL, too; never raises."""
    start = url.index("//") + 2 if "//" in url else 0
    location = re.split(r"[?#]", url[start:], maxsplit=1)[0]
    authority, slash, path = location.partition("/")
    host = authority.rpartition("@")[2]
    if "ssh" not in url[:start]:  # git+ssh://host:path is npm's own way to write an scp address
        host = _without_odd_port(host)
    return f"{url[:start]}{host}{slash}{path}"


def _without_odd_port(host: str) -> str:
    """What follows the host but is no port could be half of a password."""
    name, bracket, rest = host.rpartition("]")
    tail, _, port = rest.partition(":")
    return host if port.isdecimal() else f"{name}{bracket}{tail}"


def redact_text(text: str) -> str:
    """``text`` with every URL in it redacted, and git addresses and inline npm tokens as well."""
    if _WHOLE_URL.match(text):
        text = redact_url(text)
    elif "//" in text:
        text = _URL.sub(lambda match: redact_url(match[0]), text)
    elif "@" in text and ":" in text:
        text = _HOSTED_USER_INFO.sub(r"\1", _SCP_USER_INFO.sub("", text))
    return _INLINE_SECRET.sub(r"\1=***", text) if "_" in text else text
