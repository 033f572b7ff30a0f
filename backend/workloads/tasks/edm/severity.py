"""How much an unsupported claim matters: what is at stake where it is believed, how sure it sounds.

A convention, not a measurement: points add up to a severity.
"""

import re
from typing import Final

from backend.workloads.tasks.data_model import DebtKind, Severity
from backend.workloads.tasks.edm.wording import load, words

_BASE: Final = {DebtKind.VAGUE: 0, DebtKind.UNVERIFIED: 0, DebtKind.UNFALSIFIABLE: 1}
_SCALE: Final = tuple(Severity)

_RULES: Final = load("severity")
_STAKES: Final = words(_RULES["stakes"])
_SURE: Final = words(_RULES["sure"])
_FIGURE: Final = re.compile(r"\d")


def severity_of(kind: DebtKind, plain: str) -> Severity:
    """From the least on, one step for each: unfalsifiable; at stake; sure of itself; a figure."""
    points = _BASE[kind]
    points += _STAKES.search(plain) is not None
    points += _SURE.search(plain) is not None
    points += kind is DebtKind.UNVERIFIED and _FIGURE.search(plain) is not None
    return _SCALE[min(points, len(_SCALE) - 1)]
