"""Ed25519 signatures over what the chain states, with a key that lies in a PEM file."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backend.audit.statements import Statement
from backend.settings import SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# The library is imported where it is used: without a key no process needs it.

FINGERPRINT: Final = 16  # hexadecimal digits
MAKE_ONE: Final = "make one with `openssl genpkey -algorithm ed25519`"


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs statements. ``public_key`` is the raw 32 bytes."""

    public_key: bytes
    _key: "Ed25519PrivateKey"

    @classmethod
    def of(cls, pem: bytes) -> "Signer":
        """The signer with the private key in ``pem``; ValueError where that is none."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(pem, password=None)
        except (TypeError, UnsupportedAlgorithm):  # it wants a password, or is of another world
            raise ValueError("the key is encrypted, or of an unknown kind") from None
        if isinstance(key, Ed25519PrivateKey):
            return cls(key.public_key().public_bytes_raw(), key)
        raise ValueError("the key is not an Ed25519 key")

    def sign(self, statement: Statement) -> bytes:
        """The signature, 64 bytes."""
        return self._key.sign(statement.to_be_signed())


def new_key() -> str:
    """A new private key, in PEM."""
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return (
        Ed25519PrivateKey.generate()
        .private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
        .decode()
    )


def signer(file: Path | None) -> Signer | None:
    """The signer of AUDIT_SIGNING_KEY_FILE; None where it is not set.

    Raises:
        SettingsError: the file cannot be read, or holds no such key.
    """
    if file is None:
        return None
    try:
        return Signer.of(file.read_bytes())
    except OSError as error:
        raise SettingsError(f"AUDIT_SIGNING_KEY_FILE: {error.strerror}") from None
    except ValueError:
        raise SettingsError(
            f"AUDIT_SIGNING_KEY_FILE: no unencrypted Ed25519 private key in PEM; {MAKE_ONE}"
        ) from None


def public_key(pem: bytes) -> bytes:
    """The raw public key in ``pem``, which may hold the private one; ValueError where none is."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if b"PRIVATE KEY" in pem:
        return Signer.of(pem).public_key
    try:
        key = load_pem_public_key(pem)
    except UnsupportedAlgorithm:
        raise ValueError("the key is of an unknown kind") from None
    if isinstance(key, Ed25519PublicKey):
        return key.public_bytes_raw()
    raise ValueError("the key is not an Ed25519 key")


def verifies(statement: Statement) -> bool:
    """Whether the key that a statement names has signed it; False where it is unsigned."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if statement.public_key is None or statement.signature is None:
        return False
    key, signature = map(bytes.fromhex, (statement.public_key, statement.signature))
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, statement.to_be_signed())
    except (InvalidSignature, ValueError):
        return False
    return True


def fingerprint(key: bytes) -> str:
    """By which people tell keys apart: the first digits of its SHA-256."""
    return sha256(key).hexdigest()[:FINGERPRINT]
