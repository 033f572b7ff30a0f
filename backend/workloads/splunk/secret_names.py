"""Which names of settings and files tell that a secret is behind them."""

import re
from functools import lru_cache
from typing import Final

_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_LONGEST: Final = 200
"""Characters at a name's end that are looked at."""
_ENDINGS: Final = (
    "password", "passwords", "passwd", "passphrase", "pwd", "secret", "secrets", "token", "tokens",
    "apikey", "accesskey", "secretkey", "privatekey", "sharedkey", "community", "communitystring",
)  # fmt: skip
_WHOLE: Final = frozenset({"pass", "dbpass", "userpass", "certpass", "keypass", "authorization"})
_KEYS: Final = frozenset({
    "access", "account", "api", "auth", "consumer", "encryption", "integration", "license",
    "master", "priv", "private", "routing", "secret", "service", "session", "shared", "signing",
    "ssh", "storage", "symm", "symmetric",
})  # fmt: skip
"""What makes a secret of a ``…Key``; ``SOURCE_KEY`` and ``DEST_KEY`` are none."""
_AFTER: Final = frozenset({
    "value", "clear", "hash", "hashed", "encrypted", "plain", "new", "old", "confirm", "id",
})  # fmt: skip
"""What may stand behind the word that tells."""
_CHOSEN: Final = re.compile(
    r"(?:EXTRACT|REPORT|EVAL|FIELDALIAS|LOOKUP|TRANSFORMS|SEDCMD|RULESET)-"  # props
    r"|reload\."  # app: what to do when a conf file changes
    r"|token\.\d+\.(?:token|replacement)"  # eventgen: a pattern in a sample
)
"""How settings begin whose names end with a word that somebody chose freely."""

_FILES: Final = frozenset({
    "splunk.secret", "passwd", ".htpasswd", ".netrc", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519",
})  # fmt: skip
_SUFFIXES: Final = (
    ".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".ppk", ".kdbx", ".keytab", ".secret",
)  # fmt: skip


@lru_cache(maxsize=8192)
def names_a_secret_value(name: str) -> bool:
    """Whether a setting's value is a secret by its name.

    The last word decides: ``bindDNpassword`` and ``remote.s3.secret_key`` hold one, and
    ``password_min_length`` and ``sslKeysfile`` do not.
    """
    if _CHOSEN.match(name):
        return False
    words = [word.lower() for word in _WORDS.findall(name[-_LONGEST:])]
    while len(words) > 1 and (words[-1] in _AFTER or words[-1].isdigit()):
        words.pop()
    if not words:
        return False
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last == "key":
        return before in _KEYS
    if last == "url":
        return before == "webhook"
    return last in _WHOLE or last.endswith(_ENDINGS)


def names_a_secret(path: str) -> bool:
    """Whether a member of an archive is a secret as a whole: a key, or a file of passwords."""
    name = path.rpartition("/")[2].lower()
    return name in _FILES or name.endswith(_SUFFIXES)
