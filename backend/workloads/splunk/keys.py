"""What follows from the house's key: other keys, and where its blobs lie."""

from typing import Final

from backend.problems import Unavailable
from backend.settings import Settings
from backend.storage.encryption import MasterKey

MASKING: Final = "splunk masking"
"""The purpose of the key that masks secrets, see :meth:`MasterKey.derived`."""

_FOLDER: Final = "splunk blobs"
_MARK: Final = 8  # bytes


def master_key(settings: Settings) -> MasterKey:
    """The house's key.

    Raises:
        Unavailable: code ``splunk-key-missing``: SPLUNK_KEY is not set.
    """
    if settings.splunk_key is None:
        raise Unavailable(
            "SPLUNK_KEY is not set: an operator must give one before archives can be stored.",
            code="splunk-key-missing",
        )
    return MasterKey(settings.splunk_key.get_secret_value())


def folder_of(key: MasterKey) -> str:
    """The folder of all blobs under this key.

    Two houses that share a store by mistake have two: neither takes the other's blobs for orphans.
    """
    return f"splunk-{key.derived(_FOLDER)[:_MARK].hex()}"
