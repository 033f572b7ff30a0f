"""Secrets that are told by their shape, wherever in a text they stand.

Each pattern begins with what it cannot do without, and each repetition is bounded or ends where
the next find could begin: the time is linear in the text. A first look for a few characters, which
is much faster, spares nearly every text the patterns.
"""

import re
from collections.abc import Callable
from typing import Final

Hide = Callable[[str], str]
"""What stands in a secret's place."""

_WORD: Final = "[A-Za-z0-9_-]"
_PEM: Final = re.compile(r"-----BEGIN .*?(?:-----END [A-Z0-9 ]{0,64}-----|\Z)", re.DOTALL)
_URL_PASSWORD: Final = re.compile(r"""(?<=://)([^\s/:@"'<>]{0,256}):([^\s/"'<>]{1,256})@""")
_URL_TOKEN: Final = re.compile(r"""(?<=://)[^\s/:@"'<>]{20,256}(?=@)""")
_ENCRYPTED: Final = re.compile(
    r"\$[17]\$[A-Za-z0-9+/]{4,}={0,2}"
    r"|\$[156]\$(?:rounds=\d{1,9}\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{4,}"
    r"|\$2[aby]?\$\d\d\$[./A-Za-z0-9]{22,}"
)
_JWT: Final = re.compile(rf"(?<!{_WORD})eyJ{_WORD}{{8,}}\.{_WORD}{{8,}}(?:\.{_WORD}*)?")
_BEARER: Final = re.compile(
    r"""(\bbearer\s+|\bauthorization["']?\s*[:=]\s*["']?(?:(?:basic|bearer|splunk|token|apikey)\s+)?+)"""
    r"""([A-Za-z0-9._~+/=-]{6,})""",
    re.IGNORECASE,
)
_KNOWN: Final = re.compile(
    rf"(?<!{_WORD})(?:(?:AKIA|ASIA)[A-Z0-9]{{16}}|gh[pousr]_[A-Za-z0-9]{{20,}}"
    rf"|glpat-{_WORD}{{16,}}|xox[abeprs]-{_WORD}{{10,}}|AIza{_WORD}{{35}})"
)
_NAMES: Final = (
    r"(?:pass(?:word|wd|phrase|4symmkey)|pwd|secret|(?:api|secret)[_-]?key"
    r"|(?:access|auth)[_-]?token|[?&](?:token|key|sig))"
)
_ASSIGNMENT: Final = re.compile(rf"""{_NAMES}["']?\s*[=:]""")  # of text in lower case
_ASSIGNED: Final = re.compile(
    rf"""({_NAMES}["']?\s*[=:]\s*)"""
    r"""("[^"\n]{1,512}"|'[^'\n]{1,512}'"""
    r"""|[^\s"'&;,|()\[\]{}\\*$<>^?=][^\s"'&;,|()]{2,}+(?!\())""",
    re.IGNORECASE,
)
_HIDDEN: Final = re.compile(r"<masked:[0-9a-f]{16}>")
_NO_SECRETS: Final = frozenset({
    "", "0", "1", "true", "false", "yes", "no", "t", "f", "y", "n", "on", "off", "none", "null",
    "enabled", "disabled", "*", "xxxx", "****",
})  # fmt: skip


def says_nothing(value: str) -> bool:
    """Whether a value is no secret, or none any more: empty, a yes or no, or hidden already."""
    bare = value.strip("\"'")
    return bare.lower() in _NO_SECRETS or _HIDDEN.fullmatch(bare) is not None


def hidden(text: str, hide: Hide, *, assignments: bool) -> str:
    """The text with every secret in it replaced.

    Args:
        text: a value, a setting's name or a stanza's.
        hide: called with each secret.
        assignments: whether ``password=…`` within the text counts; in a regular expression it is
            a pattern, and no password.
    """
    if "://" in text:
        text = _URL_PASSWORD.sub(lambda found: f"{found[1]}:{hide(found[2])}@", text)
        text = _URL_TOKEN.sub(lambda found: hide(found[0]), text)
    if "$" in text:
        text = _ENCRYPTED.sub(lambda found: hide(found[0]), text)
    if "-----BEGIN " in text:
        text = _PEM.sub(lambda found: hide(found[0]), text)
    if "eyJ" in text:
        text = _JWT.sub(lambda found: hide(found[0]), text)
    # Searched for one by one: a loop over them takes three times as long, a pattern ten times.
    if "AKIA" in text or "ASIA" in text or "AIza" in text or "xox" in text or "glpat-" in text:
        text = _KNOWN.sub(lambda found: hide(found[0]), text)
    if "ghp_" in text or "gho_" in text or "ghs_" in text or "ghu_" in text or "ghr_" in text:
        text = _KNOWN.sub(lambda found: hide(found[0]), text)
    if "=" not in text and ":" not in text and " " not in text:
        return text
    lowered = text.lower()
    if "bearer" in lowered or "authorization" in lowered:
        text = _BEARER.sub(lambda found: found[1] + hide(found[2]), text)
    if assignments and _may_assign(lowered):
        text = _ASSIGNED.sub(lambda found: found[1] + _quoted(found[2], hide), text)
    return text


def _may_assign(lowered: str) -> bool:
    """Whether ``_ASSIGNED``, the slowest of the patterns, may find something."""
    return (
        "pass" in lowered or "pwd" in lowered or "secret" in lowered or "token" in lowered
        or "key" in lowered or "sig=" in lowered
    ) and _ASSIGNMENT.search(lowered) is not None  # fmt: skip


def _quoted(value: str, hide: Hide) -> str:
    """The value hidden, its quotes left."""
    if says_nothing(value):
        return value
    quote = value[0] if value[0] in "\"'" else ""
    return f"{quote}{hide(value.strip(quote) if quote else value)}{quote}"
