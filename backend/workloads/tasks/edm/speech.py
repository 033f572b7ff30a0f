"""What a sentence does: whether it asserts something that others could be asked to believe."""

import re
from enum import StrEnum
from typing import Final

from backend.workloads.tasks.edm.wording import either, load, words


class Speech(StrEnum):
    """Only an assertion can owe its support."""

    ASSERTION = "assertion"
    QUESTION = "question"
    REQUEST = "request"
    OPINION = "opinion"
    SUPPOSITION = "supposition"
    PERSONAL = "personal"
    """What the speaker did, has, feels or plans: nobody else can be asked for a source of it."""


_ASKS: Final = re.compile(
    r"(?:who|whom|whose|what|when|where|why|which|how|is|are|was|were|do|does|did|can|could|will"
    r"|would|should|shall|may|have|has|had|isn't|aren't|don't|doesn't)\b.*\?[\"')\]]*$"
)
_RULES: Final = load("speech")
_VERBS: Final = either(_RULES["imperatives"])
_REQUESTS: Final = re.compile(
    r"(?:please|kindly|just|then|now|first|next|also|never|always|do not|don't)?,? ?"
    rf"{_VERBS}(?! (?:is|are|was|were|has|had|does|did|helps?|cards?)\b)[ ,.!]"
)
_IF_THEN: Final = re.compile(rf"(?:if|when|once|before|after)\b[^,]{{1,120}}, (?:then )?{_VERBS}\b")
_ADVICE: Final = words(_RULES["requests"])
_VIEWS: Final = words(_RULES["opinions"])
_SUPPOSES: Final = words(_RULES["supposes"])
_OWN: Final = re.compile(
    r"(?:(?:and|but|so|then|well|yes|no|ok|okay|sorry|thanks|today|yesterday|tomorrow|tonight|also"
    r"|this (?:morning|week|evening|year)|last (?:night|week|month|year))[,:]? )*"
    r"(?:i|i'm|i've|i'd|i'll|me|my|mine|myself)\b"
)
_OURS: Final = re.compile(
    r"(?:we|we'll|we've|let's|you) (?:\w+ )?(?:will|agreed|decided|have not|haven't|are going|plan"
    r"|planned|met|talked|discussed|want|need|hope|went|could|can|should)\b|we'll\b|shall we\b"
)
_SMALL_TALK: Final = re.compile(
    r"(?:hi|hello|hey|thanks|thank you|sorry|good (?:morning|evening|night|luck|job)|well done"
    r"|congratulations|happy birthday|welcome|cheers|see you|bye|great job|nice (?:work|one|to))\b"
    r"[^.]{0,60}[.!]?$|(?:great|nice|ok|okay|sure|yes|no|right|exactly|perfect)(?:[,.!]|$)"
)


def speech_of(plain: str) -> Speech:
    """What ``plain``, as :func:`backend.workloads.tasks.edm.wording.plain` gives it, does."""
    if plain.rstrip("\"')]").endswith("?") or _ASKS.match(plain):
        return Speech.QUESTION
    if _SUPPOSES.search(plain):
        return Speech.SUPPOSITION
    if _REQUESTS.match(plain) or _ADVICE.search(plain) or _IF_THEN.match(plain):
        return Speech.REQUEST
    if _VIEWS.search(plain):
        return Speech.OPINION
    if _OWN.match(plain) or _OURS.match(plain) or _SMALL_TALK.match(plain):
        return Speech.PERSONAL
    return Speech.ASSERTION
