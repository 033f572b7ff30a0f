"""Claims too indefinite to be checked: nobody could say what would count for or against them.

Every different indefinite wording weighs 1, one that leaves nothing definite 2; what fixes a claim
(a figure, what it is compared with, its cause) weighs against it. The weights are ours, tuned on
sentences labelled for it.
"""

import re
from typing import Final

from backend.workloads.tasks.edm.wording import either, load, words

THRESHOLD: Final = 2

_RULES: Final = load("vague")
_INDEFINITE: Final = words(_RULES["indefinite"])
_EVALUATED: Final = (
    rf"{either(_RULES['evaluated'])} (?:{either(_RULES['emphasis'])} ){{0,4}}"
    rf"{either(_RULES['evaluations'])}(?=\W*$| in | on | for | about | lately)"
)
_EMPTY: Final = words([*_RULES["empty"], _EVALUATED])
_COMPARED: Final = words(_RULES["compared"])
_CAUSED: Final = words(_RULES["caused"])
_FIGURE: Final = re.compile(r"\d|" + words(_RULES["figures"]).pattern)


def vagueness(plain: str) -> int:
    """How indefinite it is: a claim is vague from :data:`THRESHOLD` on."""
    weight = len(set(_INDEFINITE.findall(plain))) + 2 * len(set(_EMPTY.findall(plain)))
    figure, compared, caused = (
        pattern.search(plain) is not None for pattern in (_FIGURE, _COMPARED, _CAUSED)
    )
    return weight - 2 * figure - compared - caused
