"""CVSS vectors to severities: v2 and v3.x base scores by FIRST's published equations.

Sources: "A Complete Guide to the Common Vulnerability Scoring System Version 2.0", section 3.2.1;
"CVSS v3.1 Specification Document", sections 5, 7.1, 7.4 and appendix A (roundup). Version 4 scores
come from a lookup table of macro vectors that is not carried here; such a record is rated by its
database's own word, or stays unrated and counts as high.
"""

import math

from backend.workloads.packages.scanning.findings import Severity

_V3 = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "UI": {"N": 0.85, "R": 0.62},
    "C": {"H": 0.56, "L": 0.22, "N": 0.0},
    "I": {"H": 0.56, "L": 0.22, "N": 0.0},
    "A": {"H": 0.56, "L": 0.22, "N": 0.0},
}
_SCALE = ((9.0, Severity.CRITICAL), (7.0, Severity.HIGH), (4.0, Severity.MEDIUM))
_V3_PRIVILEGES = {
    "U": {"N": 0.85, "L": 0.62, "H": 0.27},
    "C": {"N": 0.85, "L": 0.68, "H": 0.5},
}
_V2 = {
    "AV": {"L": 0.395, "A": 0.646, "N": 1.0},
    "AC": {"H": 0.35, "M": 0.61, "L": 0.71},
    "Au": {"M": 0.45, "S": 0.56, "N": 0.704},
    "C": {"N": 0.0, "P": 0.275, "C": 0.66},
    "I": {"N": 0.0, "P": 0.275, "C": 0.66},
    "A": {"N": 0.0, "P": 0.275, "C": 0.66},
}


def severity(vector: str) -> Severity:
    """The severity a vector means; ``unknown`` for version 4 and for what cannot be read."""
    score = base_score(vector)
    if score is None:
        return Severity.UNKNOWN
    rated = _rated(score)
    version_2 = not vector.startswith("CVSS:")
    return Severity.HIGH if version_2 and rated is Severity.CRITICAL else rated


def base_score(vector: str) -> float | None:
    """0.0 to 10.0, or None for a vector that is unreadable or of another version than 2 and 3."""
    try:
        metrics = dict(part.split(":", 1) for part in vector.strip("()").split("/"))
        if metrics.get("CVSS") in {"3.0", "3.1"}:
            return _v3_score(metrics)
        return None if "CVSS" in metrics else _v2_score(metrics)
    except (KeyError, ValueError):
        return None


def _v3_score(metrics: dict[str, str]) -> float:
    weight = {name: table[metrics[name]] for name, table in _V3.items()}
    scope = metrics["S"]
    privileges = _V3_PRIVILEGES[scope][metrics["PR"]]
    missing = (1 - weight["C"]) * (1 - weight["I"]) * (1 - weight["A"])
    lost = 1 - missing
    changed = scope == "C"
    impact = 7.52 * (lost - 0.029) - 3.25 * (lost - 0.02) ** 15 if changed else 6.42 * lost
    if impact <= 0:
        return 0.0
    exploitability = 8.22 * weight["AV"] * weight["AC"] * privileges * weight["UI"]
    return _round_up(min((1.08 if changed else 1.0) * (impact + exploitability), 10.0))


def _round_up(value: float) -> float:
    """To the next tenth, on integers, so that 8.600000000000001 does not become 8.7."""
    scaled = round(value * 100_000)
    return scaled / 100_000 if scaled % 10_000 == 0 else (math.floor(scaled / 10_000) + 1) / 10


def _v2_score(metrics: dict[str, str]) -> float:
    weight = {name: table[metrics[name]] for name, table in _V2.items()}
    impact = 10.41 * (1 - (1 - weight["C"]) * (1 - weight["I"]) * (1 - weight["A"]))
    exploitability = 20 * weight["AV"] * weight["AC"] * weight["Au"]
    factor = 0.0 if impact == 0 else 1.176
    return round((0.6 * impact + 0.4 * exploitability - 1.5) * factor, 1)


def _rated(score: float) -> Severity:
    """The qualitative scale of v3; "none" has no word of ours and counts as low."""
    return next((word for bound, word in _SCALE if score >= bound), Severity.LOW)
