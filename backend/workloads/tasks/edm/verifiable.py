"""Claims that could be looked up or measured: what in them says so.

A sentence that asserts none of these (that the door is open, that somebody is on holiday) is
nobody's debt. Which signs count is ours, tuned on sentences labelled for it.
"""

import re
from typing import Final

from backend.workloads.tasks.edm.wording import either, load, words

_RULES: Final = load("verifiable")
_SIGNS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = tuple(
    (sign["reason"], words(sign["wordings"])) for sign in _RULES["signs"]
)
_DEICTIC: Final = either(_RULES["deictic"])

_GENERIC: Final = re.compile(
    rf"(?!{_DEICTIC}\b|(?:the|an?)\b)(?:[\w-]+ ){{0,2}}"
    r"(?:[\w-]{2,}(?<!s)s|children|people|women|men) "
    r"(?!(?:are|is|were) (?:in|on|at|attached|ready|here|there|below|available|back|out|off)\b)\w"
)
"""A bare plural at the beginning: what follows is said of the whole kind."""
_FACTUAL: Final = re.compile(
    rf"(?!{_DEICTIC}\b)(?:(?:the|an?) )?(?:[\w-]+ ){{1,3}}?"
    rf"(?:{either(_RULES['past'])}|(?:did|does|do) not|didn't|doesn't|[\w-]{{3,}}ed"
    r"|(?!(?:is|was|has|this|its|us|as|plus|less|across|besides|always|perhaps)\b)"
    r"[\w-]{3,}(?<![siu])s) \w"
)
"""A third person and a verb that says more than where or how something is."""


def sign_of(plain: str) -> str | None:
    """What makes it a claim that could be checked, as a reason; None where nothing does."""
    found = next((reason for reason, pattern in _SIGNS if pattern.search(plain)), None)
    if found is not None:
        return found
    if _GENERIC.match(plain):
        return "It states something of a whole kind without a source."
    return "It tells a fact without a source." if _FACTUAL.match(plain) else None
