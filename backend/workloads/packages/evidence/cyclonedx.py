"""A CycloneDX 1.6 bill of materials, as plain JSON.

Source of the fields: the CycloneDX 1.6 JSON schema. Development packages bear the property that
CycloneDX registers for npm; properties that begin with ``lockkeeper:`` are our own.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from backend.workloads.packages.evidence.inventory import (
    APPLICATION,
    Inventory,
    LicenceWord,
    Part,
    Stamp,
)
from backend.workloads.packages.evidence.stored_lock import Json


def cyclonedx(inventory: Inventory, stamp: Stamp) -> Json:
    """Write the inventory as a CycloneDX document."""
    tool = {"type": "application", "name": "lockkeeper", "version": stamp.release}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": stamp.serial.urn,
        "version": 1,
        "metadata": {
            "timestamp": stamp.taken_at,
            "tools": {"components": [tool]},
            "component": {
                "type": "application",
                "bom-ref": APPLICATION,
                "name": inventory.name,
                "version": inventory.version,
            },
        },
        "components": [_component(part) for part in inventory.parts],
        "dependencies": [
            {"ref": ref, "dependsOn": [*asked]} for ref, asked in inventory.asks.items()
        ],
        "compositions": [
            {
                "aggregate": "complete" if inventory.complete else "incomplete",
                "assemblies": [APPLICATION],
            }
        ],
        "vulnerabilities": [found for part in inventory.parts for found in _findings(part)],
    }


def _component(part: Part) -> Json:
    group, _, name = part.name.rpartition("/") if part.name.startswith("@") else ("", "", part.name)
    component: Json = {"type": "library", "bom-ref": part.ref, "name": name or part.name}
    if group and name:
        component["group"] = group
    if part.version is not None:
        component["version"] = part.version
    if part.purl is not None:
        component["purl"] = part.purl
    if part.sha512 is not None:
        component["hashes"] = [{"alg": "SHA-512", "content": part.sha512}]
    if licences := _licences(part.concluded, "concluded"):
        component["licenses"] = licences
    if said := _licences(part.declared, "declared"):
        component["evidence"] = {"licenses": said}
    if part.package is not None and part.package["optional"]:
        component["scope"] = "optional"
    if part.parts:
        component["components"] = [_component(inner) for inner in part.parts]
    if properties := [*_properties(part)]:
        component["properties"] = properties
    return component


# Few words for many components: what is equal is one and the same.
@lru_cache(maxsize=4096)
def _licences(word: LicenceWord, acknowledgement: str) -> tuple[Json, ...]:
    if word.spdx is not None:
        return ({"expression": word.spdx, "acknowledgement": acknowledgement},)
    if word.text is not None:
        return ({"license": {"name": word.text, "acknowledgement": acknowledgement}},)
    return ()


def _properties(part: Part) -> Iterator[Json]:
    if part.excluded is not None:
        yield _property("lockkeeper:excluded", part.excluded)
    if part.package is not None:
        if part.package["dev"]:
            yield _property("cdx:npm:package:development", "true")
        yield _property("lockkeeper:status", part.package["status"])
        yield _property("lockkeeper:scan_result", part.package["scan_result"] or "not scanned")


@lru_cache(maxsize=256)
def _property(name: str, value: str) -> Json:
    return {"name": name, "value": value}


def _findings(part: Part) -> Iterator[Json]:
    """What the scan found, and advisories that came up since."""
    package = part.package or {}
    for finding in package.get("advisories") or ():
        yield _vulnerability(finding, part)
    for flag in package.get("standing") or ():
        yield _vulnerability(flag, part)


def _vulnerability(finding: Json, part: Part) -> Json:
    inner = (it.ref for it in part.parts if it.purl == finding["component"])
    found: dict[str, Any] = {
        "id": finding["advisory"],
        "source": {"name": finding["source"]},
        "ratings": [{"severity": finding["severity"]}],
        "affects": [{"ref": next(inner, part.ref)}],
    }
    if finding["aliases"]:
        source = {"name": finding["source"]}
        found["references"] = [{"id": alias, "source": source} for alias in finding["aliases"]]
    if finding["title"]:
        found["description"] = finding["title"]
    if finding["fixed"]:
        found["recommendation"] = f"Fixed in {', '.join(finding['fixed'])}."
    if finding["kind"] != "vulnerability":
        found["properties"] = [{"name": "lockkeeper:kind", "value": finding["kind"]}]
    return found
