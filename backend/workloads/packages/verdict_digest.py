"""One word for all that a verdict rests on: who approves names the one that they saw."""

import hashlib
import json
from collections.abc import Iterable

from backend.workloads.packages.scanning.findings import Finding


def verdict_digest(
    *,
    sha512: str,
    expression: str | None,
    tier: str | None,
    findings: Iterable[Finding],
    scan_result: str,
    policy_digest: str | None,
    waivers: Iterable[int] = (),
) -> str:
    """SHA-256 (hex) over canonical JSON of bytes, licence, findings, policy and waivers.

    The order in which findings were found does not count, nor does what a source says of them
    beyond what, where and how bad.

    Args:
        sha512: hex, of the bytes.
        expression: the licence that the verdict goes by, and its ``tier``.
        scan_result: whether every source covered the package.
        policy_digest: None where a person's word counts, whatever the policy.
        waivers: ids of those that count.
    """
    seen = {
        "sha512": sha512,
        "licence": [expression, tier],
        "findings": sorted({(f.id, f.kind, str(f.severity), f.component) for f in findings}),
        "scan_result": scan_result,
        "policy": policy_digest,
        "waivers": sorted(set(waivers)),
    }
    text = json.dumps(seen, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
