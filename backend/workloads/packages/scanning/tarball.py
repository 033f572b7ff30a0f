"""Looking inside a verified npm tarball without running, trusting or extracting any of it.

Meant for a child process with a memory and a time limit. The hash was checked before; what is
inside is still a stranger's. ``npm install`` is the reference for what a member means.
"""

import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from backend.workloads.packages.scanning import licence_texts, manifest, plain_members
from backend.workloads.packages.scanning.inspection import (
    BundledManifest,
    Inspection,
    InspectionError,
    LicenceFile,
    Limits,
    Notice,
    printable,
)
from backend.workloads.packages.scanning.members import Member, Members, walk

_CHUNK = 256 * 1024
_LICENCE_TEXT = 64 * 1024
_MAX_NOTICES = 500
_MAX_LICENCE_FILES = 50
_MAX_VERSION = 256
_LICENCE_NAME = re.compile(r"(LICEN[CS]E|COPYING|NOTICE)", re.IGNORECASE)
_SUPPRESSION_NAMES = frozenset((
    ".trivyignore", ".trivyignore.yaml", ".trivyignore.yml", "trivy.yaml", "trivy.yml",
    "trivy-secret.yaml", ".snyk", "osv-scanner.toml", ".grype.yaml", ".grype.yml",
    ".gitleaksignore", ".gitleaks.toml", ".secrets.baseline", ".semgrepignore", ".nsprc",
    "audit-ci.json", "audit-ci.jsonc", ".checkov.yaml", ".checkov.yml", ".auditrc",
))  # fmt: skip
_RENAMED = {".git": "_git", "node_modules": "_node_modules"}
_NODE_GYP = "node-gyp rebuild"


def inspect(path: str, *, name: str, version: str, limits: Limits | None = None) -> Inspection:
    """Read one tarball whose coordinates are ``name`` and ``version``.

    Raises:
        InspectionError: it is not a package npm could install safely, or not that package.
        OSError: the file cannot be read.
    """
    return _inspected(path, name, version, limits or Limits())[1]


def read_manifest(path: str, *, name: str, version: str) -> tuple[dict[str, Any], Inspection]:
    """The package's own package.json as it is, and what :func:`inspect` finds and raises."""
    inspector, found = _inspected(path, name, version, Limits())
    return manifest.document(inspector.root_manifest or b""), found


def _inspected(
    path: str, name: str, version: str, limits: Limits
) -> tuple["_Inspector", Inspection]:
    inspector = _Inspector(limits)
    try:
        return inspector, inspector.run(plain_members.walk(path, limits), name, version)
    except plain_members.Unusual:
        inspector = _Inspector(limits)
        return inspector, inspector.run(walk(Path(path), limits), name, version)


def unpack(path: str, into: Path, limits: Limits | None = None) -> int:
    """Write the regular files below ``into/package``, for a scanner; returns how many.

    Directories are made as needed, files get mode 0644, links are left out. Scanners skip ``dev``
    or ``proc`` at the top and ``.git`` or ``node_modules`` anywhere, but a stranger must not choose
    what is looked at: hence the extra folder, and such names are written as ``_git`` and
    ``_node_modules``.

    Args:
        path: the tarball.
        into: an empty directory that nobody else writes to.
        limits: as for :func:`inspect`.

    Raises:
        InspectionError: as for :func:`inspect`; or a path is both a file and a directory.
    """
    limits = limits or Limits()
    written = 0
    for member, _ in walk(Path(path), limits):
        if member.kind == "file" and member.path:
            _write(member, into / "package" / _visible(member.path))
            written += 1
    return written


def same_version(stated: str, wanted: str) -> bool:
    """Whether npm would see one version: ``v`` and ``=`` prefixes and build metadata dropped."""
    return stated == wanted or _clean(stated) == _clean(wanted)


def _clean(version: str) -> str:
    from nodesemver import clean  # 30 ms to import, and versions are nearly always equal as text

    if len(version) > _MAX_VERSION or not version.isascii():
        return version
    cleaned: str | None = clean(version, loose=True)
    return cleaned or version.strip()


def _visible(path: str) -> str:
    return "/".join(_RENAMED.get(part.lower(), part) for part in path.split("/"))


def _write(member: Member, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(target, flags, 0o644), "wb") as file:
            while chunk := member.read(_CHUNK):
                file.write(chunk)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        detail = f"{printable(member.path)!r} is both a file and a directory"
        raise InspectionError("unsafe-member", detail) from None


