"""Claims that no observation could speak against, and why.

After Popper, "The Logic of Scientific Discovery" (1959), section 6: a statement is empirical only
where some possible observation contradicts it. Which wordings betray that none could is ours.
"""

from dataclasses import dataclass
from re import Pattern
from typing import Final

from backend.workloads.tasks.edm.wording import load, words


@dataclass(frozen=True, slots=True)
class Rule:
    """A family of wordings, and what is wrong with them."""

    code: str
    reason: str
    pattern: Pattern[str]


RULES: Final = tuple(
    Rule(rule["code"], rule["reason"], words(rule["wordings"])) for rule in load("unfalsifiable")
)


def rule_against(plain: str) -> Rule | None:
    """The first rule whose wording ``plain`` shows; None where one could imagine a refutation."""
    return next((rule for rule in RULES if rule.pattern.search(plain)), None)
