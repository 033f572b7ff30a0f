"""A licence as SBOM formats take it: an SPDX expression, or none."""

from backend.workloads.packages.licences.expression import (
    Unreadable,
    licences_of,
    parse,
    render,
)
from backend.workloads.packages.licences.spdx import canonical_licence, spdx_index


def spdx_expression(text: str | None) -> str | None:
    """``text`` in SPDX's spelling; None where it is unreadable or names what SPDX does not list.

    A ``LicenseRef-`` is none either: nobody has the text that it would stand for.
    """
    expression = parse(text)
    if isinstance(expression, Unreadable):
        return None
    known = all(_is_listed(licence.text) for licence in licences_of(expression))
    return render(expression) if known else None


def _is_listed(name: str) -> bool:
    licence, _, exception = name.partition(" WITH ")
    bare = licence.removesuffix("+")
    if exception and spdx_index().exceptions.get(exception.casefold()) != exception:
        return False
    return canonical_licence(bare) == bare
