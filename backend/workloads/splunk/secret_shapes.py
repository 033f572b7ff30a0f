"""Secrets that are told by their shape, wherever in a text they stand.

Each pattern begins with what it cannot do without, and each repetition is bounded or ends where
the next find could begin: the time is linear in the text. A first look for a few characters, which
is much faster, spares nearly every text the patterns.
"""

import re
from collections.abc import Callable
from typing import Final

from backend.workloads.splunk.secret_names import names_a_secret_value

Hide = Callable[[str], str]
"""What stands in a secret's place."""

_WORD: Final = "[A-Za-z0-9_-]"
_PEM: Final = re.compile(r"-----BEGIN .*?(?:-----END [A-Z0-9 ]{0,64}-----|\Z)", re.DOTALL)
_URL_PASSWORD: Final = re.compile(
    r"""(?<=://)([^\s/:@"'<>]{0,256}):"""
    # A slash should be %2F there; behind a number it begins the path after a port.
    r"""([^\s/"'<>]{1,256}|(?![0-9]{1,5}/)[^\s"'<>@]{1,256}+)@"""
)
_URL_TOKEN: Final = re.compile(r"""(?<=://)[^\s/:@"'<>]{20,256}(?=@)""")
_ENCRYPTED: Final = re.compile(
    r"\$[17]\$[A-Za-z0-9+/]{4,}={0,2}"
    r"|\$[156]\$(?:rounds=\d{1,9}\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{4,}"
    r"|\$2[aby]?\$\d\d\$[./A-Za-z0-9]{22,}"
    r"|\$g?y\$[./A-Za-z0-9]{1,32}\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{8,}"
    r"|\$(?:argon2(?:id|i|d)|scrypt|pbkdf2[a-z0-9-]{0,12})\$[A-Za-z0-9./+=,$-]{8,}"
)
_HASHED: Final = re.compile(r"\{(?:S?SHA[0-9]{0,3}|S?MD5|CRYPT)\}[A-Za-z0-9./+=$]{8,}")
"""As directories keep them (RFC 2307)."""
_JWT: Final = re.compile(
    rf"(?<!{_WORD})eyJ{_WORD}{{8,}}\.(?:{_WORD}{{8,}}(?:\.{_WORD}*){{0,3}}|(?:\.{_WORD}+){{1,3}})"
)
_BASE64_KEY: Final = re.compile(
    # So begin a PKCS #1 or #8 key (a certificate, too), a PEM block in base64, an OpenSSH key.
    r"(?<![A-Za-z0-9+/])(?:MII[A-Za-z0-9+/]{60}|LS0tLS1CRUdJTi|b3BlbnNzaC1rZXktdjE)"
    r"(?:[A-Za-z0-9+/]|\s(?=[A-Za-z0-9+/]{4}))*={0,2}"
)
_BEARER: Final = re.compile(
    r"""(\bbearer\s+|\bauthorization["']?\s*[:=]\s*["']?(?:(?:basic|bearer|splunk|token|apikey)\s+)?+)"""
    r"""([A-Za-z0-9._~+/=-]{6,})""",
    re.IGNORECASE,
)
_COOKIE: Final = re.compile(r"""(\bcookie["']?\s*:\s*["']?)([^"'\s][^"'\n]{5,})""", re.IGNORECASE)
_KNOWN: Final = re.compile(
    rf"(?<!{_WORD})(?:(?:AKIA|ASIA)[A-Z0-9]{{16}}|gh[pousr]_[A-Za-z0-9]{{20,}}"
    rf"|github_pat_{_WORD}{{20,}}|glpat-{_WORD}{{16,}}|glsa_{_WORD}{{20,}}"
    rf"|xox[abeprs]-{_WORD}{{15,}}|AIza{_WORD}{{35}}|[sr]k_(?:live|test)_{_WORD}{{16,}}"
    rf"|sk-{_WORD}{{32,}}|SG\.{_WORD}{{16,}}\.{_WORD}{{16,}}|npm_[A-Za-z0-9]{{36}}"
    rf"|hv[bs]\.{_WORD}{{24,}}|ya29\.{_WORD}{{20,}}|xapp-{_WORD}{{20,}})"
)
_GITHUB: Final = re.compile("gh[pousr]_")
_SHORTEST_KNOWN: Final = 20
_NAMES: Final = r"(?:pass(?:word|wd|phrase|code|[_-]phrase|)|pwd|secret|token|credentials?|key)"
"""How names end that may be those of secrets."""
_ASSIGNMENT: Final = re.compile(rf"""{_NAMES}\\?["']?\s*[=:]=?\s*""")  # of text in lower case
_OPTION: Final = re.compile(rf"-{_NAMES}\s+(?!-)|-(?:[a-z0-9]{{1,20}}[_-]){{1,3}}{_NAMES}\s+(?!-)")
_BEFORE: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
_LONGEST_NAME: Final = 40
_VALUE: Final = re.compile(
    r""""[^"\s][^"\n]{0,511}"|'[^'\s][^'\n]{0,511}'|\\"[^"\\\n]{1,512}\\\""""
    r"""|[^\s"'&;,|()\[\]{}\\*$<>^?=][^\s"'&;,|()]{2,}+(?!\()"""
)
"""What is no pattern, no call of a function and no variable."""
_QUERY: Final = re.compile(
    r"""([?&](?:[a-z0-9_-]{0,32}[_-])?(?:key|sig|signature|code|auth|session)=)"""
    r"""([^\s"'&;,|()*$<>^?={}\\\[\]]{3,})""",
    re.IGNORECASE,
)
_USER: Final = re.compile(
    r"""((?:\s|^)(?:-u|--(?:proxy-)?user)[\s=]["']?[^\s:"']{1,64}:)([^\s/"'][^\s"']*)"""
)
"""As curl takes a user's password."""
_PROXY: Final = re.compile(
    r"([A-Za-z0-9._%+-]{1,64}:)([^\s:/@]{1,256})(@[A-Za-z0-9.-]{1,255}:[0-9]{2,5})"
)
_ORACLE: Final = re.compile(r"""(jdbc:oracle:\w{1,8}:[^\s/@]{1,64}/)([^\s@"']{1,128})(?=@)""")
_TOKEN: Final = re.compile(r"""["']?\$[A-Za-z_][\w.:|-]{0,64}\$["']?""")
"""What a dashboard or a macro puts in: ``password="$pass$"``."""
_HIDDEN: Final = re.compile(r"<masked:[0-9a-f]{16}>")
_NO_SECRETS: Final = frozenset({
    "", "0", "1", "true", "false", "yes", "no", "t", "f", "y", "n", "on", "off", "none", "null",
    "enabled", "disabled", "*", "xxxx", "****",
    "string", "number", "bool", "boolean", "time", "array",  # collections: types of fields
})  # fmt: skip


