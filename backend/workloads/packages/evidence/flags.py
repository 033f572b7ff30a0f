"""Whether the flags in a bundle agree with its packages, its scans and its bill of materials.

A flag is an advisory that came up after the scan. One that stands is a vulnerability in the
CycloneDX document too; one that was lifted, say because the advisory was withdrawn, says why.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from backend.workloads.packages.evidence import bundle
from backend.workloads.packages.evidence.stored_lock import Json
from backend.workloads.packages.scanning.findings import npm_purl

_KINDS: Final = ("undetermined", "vulnerability", "malware")  # the least sure first
_SEVERITIES: Final = ("critical", "high", "medium", "low")  # the worst first

Named = tuple[int, str]
"""A package's id, and an advisory that concerns it."""


def contradiction(packages: Mapping[int, Json], documents: Mapping[str, Any]) -> str | None:
    """What is wrong with the flags, in a sentence; None where nothing is.

    A bundle of a release that knew no flags has none.
    """
    known: set[Named] = set()
    for found in documents[bundle.FINDINGS]:
        package, scan = packages[found["id"]], found["scan"]
        told = [it for it in (scan["findings"] if scan else ()) if it["kind"] in _KINDS]
        flags = found.get("flags", ())
        if not all(_agrees(flag, package, told) for flag in flags):
            return f"{bundle.FINDINGS} contradicts itself in the flags of {found['purl']}."
        standing = (flag for flag in flags if flag["stands"])
        known |= {(found["id"], it["advisory"]) for it in (*told, *standing)}
    if known != set(_listed(documents[bundle.CYCLONEDX])):
        return f"{bundle.CYCLONEDX} and {bundle.FINDINGS} do not name the same advisories."
    return None


def _agrees(flag: Json, package: Json, told: list[Json]) -> bool:
    lifted = flag["lifted_at"] is not None
    return (
        lifted == (flag["lifted_because"] is not None)
        and flag["component"] in set(_purls(package))
        and flag["stands"] == (not lifted and not any(_tells(it, flag) for it in told))
    )


def _purls(package: Json) -> Iterator[str]:
    """Of the package and of all that lies inside it, as flags name them."""
    yield npm_purl(package["name"], package["version"])
    for part in (package["inspection"] or {}).get("components", ()):
        yield npm_purl(part["name"], part["version"])


def _tells(finding: Json, flag: Json) -> bool:
    """Whether the scan says the same, or something worse."""
    return (
        finding["component"] == flag["component"]
        and not {finding["advisory"], *finding["aliases"]}.isdisjoint(
            {flag["advisory"], *flag["aliases"]}
        )
        and _KINDS.index(finding["kind"]) >= _KINDS.index(flag["kind"])
        and _rank(finding) <= _rank(flag)
    )


def _rank(found: Json) -> int:
    """What nobody rated counts as high."""
    severity = found["severity"]
    return _SEVERITIES.index("high" if severity == "unknown" else severity)


def _listed(bom: Json) -> Iterator[Named]:
    for it in bom["vulnerabilities"]:
        for affected in it["affects"]:
            yield int(affected["ref"].split("-")[1]), it["id"]
