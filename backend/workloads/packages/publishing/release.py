"""One version as it is sent to a registry: bytes, hashes, and the document around them."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from backend.workloads.packages.publishing.manifest import version_document
from backend.workloads.packages.publishing.reading import RootManifest
from backend.workloads.packages.registry.npm import tarball_url
from backend.workloads.packages.registry.witness import integrity_of

PIECE: Final = 48 * 1024  # bytes; base64 of a multiple of three can be sent piece by piece


class BytesChanged(Exception):
    """The bytes are not those that were vetted."""


@dataclass(frozen=True, slots=True)
class Release:
    """``content`` is what was hashed, and what is sent. ``shasum`` is SHA-1 in hex, as npm has it.

    ``manifest`` was read from ``content``.
    """

    name: str
    version: str
    content: bytes
    integrity: str
    shasum: str
    manifest: RootManifest

    @classmethod
    def of(
        cls, name: str, version: str, content: bytes, manifest: RootManifest, *, sha512: str
    ) -> "Release":
        """Hash ``content`` once more, where it is.

        Raises:
            BytesChanged: they have not the ``sha512`` (hex) that was vetted.
        """
        digest = hashlib.sha512(content)
        if digest.hexdigest() != sha512:
            raise BytesChanged(f"the bytes of {name}@{version} are not those that were vetted")
        return cls(
            name, version, content, integrity_of(digest.digest()),
            hashlib.sha1(content, usedforsecurity=False).hexdigest(), manifest,
        )  # fmt: skip

    def upload(self, base_url: str, tag: str) -> "Upload":
        """What npm's publishing sends: the version's document, its tag and its bytes."""
        dist = {
            "integrity": self.integrity,
            "shasum": self.shasum,
            "tarball": tarball_url(base_url, self.name, self.version),
        }
        document = version_document(
            self.manifest.document,
            name=self.name,
            version=self.version,
            install_scripts=self.manifest.install_scripts,
            dist=dist,
        )
        about = {
            "_id": self.name,
            "name": self.name,
            "dist-tags": {tag: self.version},
            "versions": {self.version: document},
        }
        return Upload.of(about, f"{self.name}-{self.version}.tgz", self.content)


@dataclass(frozen=True, slots=True)
class Upload:
    """A JSON document with one attachment, made piece by piece as often as it is iterated."""

    head: bytes
    content: bytes
    tail: bytes

    @classmethod
    def of(cls, document: Mapping[str, Any], file: str, content: bytes) -> "Upload":
        attachment = {
            "content_type": "application/octet-stream", "length": len(content), "data": "",
        }  # fmt: skip
        whole = json.dumps({**document, "_attachments": {file: attachment}}, allow_nan=False)
        end = len('"}}}')
        return cls(whole[:-end].encode(), content, whole[-end:].encode())

    def __len__(self) -> int:
        return len(self.head) + 4 * -(-len(self.content) // 3) + len(self.tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self.head
        view = memoryview(self.content)
        for start in range(0, len(view), PIECE):
            yield base64.b64encode(view[start : start + PIECE])
        yield self.tail
