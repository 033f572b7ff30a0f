"""What the advisories API answers."""

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from backend.identity.schemas import Moment
from backend.workloads.packages.schemas import Id, Page

RECALLABLE: Final = ("Approved", "Publishing", "Published")


class _Row(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ImportOut(_Row):
    """One import. ``checked`` artifacts were looked at, ``reopened`` packages are judged anew."""

    id: int
    source: str
    digest: str
    read: int
    added: int
    changed: int
    records: int
    newest: Moment | None
    checked: int
    raised: int
    lifted: int
    reopened: int
    imported_at: Moment


class AdvisoriesOut(BaseModel):
    """Age and coverage.

    ``age_seconds`` is that of the youngest record, None where there is none. ``complete`` is what
    the operator declares. ``unchecked`` artifacts came after the last import.
    """

    records: int
    withdrawn: int
    malware: int
    packages: int
    newest: Moment | None
    age_seconds: float | None
    complete: bool
    artifacts: int
    unchecked: int
    flagged: int
    imports: list[ImportOut]

    @classmethod
    def of(cls, known: Any, imports: Sequence[Any], *, complete: bool) -> "AdvisoriesOut":
        newest = known.newest
        return cls(
            records=known.records,
            withdrawn=known.withdrawn,
            malware=known.malware,
            packages=known.packages,
            newest=newest,
            age_seconds=round((known.at - newest).total_seconds(), 3) if newest else None,
            complete=complete,
            artifacts=known.artifacts,
            unchecked=known.unchecked if imports else known.artifacts,
            flagged=known.flagged,
            imports=[ImportOut.model_validate(one) for one in imports],
        )


class FlagsIn(Page):
    """``lifted`` shows also what was lifted, ``package_id`` all flags of one package."""

    package_id: Id | None = None
    lifted: bool = False


class FlagOut(_Row):
    """An advisory against a package whose verdict does not know of it.

    ``recall`` is where to recall the package, None where there is nothing to recall.
    """

    id: int
    package_id: int
    name: str
    version: str
    status: str
    advisory: str
    aliases: list[str]
    kind: str
    severity: str
    title: str | None
    fixed: list[str]
    component: str
    source: str
    since: Moment
    lifted_at: Moment | None
    lifted_because: str | None
    requests: int
    recall: str | None = None

    @classmethod
    def of(cls, row: Any) -> "FlagOut":
        shown = cls.model_validate(row)
        if shown.lifted_at is None and shown.status in RECALLABLE:
            shown.recall = f"/api/packages/{shown.package_id}/recall"
        return shown


class FlagsOut(BaseModel):
    flags: list[FlagOut]
    next: int | None
