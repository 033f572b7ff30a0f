"""The client of the registry that vetted packages are published to.

Rules: npm's own publishing, deprecating and unpublishing, as its registry takes them. Each of them
may be done again after it was broken off anywhere: what is there already is compared, not sent.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from backend.workloads.packages.publishing.release import Release
from backend.workloads.packages.publishing.tags import LATEST, newest, tag_for
from backend.workloads.packages.registry.errors import RegistryPermanent, RegistryTransient
from backend.workloads.packages.registry.npm import (
    fetch_package,
    package_document_url,
    tarball_url,
)
from backend.workloads.packages.registry.origin import Origin
from backend.workloads.packages.registry.witness import claim

MAX_ANSWER: Final = 1024 * 1024
RECALLED: Final = "recalled: "
"""How our word on a version begins: it is taken away where the version is approved anew."""
DENIED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


@dataclass(frozen=True, slots=True)
class Published:
    """``tag`` is the dist-tag that the version got; None where these very bytes were there."""

    tag: str | None


class TargetRegistry:
    """One registry, with the right to write.

    Raises (all methods):
        RegistryTransient: the network failed, the registry is overloaded, or a web page answered.
        RegistryPermanent: ``target-denied``, ``published-differs``, ``published-unverifiable`` …
        CircuitOpen: the registry is failing and is not asked for now.
    """

    def __init__(self, origin: Origin) -> None:
        self.origin = origin

    @property
    def url(self) -> str:
        return self.origin.base_url

    def publish(self, release: Release) -> Published:
        """See to it that the registry has these very bytes under this name and version.

        For one version of a package at a time: two at once could both take ``latest``.
        """
        document = self._package(release.name)
        if _holds(document, release):
            self._reinstate(document, release)
            return Published(None)
        tag = tag_for(release.version, _mapping(document.get("dist-tags")).get(LATEST))
        try:
            self._send(release, tag)
        except RegistryPermanent as error:
            if error.status not in (*DENIED, HTTPStatus.CONFLICT):
                raise
            # A registry refuses a version that it has, and somebody else may have sent it.
            if _holds(self._package(release.name), release):
                return Published(None)
            raise _refused(error) from None
        if not _holds(self._package(release.name), release):
            raise RegistryTransient(
                f"{self.url} took {release.name}@{release.version} and does not show it"
            )
        return Published(tag)

    def deprecate(self, name: str, version: str, reason: str) -> bool:
        """Mark a version as not to be used; False where the registry does not have it."""
        document = self._package(name)
        found = _mapping(document.get("versions")).get(version)
        if not isinstance(found, dict):
            return False
        message = f"{RECALLED}{reason}"
        if found.get("deprecated") != message:
            found["deprecated"] = message
            self._write("PUT", package_document_url(self.url, name), document)
        return True

    def _reinstate(self, document: Mapping[str, Any], release: Release) -> None:
        found = document["versions"][release.version]
        if str(found.get("deprecated", "")).startswith(RECALLED):
            found["deprecated"] = ""
            self._write("PUT", package_document_url(self.url, release.name), document)

    def unpublish(self, name: str, version: str) -> bool:
        """Remove a version and its bytes; False where the registry had neither."""
        document = self._package(name)
        versions = _mapping(document.get("versions"))
        listed = versions.get(version) is not None
        if listed and len(versions) == 1:
            self._write("DELETE", self._revision(package_document_url(self.url, name), document))
            return True
        if listed:
            kept = _without(document, version)
            url = self._revision(package_document_url(self.url, name), document)
            self._write("PUT", url, kept)
            document = self._package(name)
        # Also where it is not listed: an earlier try may have ended just here.
        return self._remove_bytes(document, name, version) or listed

    def _remove_bytes(self, document: Mapping[str, Any], name: str, version: str) -> bool:
        url = tarball_url(self.url, name, version)
        try:
            self._write("DELETE", self._revision(url, document))
        except RegistryPermanent as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return False
        return True

    def _package(self, name: str) -> Mapping[str, Any]:
        """The registry's document of a package; empty where it has none."""
        try:
            return fetch_package(self.origin, name)
        except RegistryPermanent as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return {}
            if error.status in DENIED:
                raise _denied(error) from None
            raise

    def _send(self, release: Release, tag: str) -> None:
        upload = release.upload(self.url, tag)
        url = package_document_url(self.url, release.name)
        self.origin.send("PUT", url, body=upload, length=len(upload), max_bytes=MAX_ANSWER)

    def _write(self, method: str, url: str, document: Mapping[str, Any] | None = None) -> None:
        sent = b"" if document is None else json.dumps(document, allow_nan=False).encode()
        body = (sent,) if sent else None
        try:
            self.origin.send(method, url, body=body, length=len(sent), max_bytes=MAX_ANSWER)
        except RegistryPermanent as error:
            if error.status not in (*DENIED, HTTPStatus.CONFLICT):
                raise
            raise _refused(error) from None

    @staticmethod
    def _revision(url: str, document: Mapping[str, Any]) -> str:
        revision = document.get("_rev")
        return f"{url}/-rev/{quote(revision if isinstance(revision, str) else 'none', safe='')}"


def _holds(document: Mapping[str, Any], release: Release) -> bool:
    """Whether the registry names these very bytes for the version.

    Raises:
        RegistryPermanent: it names others, or only a hash too weak to tell.
    """
    found = _mapping(document.get("versions")).get(release.version)
    if found is None:
        return False
    integrity = _mapping(_mapping(found).get("dist")).get("integrity")
    named = claim([integrity] if isinstance(integrity, str) else [])
    package = f"{release.name}@{release.version}"
    if named is None or named.algorithm != "sha512":
        raise RegistryPermanent(
            f"the target registry has {package} already, and no sha512 says with which bytes",
            "published-unverifiable",
        )
    if named != claim([release.integrity]):
        raise RegistryPermanent(
            f"the target registry has {package} already, with other bytes: somebody published it"
            " past the vetting, or the registry changed it",
            "published-differs",
        )
    return True


def _without(document: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The document without a version; tags that were at it go, ``latest`` to the newest left."""
    versions = {key: value for key, value in document["versions"].items() if key != version}
    tags = _mapping(document.get("dist-tags"))
    kept = {tag: at for tag, at in tags.items() if at != version}
    if LATEST not in kept and (latest := newest(versions)) is not None:
        kept[LATEST] = latest
    changed: dict[str, Any] = {**document, "versions": versions, "dist-tags": kept}
    for history in ("time", "_attachments"):
        changed.pop(history, None)
    return changed


def _refused(error: RegistryPermanent) -> RegistryPermanent | RegistryTransient:
    """A write that was refused: by who we are, or by what somebody else just wrote."""
    if error.status == HTTPStatus.CONFLICT:
        return RegistryTransient("the target registry's document changed meanwhile")
    return _denied(error)


def _denied(error: RegistryPermanent) -> RegistryPermanent:
    detail = f"the target registry answered {error.status}: check TARGET_TOKEN and its rights"
    return RegistryPermanent(detail, "target-denied", error.status)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
