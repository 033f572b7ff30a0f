"""What waivers cover in one verdict. Pure functions.

A waiver lifts what one finding or one licence holds against a package; whether somebody then wants
the package is a person's to decide. It knows findings by their shape alone.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, Protocol, TypeVar
from urllib.parse import unquote

from backend.workloads.packages.licences import LicenceVerdict, looser
from backend.workloads.packages.ranges import includes

WAIVABLE: Final = ("vulnerability", "undetermined", "secret", "licence")
"""Kinds of findings that a waiver may cover: malware and guesses about it are none of them."""

_MALWARE: Final = "mal-"  # a record of malware is one, also where its kind does not say so


class Waivable(Protocol):
    """One finding; ``component`` is the package URL of what it is about."""

    @property
    def id(self) -> str: ...
    @property
    def aliases(self) -> Sequence[str]: ...
    @property
    def kind(self) -> str: ...
    @property
    def component(self) -> str: ...


Found = TypeVar("Found", bound=Waivable)
Allowing = Callable[[Collection[str]], LicenceVerdict]


@dataclass(frozen=True, slots=True)
class Waiver:
    """One that is in force. Of ``finding`` and ``licence`` one is None.

    ``component`` names the bundled package that the finding is about; None for the package itself.
    """

    id: int
    range: str
    finding: str | None
    component: str | None
    licence: str | None
    until: datetime

    @property
    def words(self) -> str:
        """What it covers, in a sentence's words."""
        if self.licence is not None:
            return f"the licence {self.licence}"
        return f"{self.finding} in {self.component}" if self.component else f"{self.finding}"

    def covers(self, finding: Waivable, name: str) -> bool:
        """Whether it is about this finding of the package ``name``."""
        if self.finding is None or finding.kind not in WAIVABLE:
            return False
        named = {known.casefold() for known in (finding.id, *finding.aliases)}
        if self.finding.casefold() not in named or any(id_.startswith(_MALWARE) for id_ in named):
            return False
        about = unquote(finding.component.removeprefix("pkg:npm/").rpartition("@")[0])
        return about == (self.component or name)


@dataclass(frozen=True, slots=True)
class Waived(Generic[Found]):
    """What is left to be judged, and the waivers without which there would be more, by id."""

    findings: Sequence[Found]
    licence: LicenceVerdict
    waivers: tuple[Waiver, ...] = ()


def of_version(version: str, rows: Sequence[Mapping[str, Any]] | None) -> tuple[Waiver, ...]:
    """Which of a package's waivers are for ``version``, in their order.

    Args:
        rows: what ``in_force.WAIVERS`` answered; mostly None.
    """
    return tuple(
        Waiver(**{**row, "until": datetime.fromisoformat(row["until"])})
        for row in rows or ()
        if includes(row["range"], version)
    )


def waive(
    waivers: Sequence[Waiver],
    name: str,
    findings: Sequence[Found],
    licence: LicenceVerdict,
    allowing: Allowing,
) -> Waived[Found]:
    """Leave out what waivers cover. Of several for one thing the first counts.

    Args:
        waivers: of this version of the package ``name``.
        licence: the verdict as it is without them.
        allowing: the verdict as it would be were these licences allowed.
    """
    if not waivers:
        return Waived(findings, licence)
    covering = [next((w for w in waivers if w.covers(f, name)), None) for f in findings]
    left = [f for f, waiver in zip(findings, covering, strict=True) if waiver is None]
    verdict, needed = waived_licence(waivers, licence, allowing)
    used = {waiver.id: waiver for waiver in (*covering, *needed) if waiver}
    return Waived(left, verdict, tuple(used[i] for i in sorted(used)))


def waived_licence(
    waivers: Sequence[Waiver], verdict: LicenceVerdict, allowing: Allowing
) -> tuple[LicenceVerdict, Sequence[Waiver]]:
    """The verdict with what is waived, and the waivers that it takes; see :func:`waive`."""
    named = {w.licence: w for w in reversed(waivers) if w.licence is not None}
    if not named or not looser((best := allowing([*named])).tier, verdict.tier):
        return verdict, ()
    for one in tuple(named):
        fewer = [other for other in named if other != one]
        if not looser(best.tier, (allowing(fewer) if fewer else verdict).tier):
            del named[one]
    return best, [*named.values()]
