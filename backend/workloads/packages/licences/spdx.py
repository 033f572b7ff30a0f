"""The SPDX identifiers that license-expression knows, and what replaced the deprecated ones."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

# Names that the index lists beside the SPDX ones but that are ambiguous in the wild; spellings.py
# judges them by their strictest reading.
_NOT_SPDX = frozenset({"gpl", "gpl 2.0", "gpl 2.0+", "bsd-2"})

# Deprecated identifiers that name a licence and its exception in one word, and what SPDX's own
# list says to write instead.
_COMPOSITES = {
    "eCos-2.0": "GPL-2.0-or-later WITH eCos-exception-2.0",
    "GPL-2.0-with-autoconf-exception": "GPL-2.0-only WITH Autoconf-exception-2.0",
    "GPL-2.0-with-bison-exception": "GPL-2.0-only WITH Bison-exception-2.2",
    "GPL-2.0-with-classpath-exception": "GPL-2.0-only WITH Classpath-exception-2.0",
    "GPL-2.0-with-font-exception": "GPL-2.0-only WITH Font-exception-2.0",
    "GPL-2.0-with-GCC-exception": "GPL-2.0-only WITH GCC-exception-2.0",
    "GPL-3.0-with-autoconf-exception": "GPL-3.0-only WITH Autoconf-exception-3.0",
    "GPL-3.0-with-GCC-exception": "GPL-3.0-only WITH GCC-exception-3.1",
    "wxWindows": "LGPL-2.0-or-later WITH WxWindows-exception-3.1",
}


@dataclass(frozen=True, slots=True)
class SpdxIndex:
    """Identifiers by their case-folded form; SPDX compares identifiers without regard to case.

    Deprecated identifiers map to their successor (``gpl-2.0+`` to ``GPL-2.0-or-later``).
    ``LicenseRef-`` names are left out: each document defines its own, so no list can know them.
    """

    licences: Mapping[str, str]
    exceptions: Mapping[str, str]


@lru_cache(maxsize=1)
def spdx_index() -> SpdxIndex:
    """Load the index once, at the first judgement: about 50 ms that an idle import need not pay."""
    from license_expression import get_license_index

    tables: dict[bool, dict[str, str]] = {False: {}, True: {}}
    for record in get_license_index():
        names = [name for name in _names(record) if not name.startswith("LicenseRef-")]
        for name in names:
            if name.casefold() not in _NOT_SPDX:
                tables[record["is_exception"]].setdefault(name.casefold(), names[0])
    for old, new in _COMPOSITES.items():  # the index calls some of these exceptions
        tables[False][old.casefold()] = new
        tables[True].pop(old.casefold(), None)
    return SpdxIndex(MappingProxyType(tables[False]), MappingProxyType(tables[True]))


def canonical_licence(word: str) -> str | None:
    """The SPDX spelling of one identifier, deprecated ones renewed; None for one SPDX has not."""
    return spdx_index().licences.get(word.casefold())


def or_later(identifier: str) -> str | None:
    """The identifier that means ``identifier`` or any later version, where SPDX gives it one."""
    return canonical_licence(re.sub("-only$", "", identifier) + "-or-later")


def _names(record: Mapping[str, object]) -> list[str]:
    first, others = record["spdx_license_key"], record["other_spdx_license_keys"]
    names = [first, *others] if isinstance(others, list) else [first]
    return [name for name in names if isinstance(name, str)]
