"""The npm registry's addresses and package metadata.

Rules: the registry's documented API (package document, abbreviated by version) and npm's own
package.json documentation for the legacy forms of ``license``.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, TypeAdapter
from pydantic import ValidationError as PydanticInvalid

from backend.workloads.packages.lockfile.coordinates import (
    tarball_path,
    valid_name,
    valid_version,
)
from backend.workloads.packages.registry.errors import RegistryPermanent, RegistryTransient
from backend.workloads.packages.registry.origin import Origin

MAX_VERSION_DOCUMENT = 16 * 1024 * 1024
MAX_PACKAGE_DOCUMENT = 64 * 1024 * 1024
_ACCEPT = "application/json"
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_LONGEST_TEXT = 1000
_TIME: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)
_INSTALL_SCRIPTS = frozenset({"preinstall", "install", "postinstall"})


def package_document_url(base: str, name: str) -> str:
    """Where the document of all versions of a package is; a scope's slash is escaped.

    Raises:
        RegistryPermanent: ``bad-coordinates``, the name cannot be a package's.
    """
    return f"{base}/{quote(_checked_name(name), safe='@')}"


def version_document_url(base: str, name: str, version: str) -> str:
    """Where the document of one version is; raises as ``package_document_url`` does."""
    return f"{package_document_url(base, name)}/{quote(_checked_version(version), safe='')}"


def tarball_url(base: str, name: str, version: str) -> str:
    """Where the tarball of one version is; raises as ``package_document_url`` does."""
    return f"{base}/{tarball_path(_checked_name(name), _checked_version(version))}"


def _text(value: Any) -> str | None:
    """Text fit to be stored: no NUL, no lone surrogate, at most 1000 characters; else None."""
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT or _UNSTORABLE.search(value):
        return None
    return value.strip() or None


def _notice(value: Any) -> str | None:
    """A deprecation notice, shortened; old documents hold ``true`` or an empty text instead."""
    if value is True:
        return "deprecated"
    return _text(_UNSTORABLE.sub("?", value)[:_LONGEST_TEXT]) if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    right = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    return value if right else None


def _time(value: Any) -> Any:
    try:
        return _TIME.validate_python(value)
    except PydanticInvalid:
        return None


OptionalText = Annotated[str | None, BeforeValidator(_text)]


class VersionMetadata(BaseModel):
    """What the registry says about one version. A claim, never evidence; None = it does not say.

    ``tarball`` is only ever compared. ``unpacked_size`` is in bytes. ``dated``: it was asked when
    it was published.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    license_expression: OptionalText = None
    integrity: OptionalText = None
    shasum: OptionalText = None
    tarball: OptionalText = None
    has_install_script: bool = False
    deprecated: Annotated[str | None, BeforeValidator(_notice)] = None
    published_at: Annotated[AwareDatetime | None, BeforeValidator(_time)] = None
    unpacked_size: Annotated[int | None, BeforeValidator(_count)] = None
    dated: bool = False


def fetch_version(
    origin: Origin, name: str, version: str, *, dated: bool = False
) -> VersionMetadata:
    """Ask for one version's metadata: its own small document, else that of the whole package.

    ``dated`` asks also when it was published, which the small document does not say.

    Raises:
        RegistryTransient: the network failed, or what came is not a package document.
        RegistryPermanent: ``not-found``, ``no-such-version``, ``wrong-package`` (it speaks of
            another one), ``too-large``, ``registry-denied``, ``bad-coordinates`` …
    """
    url = version_document_url(origin.base_url, name, version)
    try:
        document = _document(origin, url, max_bytes=MAX_VERSION_DOCUMENT)
    except RegistryPermanent as error:
        if error.status not in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
            raise
    else:
        found = version_metadata(document, name, version)
        return _dated(found, fetch_package(origin, name)) if dated else found
    package = fetch_package(origin, name)
    described = _mapping(package.get("versions")).get(version)
    if not isinstance(described, dict):
        raise RegistryPermanent(f"the registry has no {name}@{version}", "no-such-version")
    return _dated(version_metadata(described, name, version), package)


