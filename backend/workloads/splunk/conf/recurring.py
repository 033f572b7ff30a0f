"""Which names come more than once in a conf file, told in a small part of the memory they need."""

import re
from collections.abc import Iterable
from typing import Final

from backend.workloads.splunk.conf.stanza import DEFAULT, TooMuch

MOST_RECURRING: Final = 100_000
_HEADER: Final = re.compile(r"^[ \t\v\f\r]*\[(.*)\]", re.MULTILINE)


def recurring_names(texts: Iterable[str], size: int) -> set[str]:
    """All names that recur, and about one in a hundred of those that do not.

    A Bloom filter with two bits for each name. What looks like a header but continues a value
    counts too; that costs its namesake a place among the names that recur, and nothing else.

    Args:
        texts: pieces that begin and end with a line.
        size: their bytes, all together.

    Raises:
        TooMuch: more than ``MOST_RECURRING`` names recur.
    """
    seen = bytearray(max(size // 4, 1))
    bits = len(seen) * 8
    recurring: set[str] = set()
    for text in texts:
        for name in _HEADER.findall(text):
            mixed = hash(name)
            first, second = mixed % bits, (mixed >> 24) * 0x9E3779B1 % bits
            mask, other = 1 << (first & 7), 1 << (second & 7)
            if seen[first >> 3] & mask and seen[second >> 3] & other:
                recurring.add(name)
                if len(recurring) > MOST_RECURRING:
                    raise TooMuch(f"more than {MOST_RECURRING:,} stanzas come more than once")
            seen[first >> 3] |= mask
            seen[second >> 3] |= other
    recurring.add(DEFAULT)
    return recurring