class _Inspector:
    """Collects while the members pass by once."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.root_manifest: bytes | None = None
        self.components: dict[str, BundledManifest] = {}
        self.gyp_folders: set[str] = set()
        self.no_gyp_folders: set[str] = set()
        self.licence_files: dict[str, LicenceFile] = {}
        self.suppression_files: list[str] = []
        self.notices: list[Notice] = []
        self.paths: set[str] = set()
        self.members = 0
        self.unpacked = 0

    def run(self, members: Members, name: str, version: str) -> Inspection:
        for member, stream in members:
            self.members += 1
            self._take(member)
            self.unpacked = stream.unpacked
        return self._result(name, version)

    def notice(self, code: str, path: str, detail: str) -> None:
        if len(self.notices) < _MAX_NOTICES:
            self.notices.append(Notice(code, printable(path), detail))
        elif len(self.notices) == _MAX_NOTICES:
            self.notices.append(Notice("notices-cut", "", f"only {_MAX_NOTICES} notices are kept"))

    def _take(self, member: Member) -> None:
        if member.kind == "link":
            self.notice("link-ignored", member.raw_name, "npm does not install links")
        elif member.kind == "file" and not member.path:
            self.notice("outside-root", member.raw_name, "npm installs no file above the folder")
        elif member.kind == "file":
            self._take_file(member)

    def _take_file(self, member: Member) -> None:
        path = member.path
        if path.lower() in self.paths:
            self.notice("duplicate-member", path, "the last one wins")
        self.paths.add(path.lower())
        folder, _, base = path.rpartition("/")
        if base.lower() == "package.json":
            self._take_manifest(path, folder, self._manifest_bytes(member))
        elif base == "binding.gyp":
            self.gyp_folders.add(folder)
        elif not folder and _LICENCE_NAME.match(base):
            self._take_licence_file(base, member)
        if base.lower() in _SUPPRESSION_NAMES:
            self.suppression_files.append(printable(path))

    def _manifest_bytes(self, member: Member) -> bytes:
        raw = _read(member, self.limits.manifest_bytes + 1)
        if len(raw) > self.limits.manifest_bytes:
            raise InspectionError("too-large", f"{printable(member.path)!r} is too large to read")
        return raw

    def _take_manifest(self, path: str, folder: str, raw: bytes) -> None:
        if folder:
            self._take_component(path, folder, raw)
        elif self.root_manifest not in {None, raw}:
            # Which of them counts depends on the installer and its file system.
            raise InspectionError("manifest-malformed", "there are two different root package.json")
        else:
            self.root_manifest = raw

    def _take_component(self, path: str, folder: str, raw: bytes) -> None:
        try:
            found = manifest.parse(raw)
        except manifest.ManifestError as error:
            self.notice("component-manifest-unreadable", path, str(error))
            return
        if found.name is None or found.version is None:
            return
        self.components[path] = BundledManifest(
            name=found.name,
            version=found.version,
            path=printable(path),
            licence=found.licence,
            bundled="node_modules" in PurePosixPath(path).parts,
            install_scripts=found.install_scripts,
        )
        if not found.gyp:
            self.no_gyp_folders.add(folder)
        if len(self.components) > self.limits.components:
            detail = f"more than {self.limits.components} packages are bundled"
            raise InspectionError("too-many-components", detail)

    def _take_licence_file(self, base: str, member: Member) -> None:
        if len(self.licence_files) >= _MAX_LICENCE_FILES:
            self.notice("licence-files-cut", base, f"only {_MAX_LICENCE_FILES} are read")
            return
        digest = hashlib.sha256()
        head = b""
        while chunk := member.read(_CHUNK):
            digest.update(chunk)
            head += chunk[: _LICENCE_TEXT - len(head)]
        text = head.decode("utf-8", "replace").replace("\0", "�")
        self.licence_files[base] = LicenceFile(
            printable(base), digest.hexdigest(), text, licence_texts.identify(text)
        )

    def _result(self, name: str, version: str) -> Inspection:
        root = self._checked_root(name, version)
        for code in root.odd:
            self.notice(code, "package.json", "tolerated, as npm does")
        return Inspection(
            name=name,
            version=version,
            licence=root.licence,
            install_scripts=self._with_gyp(root.install_scripts, "", switched_on=root.gyp),
            dependencies=root.dependencies,
            optional_dependencies=root.optional_dependencies,
            bin=root.bin,
            licence_files=tuple(self.licence_files.values()),
            components=tuple(self._finished(path) for path in self.components),
            members=self.members,
            unpacked_bytes=self.unpacked,
            suppression_files=tuple(self.suppression_files),
            notices=tuple(self.notices),
        )

    def _checked_root(self, name: str, version: str) -> manifest.Manifest:
        if self.root_manifest is None:
            raise InspectionError("no-manifest", "there is no package.json at the package's root")
        try:
            root = manifest.parse(self.root_manifest)
        except manifest.ManifestError as error:
            raise InspectionError("manifest-malformed", f"package.json: {error}") from None
        if root.name != name:
            raise InspectionError("name-mismatch", f"the tarball says it is {root.name!r}")
        if root.version is None or not same_version(root.version, version):
            raise InspectionError("version-mismatch", f"the tarball says it is {root.version!r}")
        return root

    def _finished(self, path: str) -> BundledManifest:
        found = self.components[path]
        folder = path.rpartition("/")[0]
        scripts = self._with_gyp(
            found.install_scripts, folder, switched_on=folder not in self.no_gyp_folders
        )
        return replace(found, install_scripts=scripts)

    def _with_gyp(
        self, scripts: dict[str, str], folder: str, *, switched_on: bool
    ) -> dict[str, str]:
        """Add the build that npm runs where binding.gyp lies and no build script is declared."""
        implicit = switched_on and folder in self.gyp_folders
        if implicit and "install" not in scripts and "preinstall" not in scripts:
            return {**scripts, "install": _NODE_GYP}
        return scripts


def _read(member: Member, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while size < limit and (chunk := member.read(min(_CHUNK, limit - size))):
        parts.append(chunk)
        size += len(chunk)
    return b"".join(parts)