def says_nothing(value: str) -> bool:
    """Whether a value is no secret, or none any more: empty, a yes or no, or hidden already."""
    bare = value.strip("\"'")
    return bare.lower() in _NO_SECRETS or is_hidden(bare)


def is_hidden(text: str) -> bool:
    """Whether it is what stands in a secret's place, and nothing else."""
    return _HIDDEN.fullmatch(text) is not None


def hidden(text: str, hide: Hide, *, assignments: bool) -> str:
    """The text with every secret in it replaced.

    Args:
        text: a value, a setting's name or a stanza's.
        hide: called with each secret.
        assignments: whether ``password=…`` within the text counts; in a regular expression it is
            a pattern, and no password.
    """
    if "://" in text and "@" in text:
        text = _URL_PASSWORD.sub(lambda found: f"{found[1]}:{hide(found[2])}@", text)
        text = _URL_TOKEN.sub(lambda found: hide(found[0]), text)
    elif "@" in text:
        text = _without_login(text, hide)
    if "$" in text:
        text = _ENCRYPTED.sub(lambda found: hide(found[0]), text)
    if "}" in text:
        text = _HASHED.sub(lambda found: hide(found[0]), text)
    if "-----BEGIN " in text:
        text = _PEM.sub(lambda found: hide(found[0]), text)
    if "eyJ" in text:
        text = _JWT.sub(lambda found: hide(found[0]), text)
    if len(text) >= _SHORTEST_KNOWN and _may_be_known(text):
        text = _KNOWN.sub(lambda found: hide(found[0]), text)
        text = _BASE64_KEY.sub(lambda found: hide(found[0]), text)
    if "=" not in text and ":" not in text and " " not in text:
        return text
    lowered = text.lower()
    if "bearer" in lowered or "authorization" in lowered or "cookie" in lowered:
        text = _BEARER.sub(lambda found: found[1] + hide(found[2]), text)
        text = _COOKIE.sub(lambda found: found[1] + hide(found[2]), text)
        lowered = text.lower()
    return _without_assigned(text, lowered, hide) if assignments else text


