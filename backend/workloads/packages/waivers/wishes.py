"""What somebody wants waived, and why it may not be: one package, one matter, for a while."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NoReturn

from backend.problems import Malformed
from backend.workloads.packages import denial
from backend.workloads.packages.licences.expression import single_licence
from backend.workloads.packages.lockfile.coordinates import valid_name
from backend.workloads.packages.ranges import takes_everything
from backend.workloads.packages.waivers.model import LONGEST

_FINDING: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
# What its id tells of; a finding whose kind alone tells is not covered when it is judged.
_NEVER: Final = re.compile(
    r"mal-|malware|(?!secret:).*(integrity|mismatch)|heuristic|(similar-name|install-script|guarddog):",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Wish:
    """Of ``finding`` and ``licence`` one is None. ``range`` is npm's."""

    name: str
    range: str
    finding: str | None
    component: str | None
    licence: str | None
    reason: str
    expires_at: datetime


def wish(
    purl: str,
    *,
    finding: str | None,
    component: str | None,
    licence: str | None,
    reason: str,
    expires_at: datetime,
    now: datetime,
) -> Wish:
    """Read one.

    Args:
        purl: ``pkg:npm/NAME@RANGE``.
        component: the bundled package that ``finding`` is about; None for the package itself.

    Raises:
        Malformed: ``malformed-purl``, ``malformed-range``, ``waiver-matter``,
            ``waiver-covers-everything``, ``waiver-not-waivable`` or ``waiver-expiry``.
        Unsupported: it is another ecosystem's.
    """
    what = _package(purl)
    if (finding is None) == (licence is None):
        raise Malformed("Name one finding, or one licence.", code="waiver-matter")
    return Wish(
        name=what.name,
        range=what.range,
        finding=_finding(finding) if finding is not None else None,
        component=_component(component, what.name, finding),
        licence=_one_licence(licence) if licence is not None else None,
        reason=reason,
        expires_at=_expiry(expires_at, now),
    )


def _package(purl: str) -> denial.Denied:
    if purl.strip() in {"", "*"}:
        _everything("a waiver is for one package: pkg:npm/NAME@RANGE")
    what = denial.parse(purl)
    if "*" in what.name:
        _everything("a waiver is for one package, and knows no wildcard")
    if takes_everything(what.range):
        _everything(f"{what.range} takes every version: say from which to which")
    return what


def _finding(finding: str) -> str:
    if finding == "*":
        _everything("a waiver is for one finding")
    if not _FINDING.fullmatch(finding):
        raise Malformed("Name the finding by its id: GHSA-…, CVE-….", code="waiver-matter")
    if _NEVER.match(finding):
        raise never_waived(finding)
    return finding


def never_waived(finding: str) -> Malformed:
    return Malformed(
        f"{finding} cannot be waived: malware, what only hints at it, and bytes that are not those"
        " that were promised never are.",
        code="waiver-not-waivable",
    )


def _component(component: str | None, name: str, finding: str | None) -> str | None:
    if component is None or component == name:
        return None
    if finding is None:
        raise Malformed("A component goes with a finding.", code="waiver-matter")
    if not valid_name(component) or "*" in component:
        raise Malformed("npm knows no component of such a name.", code="waiver-matter")
    return component


def _one_licence(licence: str) -> str:
    read = single_licence(" ".join(licence.split()))
    if licence.strip() == "*":
        _everything("a waiver is for one licence")
    if read is None:
        raise Malformed("Name one licence by its SPDX identifier.", code="waiver-matter")
    return read.text


def _expiry(expires_at: datetime, now: datetime) -> datetime:
    if not now < expires_at <= now + LONGEST:
        raise Malformed(
            f"A waiver ends within {LONGEST // timedelta(days=1)} days, and not before it begins.",
            code="waiver-expiry",
        )
    return expires_at


def _everything(why: str) -> NoReturn:
    raise Malformed(f"It covers everything: {why}.", code="waiver-covers-everything")
