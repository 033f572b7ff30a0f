"""What a look inside a tarball may cost, what it finds, and how it refuses.

Plain dataclasses, not pydantic models: a child process is started for every tarball, and pydantic
alone would double its start-up. ``pydantic.TypeAdapter(Inspection)`` reads the JSON back.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

MEBIBYTE = 1024 * 1024

ErrorCode = Literal[
    "not-gzip", "not-tar", "truncated", "crc", "trailing-data", "too-large", "too-many-members",
    "too-many-components", "no-manifest", "manifest-malformed", "name-mismatch",
    "version-mismatch", "unsafe-member",
]  # fmt: skip


class InspectionError(Exception):
    """The tarball is not a package that npm could install safely. Permanent: bytes never change.

    Args:
        code: stable and machine-readable.
        detail: one sentence; names taken from the tarball are already cleaned.
    """

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, counted on what really comes out, never on what a header says."""

    unpacked_bytes: int = 500 * MEBIBYTE
    members: int = 100_000
    ratio: int = 200
    ratio_applies_above: int = 10 * MEBIBYTE
    manifest_bytes: int = 10 * MEBIBYTE
    path_bytes: int = 1024
    components: int = 5_000


@dataclass(frozen=True)
class Notice:
    """Something odd that is said and does not fail the package. ``path`` is inside the package."""

    code: str
    path: str
    detail: str


@dataclass(frozen=True)
class LicenceFile:
    """A licence text at the package's root.

    Attributes:
        sha256: of the whole file, hexadecimal.
        text: its first 64 KiB.
        identified: an SPDX identifier when the text is surely that licence, else None.
    """

    name: str
    sha256: str
    text: str
    identified: str | None


@dataclass(frozen=True)
class BundledManifest:
    """A package.json below the root that has a name and a version.

    Attributes:
        bundled: True when it lies in ``node_modules``, where npm would load it from.
        install_scripts: npm runs those of bundled packages too.
    """

    name: str
    version: str
    path: str
    licence: str | None
    bundled: bool
    install_scripts: dict[str, str]


@dataclass(frozen=True)
class Inspection:
    """Everything one tarball says about itself. Serialises with :meth:`to_dict`.

    Attributes:
        licence: the root manifest's licence as expression text, not validated.
        install_scripts: what npm would run on install: ``preinstall``, ``install``,
            ``postinstall``; an implicit ``node-gyp rebuild`` appears under ``install``.
        bin: command name to path.
        members: entries of the archive, directories included.
        unpacked_bytes: of the tar stream, headers and padding included.
        suppression_files: files that would tell a scanner to look away; never honoured.
    """

    name: str
    version: str
    licence: str | None
    install_scripts: dict[str, str]
    dependencies: dict[str, str]
    optional_dependencies: dict[str, str]
    bin: dict[str, str]
    licence_files: tuple[LicenceFile, ...]
    components: tuple[BundledManifest, ...]
    members: int
    unpacked_bytes: int
    suppression_files: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: only strings, numbers, booleans, None, lists and objects."""
        return {
            **vars(self),
            "licence_files": [vars(file) for file in self.licence_files],
            "components": [vars(component) for component in self.components],
            "suppression_files": list(self.suppression_files),
            "notices": [vars(notice) for notice in self.notices],
        }


def printable(text: str, *, limit: int = 1000) -> str:
    """Text that JSON, PostgreSQL and a terminal can hold: no NUL, surrogates or control codes."""
    clipped = text if len(text) <= limit else text[: limit - 1] + "…"
    if clipped.isprintable():
        return clipped
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in clipped)
