"""Which names of settings and files tell that a secret is behind them."""

import re
from functools import lru_cache
from typing import Final

_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_LONGEST: Final = 200
"""Characters at a name's end that are looked at."""
_ENDINGS: Final = (
    "password", "passwords", "passwd", "passphrase", "passcode", "passwordhash", "pwd", "secret",
    "secrets", "token", "tokens", "community", "communitystring", "authorization", "credential",
    "credentials", "securearguments",
)  # fmt: skip
"""How names end, of words run together too."""
_WHOLE: Final = frozenset({"bearer", "cookie", "cookies", "psk", "pw"})
_NO_PASS: Final = frozenset({"bypass", "compass", "encompass", "surpass", "trespass"})
_KEYS: Final = (
    "access", "account", "activation", "aes", "api", "app", "application", "auth", "cipher",
    "consumer", "crypt", "crypto", "encryption", "hec", "hmac", "ingest", "ingestion", "insert",
    "instrumentation", "integration", "license", "master", "pass", "priv", "private", "routing",
    "secret", "service", "session", "shared", "signing", "ssh", "storage", "subscription", "symm",
    "symmetric", "webhook",
)  # fmt: skip
"""What makes a secret of a ``…Key``; ``SOURCE_KEY`` and ``DEST_KEY`` are none."""
_AFTER: Final = frozenset({
    "value", "clear", "hash", "hashed", "encrypted", "encoded", "plain", "new", "old", "confirm",
    "id", "b", "base", "md", "sha", "string", "text",
})  # fmt: skip
"""What may stand behind the word that tells; so may a number, as in ``password_b64``."""
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
    ".pem", ".key", ".p8", ".p12", ".pfx", ".jks", ".jceks", ".keystore", ".ppk", ".kdbx",
    ".keytab", ".secret",
)  # fmt: skip
_COPY: Final = re.compile(
    r"(?:~|\.(?:bak|backup|old|orig|save|saved|copy|prev|[0-9][0-9_.-]{0,31}))\Z"
)
"""What is put behind the name of a file that is kept beside a newer one."""
_PRIVATE_KEY: Final = re.compile(
    rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----[ \t]*\r?\n"
    rb"(?:[A-Za-z-]{1,40}: [^\n]{0,200}\n){0,8}\s{0,8}[A-Za-z0-9+/=]{16}"
)


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
    last, joined = words[-1], "".join(words[-2:])
    if last.endswith("key"):
        return joined.removesuffix("key").endswith(_KEYS)
    if last == "url":
        return "webhook" in words
    if last.endswith("pass"):
        return last not in _NO_PASS
    return last in _WHOLE or joined.endswith(_ENDINGS)


def may_name_a_file(name: str) -> bool:
    """Whether a setting with the name of a secret may be a path: keys are, no password is."""
    return name[-3:].lower() == "key"


def names_a_secret(path: str) -> bool:
    """Whether a member of an archive is a secret as a whole: a key, or a file of passwords.

    A copy that somebody kept beside it (``splunk.secret.bak``) is one, too.
    """
    name = path.rpartition("/")[2].lower()
    while (original := _COPY.sub("", name)) != name:
        name = original
    return name in _FILES or name.endswith(_SUFFIXES)


def holds_private_key(content: bytes) -> bool:
    """Whether a private key in PEM's form is in it, with more of it than its first line."""
    return b"PRIVATE KEY-----" in content and _PRIVATE_KEY.search(content) is not None
