"""An SPDX 2.3 document, as plain JSON. Source of the fields: the SPDX 2.3 specification."""

from collections.abc import Iterator
from typing import Final

from backend.workloads.packages.evidence.inventory import (
    APPLICATION,
    Inventory,
    LicenceWord,
    Part,
    Stamp,
)
from backend.workloads.packages.evidence.stored_lock import Json

_NOTHING_SAID: Final = "NOASSERTION"
_DOCUMENT: Final = "SPDXRef-DOCUMENT"


def spdx(inventory: Inventory, stamp: Stamp) -> Json:
    """Write the inventory as an SPDX document."""
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": _DOCUMENT,
        "name": f"{inventory.name} {inventory.version}",
        "documentNamespace": stamp.serial.urn,
        "creationInfo": {
            "created": f"{stamp.taken_at[:19]}Z",  # to the second, as SPDX has it
            "creators": [f"Tool: lockkeeper-{stamp.release}"],
        },
        "comment": _extent(inventory),
        "packages": [
            _application(inventory),
            *(package for part in inventory.parts for package in _packages(part)),
        ],
        "relationships": [
            _relationship(_DOCUMENT, "DESCRIBES", _id(APPLICATION)),
            *_dependencies(inventory),
            *_containments(inventory),
        ],
    }


def _extent(inventory: Inventory) -> str:
    if inventory.complete:
        return "Everything that the lock names has been looked into."
    return "Not everything that the lock names has been looked into: see the packages' comments."


def _application(inventory: Inventory) -> Json:
    return {
        "SPDXID": _id(APPLICATION),
        "name": inventory.name,
        "versionInfo": inventory.version,
        "downloadLocation": _NOTHING_SAID,
        "filesAnalyzed": False,
        "primaryPackagePurpose": "APPLICATION",
    }


def _packages(part: Part) -> Iterator[Json]:
    package: Json = {
        "SPDXID": _id(part.ref),
        "name": part.name,
        "downloadLocation": _NOTHING_SAID,
        "filesAnalyzed": False,
        "licenseConcluded": part.concluded.spdx or _NOTHING_SAID,
        "licenseDeclared": part.declared.spdx or _NOTHING_SAID,
        "copyrightText": _NOTHING_SAID,
        "primaryPackagePurpose": "LIBRARY",
    }
    if part.version is not None:
        package["versionInfo"] = part.version
    if part.sha512 is not None:
        package["checksums"] = [{"algorithm": "SHA512", "checksumValue": part.sha512}]
    if part.purl is not None:
        package["externalRefs"] = [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": part.purl,
            }
        ]
    if words := [*_unexpressed(part)]:
        package["licenseComments"] = " ".join(words)
    if comment := _comment(part):
        package["comment"] = comment
    yield package
    for inner in part.parts:
        yield from _packages(inner)


def _unexpressed(part: Part) -> Iterator[str]:
    """What SPDX has no expression for."""
    for word, who in ((part.declared, "The package says"), (part.concluded, "The verdict is")):
        if _is_unexpressed(word):
            yield f"{who}: {word.text}."


def _is_unexpressed(word: LicenceWord) -> bool:
    return word.text is not None and word.spdx is None


def _comment(part: Part) -> str | None:
    if part.excluded is not None:
        return f"Not vetted: excluded as {part.excluded}."
    if part.package is None:
        return None
    seen = "" if part.package["inspected"] else " Nobody has looked into it."
    return f"{part.package['status']}; scan: {part.package['scan_result'] or 'none'}.{seen}"


def _dependencies(inventory: Inventory) -> Iterator[Json]:
    for ref, asked in inventory.asks.items():
        for other in asked:
            yield _relationship(_id(ref), "DEPENDS_ON", _id(other))


def _containments(inventory: Inventory) -> Iterator[Json]:
    for part in inventory.parts:
        for inner in part.parts:
            yield _relationship(_id(part.ref), "CONTAINS", _id(inner.ref))


def _relationship(one: str, kind: str, other: str) -> Json:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _id(ref: str) -> str:
    return f"SPDXRef-{ref}"
