"""Whether a person's word forbids a version: npm's ranges, matched as npm matches them."""

from collections.abc import Sequence
from typing import Final

from backend.workloads.packages.ranges import holds, read
from backend.workloads.packages.semver import parse

DENIALS: Final = """
(SELECT json_agg(json_build_array(d.range, d.reason) ORDER BY d.id) FROM denied_packages d
 WHERE d.ecosystem = p.ecosystem AND d.name = p.name AND d.lifted_at IS NULL)
"""
"""In SQL: what is denied of the package ``p``, as JSON pairs of range and reason; mostly NULL."""

FOLDER: Final = "regexp_replace(c ->> 'path', '/package[.]json$', '')"
"""In SQL: where in the tarball the component ``c`` of an inspection lies."""

COPY_DENIALS: Final = f"""
(SELECT json_agg(json_build_array(
    c ->> 'name', c ->> 'version', {FOLDER}, d.range, d.reason) ORDER BY d.id, c ->> 'path')
 FROM jsonb_array_elements(e.inspection -> 'components') c
 JOIN denied_packages d ON d.name = c ->> 'name'
 WHERE d.ecosystem = 'npm' AND d.lifted_at IS NULL)
"""  # noqa: S608 - constants of this module
"""In SQL: what is denied of the copies inside the tarball whose evidence is ``e``; mostly NULL.

JSON lists of name, version, folder, range and reason.
"""

_KEY: Final = "hashtextextended('lockkeeper.denials', 0)"

LOCK: Final = f"SELECT pg_advisory_xact_lock({_KEY})"
"""Held while a denial is stored and all that it concerns is swept."""

WAIT: Final = f"SELECT pg_advisory_xact_lock_shared({_KEY})"
"""Goes before a look at denials that a verdict will rest on, which locks no rows: :data:`LOCK` is
waited for. What was there before the denial is swept, and who looks afterwards sees the word."""


def denial_of(
    version: str,
    denials: Sequence[Sequence[str]] | None,
    copies: Sequence[Sequence[str]] | None = None,
) -> str | None:
    """Why a package is denied, in a sentence; None where it is not.

    Args:
        denials: what :data:`DENIALS` answered.
        copies: what :data:`COPY_DENIALS` answered.
    """
    own = (f"denied: {reason}" for range_, reason in denials or () if denies(range_, version))
    brought = (
        copy_denied(name, copied, folder, reason)
        for name, copied, folder, range_, reason in copies or ()
        if denies(range_, copied)
    )
    return next(own, None) or next(brought, None)


def copy_denied(name: str, version: str, folder: str, reason: str) -> str:
    """Why a package is denied that has a denied one inside."""
    return f"denied: it bundles {name}@{version} in {folder}: {reason}"


def denies(range_: str, version: str) -> bool:
    """Whether the range has the version. Where either cannot be read, it is denied.

    Versions are in npm's order, whatever npm thinks of pre-releases in ranges: one is denied where
    it stands in the range itself, and also with the release that it leads to.
    """
    key = parse(version)
    sets = read(range_)
    if key is None or sets is None:
        return True
    spoken_of = (key, (*key[:3], True, ()))
    return any(all(holds(c, one) for c in comparators) for comparators in sets for one in spoken_of)
