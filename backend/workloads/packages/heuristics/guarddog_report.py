"""Reading what ``guarddog npm scan … --output-format json`` writes into findings."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from backend.workloads.packages.scanning.findings import Finding, Severity, worst
from backend.workloads.packages.scanning.inspection import printable

SOURCE: Final = "guarddog"

_SEVERITIES: Final = {
    word.value: word for word in (Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL)
}
_RULES: Final = 1000  # that may match; GuardDog has some fifty
_PLACES: Final = 3  # that one finding names
_TEXT: Final = 150  # characters of a rule's name, of its description, or of a place


Part = TypeVar("Part")


class ReportError(Exception):
    """The output is not a report in GuardDog's form; the message names what is wrong."""


@dataclass(frozen=True)
class Report:
    """``rules``: how many looked. ``failed``: names of those that could not."""

    findings: tuple[Finding, ...]
    rules: int
    failed: tuple[str, ...]


def read(raw: bytes, *, artifact: str) -> Report:
    """Read one report: a finding for each rule that matched, with the first places.

    Args:
        raw: standard output.
        artifact: purl of what was looked at.

    Raises:
        ReportError: not JSON, not a report, or a part that cannot be understood.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise ReportError("the output is not JSON") from None
    if not isinstance(document, dict):
        raise ReportError("the output is not a report")
    results, errors = (_part(document, name, dict) for name in ("results", "errors"))
    if not results:
        raise ReportError("no rule looked")
    failed = tuple(sorted(printable(str(name), limit=_TEXT) for name in errors))
    risks = _part(document, "risks", list)
    return Report(tuple(_findings(risks, artifact)), len(results.keys() - errors.keys()), failed)


def _findings(risks: list[Any], artifact: str) -> Iterator[Finding]:
    by_rule: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for risk in risks:
        if not isinstance(risk, dict):
            raise ReportError("a risk is not an object")
        by_rule[_text(risk, "threat_rule")].append(risk)
        if len(by_rule) > _RULES:
            raise ReportError(f"it names more than {_RULES} rules")
    for rule, matches in sorted(by_rule.items()):
        yield Finding(
            id=f"{SOURCE}:{rule}",
            severity=worst(_severity(risk) for risk in matches),
            title=f"{_text(matches[0], 'threat_description')}: {_places(matches)}",
            source=SOURCE,
            component=artifact,
            kind="heuristic",
        )


def _places(matches: list[dict[str, Any]]) -> str:
    places = sorted({_text(risk, "threat_location") for risk in matches})
    shown = ", ".join(places[:_PLACES])
    return shown if len(places) <= _PLACES else f"{shown} and {len(places) - _PLACES} more"


def _severity(risk: dict[str, Any]) -> Severity:
    return _SEVERITIES.get(_text(risk, "severity"), Severity.UNKNOWN)


def _text(risk: dict[str, Any], name: str) -> str:
    if not isinstance(risk.get(name), str):
        raise ReportError(f"a risk has no {name}")
    return printable(risk[name], limit=_TEXT)


def _part(document: dict[str, Any], name: str, kind: type[Part]) -> Part:
    found = document.get(name)
    if not isinstance(found, kind):
        raise ReportError(f"it has no {name}")
    return found
