"""Naming a well-known licence by its text; in doubt it stays unnamed.

A licence is recognised when every one of its telling phrases is present, no phrase of another kind
is, and little else is in the file: an added condition makes it another licence. The text of the GPL
family cannot tell "only" from "or later"; the stricter identifier is given.
"""

from dataclasses import dataclass

_WORDS = bytes(ord(c) if c.isalnum() else ord(" ") for c in map(chr, range(128))).ljust(256)
"""What is no letter or digit of ASCII is a space."""
_SHORT = 300  # words; the long licences speak of additional terms themselves
_ADDED_CONDITIONS = (
    "additional terms", "additional restriction", "additional condition", "additional permission",
    "shall be used for good not evil", "non commercial", "noncommercial",
)  # fmt: skip


@dataclass(frozen=True)
class _Rule:
    """``words``: how many the bare licence has at most; ``slack`` more may surround it."""

    identifier: str
    words: int
    phrases: tuple[str, ...]
    without: tuple[str, ...] = ()
    slack: int = 70


_BSD_CORE = (
    "redistribution and use in source and binary forms",
    "redistributions of source code must retain",
    "redistributions in binary form must reproduce",
    "in no event shall",
)
_BSD_NAMES = "may be used to endorse or promote products"
_GNU_WARRANTY = "there is no warranty for the"

_RULES = (
    _Rule("MIT", 175, (
        "permission is hereby granted free of charge to any person obtaining a copy",
        "to deal in the software without restriction",
        "the above copyright notice and this permission notice shall be included",
        "the software is provided as is without warranty of any kind",
    )),
    _Rule("ISC", 130, (
        "permission to use copy modify and or distribute this software for any purpose",
        "is hereby granted provided that the above copyright notice",
        "disclaims all warranties with regard to this software",
    )),
    _Rule("0BSD", 110, (
        "permission to use copy modify and or distribute this software for any purpose",
        "with or without fee is hereby granted the software is provided as is",
        "disclaims all warranties",
    ), without=("provided that",)),
    _Rule("BSD-2-Clause", 230, _BSD_CORE, without=(
        _BSD_NAMES, "all advertising materials", "neither the name",
    )),
    _Rule("BSD-3-Clause", 270, (*_BSD_CORE, _BSD_NAMES), without=("all advertising materials",)),
    _Rule("Apache-2.0", 1900, (
        "apache license version 2 0 january 2004",
        "grant of copyright license",
        "grant of patent license",
        "submission of contributions",
        "accepting warranty or additional liability",
    ), slack=250),
    _Rule("GPL-2.0-only", 3100, (
        "gnu general public license version 2 june 1991",
        "this license applies to any program or other work",
        "because the program is licensed free of charge",
    ), slack=400),
    _Rule("GPL-3.0-only", 5900, (
        "gnu general public license version 3 29 june 2007",
        "protecting users legal rights from anti circumvention law",
        _GNU_WARRANTY,
    ), without=("gnu affero general public license version 3 19 november 2007",), slack=400),
    _Rule("AGPL-3.0-only", 5900, (
        "gnu affero general public license version 3 19 november 2007",
        "remote network interaction",
        _GNU_WARRANTY,
    ), slack=400),
    _Rule("LGPL-2.1-only", 4600, (
        "gnu lesser general public license version 2 1 february 1999",
        "work that uses the library",
    ), slack=400),
    _Rule("LGPL-3.0-only", 1400, (
        "gnu lesser general public license version 3 29 june 2007",
        "incorporates the terms and conditions of version 3 of the gnu general public license",
    ), slack=250),
    _Rule("MPL-2.0", 2900, (
        "mozilla public license version 2 0",
        "incompatible with secondary licenses",
        "covered software",
        "source code form",
    ), slack=250),
    _Rule("Unlicense", 225, (
        "this is free and unencumbered software released into the public domain",
        "anyone is free to copy modify publish use compile sell or distribute this software",
    )),
    _Rule("CC0-1.0", 1200, (
        "cc0 1 0 universal",
        "statement of purpose",
        "copyright and related rights",
        "public license fallback",
    ), slack=250),
    _Rule("WTFPL", 110, (
        "do what the fuck you want to public license",
        "you just do what the fuck you want to",
    )),
    _Rule("BlueOak-1.0.0", 290, (
        "blue oak model license version 1 0 0",
        "everything under copyright and patent",
        "excuse",
        "no liability",
    )),
    _Rule("BSL-1.0", 235, (
        "boost software license version 1 0",
        "permission is hereby granted free of charge to any person or organization",
    )),
    _Rule("BUSL-1.1", 750, (
        "business source license 1 1",
        "change date",
        "the licensor hereby grants you the right to copy modify create derivative works",
    ), slack=250),
)  # fmt: skip


def identify(text: str) -> str | None:
    """The SPDX identifier of a licence text, or None when it is not surely one known licence."""
    words = text.lower().encode("ascii", "replace").translate(_WORDS).decode().split()
    flat = " ".join(words)
    if "commons clause" in flat:
        return None
    matches = [rule for rule in _RULES if _matches(rule, flat, len(words))]
    return matches[0].identifier if len(matches) == 1 else None


def _matches(rule: _Rule, flat: str, words: int) -> bool:
    return (
        words <= rule.words + rule.slack
        and all(phrase in flat for phrase in rule.phrases)
        and not (rule.words < _SHORT and any(phrase in flat for phrase in _ADDED_CONDITIONS))
        and not any(phrase in flat for phrase in rule.without)
    )
