"""What is probably a mistake: Splunk reads it, but otherwise than its author meant."""

import re
from typing import Final

_SETTING: Final = re.compile(r"[ \t]*[A-Za-z_][\w.:-]*[ \t]*=")
_HEADER: Final = re.compile(r"[ \t]*\[[^\n]*\][ \t\r]*\Z")


def swallowed(value: str, continuation: str) -> str | None:
    r"""What a backslash that was hardly meant to continue a value, as in ``C:\logs\``, swallowed.

    Args:
        value: of the first line, without the backslash. Only one word without ``=`` is suspected:
            a search goes on like this.
        continuation: the line after it.

    Returns:
        ``key`` or ``header``.
    """
    if "=" in value or len(value.split(maxsplit=1)) != 1:
        return None
    if _SETTING.match(continuation):
        return "key"
    return "header" if _HEADER.match(continuation) else None
