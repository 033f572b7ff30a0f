"""How the rules look for words: alternatives of whole words, in one pass, small letters.

The words themselves are in the folder ``rules``, in one file for each kind of question.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import yaml

LONGEST: Final = 2000
"""Characters of one sentence that the rules look at: what is longer is hardly one."""

_QUOTES: Final = str.maketrans({"\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"'})


def plain(sentence: str) -> str:
    """Small letters, straight quotation marks, single spaces."""
    return " ".join(sentence[:LONGEST].translate(_QUOTES).lower().split())


def load(name: str) -> Any:
    """What ``rules/<name>.yaml`` holds."""
    return yaml.safe_load((Path(__file__).parent / "rules" / f"{name}.yaml").read_text())


def either(lines: Iterable[str]) -> str:
    """One regular expression for any of the alternatives in ``lines``."""
    return "(?:" + "|".join(lines) + ")"


def words(lines: Iterable[str]) -> re.Pattern[str]:
    """A pattern of any of the alternatives in ``lines`` as whole words.

    Repetitions in them are bounded: a search takes time linear in the sentence.
    """
    return re.compile(rf"(?<![\w']){either(lines)}(?![\w'])")