def _without_login(text: str, hide: Hide) -> str:
    """Text that holds no URL, without ``user:password@host:port`` and Oracle's way of it."""
    if (proxy := _PROXY.fullmatch(text)) is not None:
        return proxy[1] + hide(proxy[2]) + proxy[3]
    return _ORACLE.sub(lambda found: found[1] + hide(found[2]), text)


def _may_be_known(text: str) -> bool:
    """Whether ``_KNOWN`` or ``_BASE64_KEY`` may find something."""
    # Searched for one by one: a loop over them takes three times as long, a pattern ten times.
    return (
        ("IA" in text and ("AKIA" in text or "ASIA" in text))
        or ("gh" in text and _GITHUB.search(text) is not None) or "github_pat_" in text
        or ("gl" in text and ("glpat-" in text or "glsa_" in text))
        or ("k_" in text and ("k_live_" in text or "k_test_" in text))
        or "AIza" in text or "xox" in text or "sk-" in text or "SG." in text
        or "npm_" in text or "hvs." in text or "hvb." in text or "ya29." in text or "xapp-" in text
        or "MII" in text or "LS0tLS1CRUdJTi" in text or "b3BlbnNzaC1rZXktdjE" in text
    )  # fmt: skip


def _without_assigned(text: str, lowered: str, hide: Hide) -> str:
    """Without ``password=…``, ``"token": "…"``, ``--api-key …``, ``?sig=…``, ``-u me:…``."""
    if _may_name(lowered):
        text = _without_named(text, lowered, _ASSIGNMENT, hide)
        if " -" in text or text[0] == "-":
            text = _without_named(text, text.lower(), _OPTION, hide)
    if "?" in text or "&" in text:
        text = _QUERY.sub(lambda found: found[1] + _quoted(found[2], hide), text)
    if "-u" in text:
        text = _USER.sub(lambda found: found[1] + hide(found[2]), text)
    return text


def _without_named(text: str, lowered: str, named: re.Pattern[str], hide: Hide) -> str:
    """Without the values behind what ``named`` finds, if that is how a secret's name ends."""
    if len(lowered) != len(text):  # a few letters of other scripts become two
        lowered = "".join(c.lower() if c.isascii() else c for c in text)
    parts: list[str] = []
    end = 0
    for found in named.finditer(lowered):
        if found.start() < end or not names_a_secret_value(_word(lowered, found.start(), found[0])):
            continue
        if (value := _VALUE.match(text, found.end())) is not None:
            parts += (text[end : value.start()], _quoted(value[0], hide))
            end = value.end()
    return "".join((*parts, text[end:])) if parts else text


def _word(text: str, at: int, found: str) -> str:
    """The whole name, of which a part was found at ``at``, without what follows it."""
    begin = at
    while begin > max(0, at - _LONGEST_NAME) and text[begin - 1] in _BEFORE:
        begin -= 1
    return text[begin:at] + found.rstrip("=: \t\n\\\"'")


def _may_name(lowered: str) -> bool:
    """Whether one of ``_NAMES`` may be there; the patterns are slower."""
    return (
        "pass" in lowered or "pwd" in lowered or "secret" in lowered or "token" in lowered
        or "key" in lowered or "credential" in lowered
    )  # fmt: skip


def _quoted(value: str, hide: Hide) -> str:
    """The value hidden, its quotes left."""
    if says_nothing(value) or _TOKEN.fullmatch(value):
        return value
    quote = '\\"' if value.startswith('\\"') else value[0] if value[0] in "\"'" else ""
    return f"{quote}{hide(value[len(quote) : -len(quote)] if quote else value)}{quote}"
