"""Hides secrets before anything that a conf file says is stored, logged or shown.

In a secret's place stands ``<masked:0123456789abcdef>``, the beginning of a keyed hash over it:
where a secret was stays visible, and two equal ones stay equal for whoever compares texts. Without
the key nobody can try guesses against it.
"""

import hmac
import re
from typing import Final

from backend.workloads.splunk.conf.stanza import Stanza
from backend.workloads.splunk.secret_names import may_name_a_file, names_a_secret_value
from backend.workloads.splunk.secret_shapes import hidden, is_hidden, says_nothing

_DIGITS: Final = 16
_PLAIN: Final = 20
"""Characters below which a single word has no secret's shape."""
_SHORTEST: Final = 7
"""Characters below which no text has."""
_FILE: Final = re.compile(
    r"[\w./\\:$~ -]{1,1024}\.(?:pem|key|crt|cer|der|p12|pfx|jks|conf|txt|json|secret)", re.ASCII
)
_PATTERNS: Final = frozenset({"props", "transforms"})
"""Conf types full of regular expressions, in which ``password=…`` is a pattern."""
_NOT_ASSIGNED: Final = _PATTERNS | {"tags"}
"""In names of ``tags``, ``token=…`` is a field that has a value."""
_LINE: Final = re.compile(r"^([ \t]*([A-Za-z_][\w.-]{0,80})[ \t]*=[ \t]*)(\S[^\n]*)", re.MULTILINE)
_GUID: Final = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{6,}")
_LONG: Final = 40
"""Characters of base64 that no setting's name has."""
_REST: Final = frozenset({"", "="})
"""What base64 may leave of itself behind the first ``=``."""
_ENDS: Final = 2
"""Characters below which a value may be in ``_REST``."""
_TOLD: Final = re.compile(r"(\S{1,200}?)([:\s]\s*)(\S.*)", re.DOTALL)
_COMMAND: Final = "_cmd"
_CREDENTIAL: Final = "credential:"
"""``[credential:realm:user:]`` ends with its third colon."""


class Masking:
    """Masks under one key.

    Args:
        key: at least 16 bytes, of the house; another one makes other masks.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def stanza(self, conf_type: str, stanza: Stanza) -> Stanza:
        """The whole stanza without its secrets: name, keys, values and history."""
        name = stanza.name
        keys = {
            key: self.masked_key(key, value)
            for key, value in stanza.settings.items()
            if len(key) >= _PLAIN or "$" in key or ":" in key or " " in key or len(value) < _ENDS
        }
        return Stanza(
            self.masked_name(conf_type, name),
            stanza.line,
            {
                keys.get(key, key): self.masked(conf_type, name, key, value)
                for key, value in stanza.settings.items()
            },
            {keys.get(key, key): line for key, line in stanza.lines.items()},
            {
                keys.get(key, key): [
                    (line, self.masked(conf_type, name, key, value)) for line, value in said
                ]
                for key, said in stanza.history.items()
            },
            stanza.order,
        )

    def masked(self, conf_type: str, stanza_name: str, key: str, value: str) -> str:
        """The value, or what stands in its place or in that of its secret parts.

        A secret by the setting's name is hidden as a whole, unless it says yes or no, or names a
        file; ``[client_secret]`` with ``value = …`` is one by the stanza's.
        """
        if names_a_secret_value(key) or (key == "value" and names_a_secret_value(stanza_name)):
            if says_nothing(value) or (may_name_a_file(key) and _FILE.fullmatch(value)):
                return value
            return self._hide(value)
        if len(value) < _SHORTEST or (len(value) < _PLAIN and value.isalnum()):
            return value
        if "\n" in value:
            value = self._without_swallowed(value)
        assignments = conf_type not in _PATTERNS or key.endswith(_COMMAND)
        return hidden(value, self._hide, assignments=assignments)

    def masked_name(self, conf_type: str, name: str) -> str:
        """A stanza's name: URLs with passwords and collectors named by their token have secrets."""
        if len(name) < _SHORTEST:
            return name
        kind, separator, guid = name.partition("://")
        if separator and _GUID.fullmatch(guid):
            return kind + separator + self._hide(guid)
        if name.startswith(_CREDENTIAL) and name.count(":") > 2 and name[-1] != ":":  # noqa: PLR2004
            kind, separator, rest = name.rpartition(":")
            return kind + separator + self._hide(rest)
        # A colon alone separates what the name is made of: [serverClass:token:app:web].
        assignments = conf_type not in _NOT_ASSIGNED and ("=" in name or " " in name)
        return hidden(name, self._hide, assignments=assignments)

    def masked_key(self, key: str, value: str) -> str:
        """A setting's name: a line that its author meant otherwise can make one of a secret."""
        if value in _REST and _ends_base64(key, value):  # the last line of a PEM block
            return self._hide(key)
        if (told := _TOLD.fullmatch(key)) and names_a_secret_value(told[1]):
            return told[1] + told[2] + self._hide(told[3])
        return hidden(key, self._hide, assignments=True)

    def _without_swallowed(self, value: str) -> str:
        """Lines that continue a value, but look like the setting of a secret."""

        def hide(found: re.Match[str]) -> str:
            if names_a_secret_value(found[2]) and not says_nothing(found[3]):
                return found[1] + self._hide(found[3])
            return found[0]

        return _LINE.sub(hide, value)

    def _hide(self, secret: str) -> str:
        if is_hidden(secret):  # by a pattern that came before
            return secret
        digest = hmac.digest(self._key, secret.encode(), "sha256").hex()
        return f"<masked:{digest[:_DIGITS]}>"


def _ends_base64(key: str, value: str) -> bool:
    """Whether a line is how base64 ends, and no setting without a value."""
    if not _BASE64.fullmatch(key):
        return False
    if len(key) >= _LONG:
        return True
    mixed = any(map(str.isdigit, key)) and any(map(str.isupper, key)) and any(map(str.islower, key))
    return (len(key) + 1 + len(value)) % 4 == 0 and (mixed or "+" in key or "/" in key)
