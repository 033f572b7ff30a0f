"""What to do about what was found, the most pressing first."""

from collections.abc import Mapping
from typing import Any, Final

from backend.workloads.tasks.data_model import DebtKind, Severity

_DO: Final = {
    DebtKind.UNVERIFIED: "Name a source for each, or say that it is a guess; take back what has"
    " none.",
    DebtKind.UNFALSIFIABLE: "Say for each what observation would speak against it, or mark it as a"
    " belief.",
    DebtKind.VAGUE: "Put a figure, a name or a time in the place of each indefinite word.",
}


def recommendations(kinds: Mapping[str, int], severities: Mapping[str, int]) -> list[Any]:
    """One for each kind that was found, the most frequent first; before them the grave ones'."""
    grave = severities[Severity.CRITICAL] + severities[Severity.HIGH]
    found = sorted((kind for kind in DebtKind if kinds[kind]), key=lambda kind: -kinds[kind])
    advice = [{"kind": kind, "debts": kinds[kind], "advice": _DO[kind]} for kind in found]
    if grave:
        first = "Begin with these: much is at stake, or they sound surer than they are supported."
        advice.insert(0, {"kind": None, "debts": grave, "advice": first})
    return advice
