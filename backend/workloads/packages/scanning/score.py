"""The security score of a package."""

from collections import Counter
from collections.abc import Iterable

from backend.workloads.packages.scanning.findings import Finding, Severity

_COST = {Severity.HIGH: 15, Severity.MEDIUM: 8, Severity.LOW: 3}


def security_score(findings: Iterable[Finding], *, covered: bool) -> int | None:
    """0 (worst) to 100; None where nothing covered the package.

    Any critical finding makes it 0, otherwise 100 - 15 high - 8 medium - 3 low, never below 0. A
    finding without severity counts as high; a licence matter has its own score. What a partial
    source found is still shown as a finding where the score is None: without coverage a number
    would say more than is known.

    Args:
        findings: already merged, so that one advisory counts once for each component.
        covered: some complete and fresh source could have named what it knows.
    """
    if not covered:
        return None
    counts = Counter(f.severity.counted for f in findings if f.kind != "licence")
    if counts[Severity.CRITICAL]:
        return 0
    return max(0, 100 - sum(cost * counts[severity] for severity, cost in _COST.items()))
