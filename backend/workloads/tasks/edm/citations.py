"""Whether a sentence says where its claim can be looked up."""

import re
from typing import Final

_YEAR: Final = r"(?:1[5-9]|20)\d\d[a-z]?"
_NAME: Final = r"[A-Z][\w'\u2019-]+"
_STUDY: Final = (
    r"(?:[Ss]urvey|[Ss]tudy|[Tt]rial|[Rr]eview|[Rr]eport|[Cc]ensus|[Pp]aper|[Aa]rticle|[Bb]ook"
    r"|[Mm]eta-analysis|[Aa]nalysis|[Dd]ataset|[Rr]egister|[Pp]ress release)"
)
_CITATION: Final = re.compile(
    "|".join(
        (
            r"https?://\S",
            r"\bdoi:\s?\S|\b10\.\d{4,9}/\S",
            r"\barXiv:\s?\d",
            r"\bISBN\b|\bISSN\b|\bPMID\b",
            r"\bRFC ?\d{2,5}\b|\bISO(?:/IEC)? ?\d{3,6}\b|\bCVE-\d{4}-\d{4,}\b",
            r"\[\d{1,3}(?:\s?[,;\u2013-]\s?\d{1,3}){0,9}\]",
            rf"\b{_NAME}(?: et al\.?| and {_NAME}| & {_NAME})?,? \({_YEAR}",
            r"\b[Ss]ources?:\s?\S",
            rf"\b{_STUDY}\s(?:\w+\s){{0,3}}?(?:by|of|from|in)\s(?:the\s)?(?:{_NAME}|{_YEAR})",
            rf"\b(?:[Aa]ccording to|[Aa]s|[Ss]ee)\s(?:the\s|a\s)?(?:\w+\s)?(?:{_YEAR}|{_NAME})",
            rf"\b(?:says|states|reports|writes) the\s{_NAME}\s(?:of\s)?{_NAME}",
            r"\b[A-Z]{2,8}-\d{2,7}\b",
            r"\bcommit [0-9a-f]{7,40}\b",
        )
    )
)
_BRACKETED: Final = re.compile(r"[(\[]([^()\[\]]{0,200})[)\]]")
_AUTHOR: Final = re.compile(rf"\b{_NAME}")
_DATED: Final = re.compile(rf"\b{_YEAR}\b")
_PLACE: Final = re.compile(
    rf"\b(?:{_STUDY}|[Pp]age|p\.|[Cc]hapter|[Tt]able|[Ff]igure)\s\D{{0,40}}\d"
)
_NOTHING_ELSE: Final = re.compile(r"\W*(?:[Ss]ee|[Ss]ources?|[Rr]ef(?:erence)?s?|[Cc]f|https?)\b")


def cited(sentence: str) -> bool:
    """An address, an identifier, a numbered reference, or author and year. Not "studies show"."""
    return _CITATION.search(sentence) is not None or any(
        _names_its_source(inside) for inside in _BRACKETED.findall(sentence)
    )


def cites_what_is_before(sentence: str) -> bool:
    """A sentence such as "Source: \N{HORIZONTAL ELLIPSIS}" speaks for the one before it."""
    return _NOTHING_ELSE.match(sentence) is not None and cited(sentence)


def _names_its_source(bracketed: str) -> bool:
    if _PLACE.search(bracketed) is not None:
        return True
    return _AUTHOR.search(bracketed) is not None and _DATED.search(bracketed) is not None
