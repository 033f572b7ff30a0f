"""The raw lock, fit to be stored: the same text, less what could be a secret."""

import json
import re

from backend.workloads.packages.lockfile.urls import redact_text

_BOM = b"\xef\xbb\xbf"

# Nearly all strings are plain: nothing in them that starts a secret or hides one in an escape.
_PLAIN = r'"(?:[^"\\@?#_]++|_(?![aApP]))*+"'
_ANY = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_NEXT = re.compile(
    rf'([^"]*+(?:{_PLAIN}[^"]*+)*+)(?:({_ANY})(?:(\s*+:\s*+)({_ANY})?)?|\Z)', re.DOTALL
)

# What ``redact_text`` looks for, or an escape that may hide it.
_PERHAPS_SECRET = re.compile(r"[\\:_]|//")

# npm's own setting names. Package names cannot begin with an underscore, so none is masked.
_SECRET_KEY = re.compile(r"(?:^|:)_(?:auth|authtoken|password)$", re.IGNORECASE)


def redacted(data: bytes) -> bytes:
    """Strip user-info, query and fragment from every URL of a valid JSON document.

    Works on every string, keys included, wherever it stands and however it is escaped; values of
    npm's secret settings become ``***``. Everything else keeps its bytes.
    """
    return _NEXT.sub(_clean, data.removeprefix(_BOM).decode()).encode()


def _clean(match: re.Match[str]) -> str:
    """Plain text, then one string; where that is a key, also the string that is its value."""
    before, string, colon, value = match.groups()
    if string is None:
        return match[0]
    if value is not None:
        is_secret = _SECRET_KEY.search(json.loads(string))
        value = '"***"' if is_secret else _clean_string(value)
    return f"{before}{_clean_string(string)}{colon or ''}{value or ''}"


def _clean_string(token: str) -> str:
    if not _PERHAPS_SECRET.search(token):
        return token
    text = json.loads(token) if "\\" in token else token[1:-1]
    clean = redact_text(text)
    return token if clean == text else json.dumps(clean, ensure_ascii=False)