def _dated(found: VersionMetadata, package: Mapping[str, Any]) -> VersionMetadata:
    published_at = _time(_mapping(package.get("time")).get(found.version))
    return found.model_copy(update={"published_at": published_at, "dated": True})


def version_metadata(document: Mapping[str, Any], name: str, version: str) -> VersionMetadata:
    """Read one version's document; only that of the whole package knows when it was published.

    Raises:
        RegistryTransient: it names no package or version at all.
        RegistryPermanent: ``wrong-package``.
    """
    said = document.get("name"), document.get("version")
    if not all(isinstance(part, str) for part in said):
        raise RegistryTransient(f"the registry's document for {name}@{version} names no package")
    if said != (name, version):
        raise RegistryPermanent(
            f"the registry's document for {name}@{version} is that of another package or version",
            "wrong-package",
        )
    dist = _mapping(document.get("dist"))
    return VersionMetadata(
        name=name,
        version=version,
        license_expression=license_text(document.get("license") or document.get("licenses")),
        integrity=dist.get("integrity"),
        shasum=dist.get("shasum"),
        tarball=dist.get("tarball"),
        has_install_script=_has_install_script(document),
        deprecated=document.get("deprecated"),
        unpacked_size=dist.get("unpackedSize"),
    )


def license_text(value: Any) -> str | None:
    """Bring npm's forms of ``license`` to one expression; what is not understood is None.

    ``"MIT"`` stays; ``{"type": "MIT"}`` is ``MIT``; a list offers a choice: ``MIT OR (A AND B)``.
    """
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, dict):
        named = value.get("type") or value.get("name")
        return license_text(named) if isinstance(named, str) else None
    if isinstance(value, list):
        return _choice(value)
    return None


def _choice(members: list[Any]) -> str | None:
    texts = [license_text(member) for member in members if not isinstance(member, list)]
    if not texts or None in texts or len(texts) != len(members):
        return None  # a member that is not understood could be the one that matters
    known = list(dict.fromkeys(text for text in texts if text is not None))
    if len(known) == 1:
        return known[0]
    return " OR ".join(f"({text})" if " " in text else text for text in known)


def fetch_package(origin: Origin, name: str) -> Mapping[str, Any]:
    """The document of all versions, as it is; raises as :func:`fetch_version` does."""
    url = package_document_url(origin.base_url, name)
    document = _document(origin, url, max_bytes=MAX_PACKAGE_DOCUMENT)
    if document.get("name") != name:
        raise RegistryPermanent(
            f"the registry's document for {name} is that of another package", "wrong-package"
        )
    return document


def _document(origin: Origin, url: str, *, max_bytes: int) -> Mapping[str, Any]:
    response = origin.get(url, accept=_ACCEPT, max_bytes=max_bytes)
    try:
        document = json.loads(response.body)
    except (ValueError, RecursionError):
        kind = "HTML" if response.body.lstrip()[:1] == b"<" else "something that is not JSON"
        raise RegistryTransient(
            f"{response.url} answered {kind}: is a proxy or a sign-in page in the way?"
        ) from None
    if not isinstance(document, dict):
        raise RegistryTransient(f"{response.url} answered JSON that is not a package document")
    return document


def _has_install_script(document: Mapping[str, Any]) -> bool:
    scripts = _mapping(document.get("scripts"))
    return (
        document.get("hasInstallScript") is True
        or document.get("gypfile") is True
        or any(scripts.get(script) for script in _INSTALL_SCRIPTS)
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _checked_name(name: str) -> str:
    if not valid_name(name):
        raise _bad_coordinates("name")
    return name


def _checked_version(version: str) -> str:
    if not valid_version(version):
        raise _bad_coordinates("version")
    return version


def _bad_coordinates(part: str) -> RegistryPermanent:
    return RegistryPermanent(f"the package's {part} cannot be one of npm's", "bad-coordinates")
