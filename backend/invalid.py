"""What is wrong with what was sent, as pydantic found it, in the words of a problem document."""

from typing import Final

from pydantic import ValidationError

from backend.strictjson import SHOWN

MOST: Final = 100
"""Wrong places that are named: who sends more of them has seen the pattern."""
_NOT_AN_OBJECT: Final = "Input should be a JSON object"


def wrong_places(source: str, error: ValidationError) -> list[dict[str, str]]:
    """The first of them, each with its ``place`` below ``source`` and a ``message``; no values."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        {
            "place": ".".join([source, *(str(part)[:SHOWN] for part in item["loc"])]),
            "message": _NOT_AN_OBJECT
            if item["type"] == "model_type"
            else item["msg"].removeprefix("Value error, "),
        }
        for item in found[:MOST]
    ]
