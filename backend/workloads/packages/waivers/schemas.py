"""What the waiver API reads and answers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from backend.identity.schemas import GivenMoment, Moment
from backend.workloads.packages.schemas import Id, Page, Stored, Text
from backend.workloads.packages.waivers.model import StoredWaiver
from backend.workloads.packages.waivers.settling import Settled
from backend.workloads.packages.waivers.wishes import Wish, wish

Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=214)]
State = Literal["proposed", "in force", "expired", "revoked", "lapsed"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WaiverIn(_Body):
    """``purl``: ``pkg:npm/NAME@RANGE``, a range in npm's words.

    ``finding`` or ``licence`` is what is waived: an advisory's id or alias, or an SPDX identifier.
    ``component`` names the bundled package that the finding is about; without it the finding is
    about the package itself. ``expires_at`` is 180 days away at most.
    """

    purl: Annotated[str, StringConstraints(max_length=1000)]
    finding: Word | None = None
    component: Name | None = None
    licence: Word | None = None
    reason: Text
    expires_at: GivenMoment

    def wish(self, now: datetime) -> Wish:
        return wish(
            self.purl, finding=self.finding, component=self.component, licence=self.licence,
            reason=self.reason, expires_at=self.expires_at, now=now,
        )  # fmt: skip


class RevokeIn(_Body):
    reason: Text


class WaiversIn(Page):
    """``name`` shows those of one package alone."""

    name: Name | None = None


class WaiverOut(Stored):
    """``state``: proposed, in force, expired, revoked; lapsed where nobody seconded it in time."""

    id: int
    state: State
    name: str
    range: str
    finding: str | None
    component: str | None
    licence: str | None
    reason: str
    proposed_by: Id
    proposed_at: Moment
    seconded_by: Id | None
    seconded_at: Moment | None
    expires_at: Moment
    revoked_by: Id | None
    revoked_at: Moment | None
    revoked_because: str | None

    @classmethod
    def of(cls, waiver: StoredWaiver) -> "WaiverOut":
        names = [name for name in WaiverOut.model_fields if name != "state"]
        shown = {name: getattr(waiver, name) for name in names}
        return cls(state=_state(waiver, datetime.now(UTC)), **shown)


def _state(waiver: StoredWaiver, now: datetime) -> State:
    if waiver.revoked_at is not None:
        return "revoked"
    if waiver.expires_at <= now:
        return "lapsed" if waiver.seconded_at is None else "expired"
    return "proposed" if waiver.seconded_at is None else "in force"


class Resting(Stored):
    id: int
    name: str
    version: str
    status: str


class WaiverDetail(BaseModel):
    """``packages``: those whose verdicts rest on it, a thousand at most."""

    waiver: WaiverOut
    packages: list[Resting]

    @classmethod
    def of(cls, waiver: StoredWaiver, packages: Sequence[Any]) -> "WaiverDetail":
        resting = [Resting.model_validate(package) for package in packages]
        return cls(waiver=WaiverOut.of(waiver), packages=resting)


class WaiversOut(BaseModel):
    waivers: list[WaiverOut]
    next: int | None

    @classmethod
    def of(cls, found: Sequence[StoredWaiver], limit: int) -> "WaiversOut":
        shown = [*map(WaiverOut.of, found[:limit])]
        return cls(waivers=shown, next=shown[-1].id if len(found) > limit else None)


class WaiverProposedOut(BaseModel):
    message: str
    waiver: WaiverOut

    @classmethod
    def of(cls, waiver: StoredWaiver) -> "WaiverProposedOut":
        message = f"Waiver {waiver.id} is proposed: another admin must second it."
        return cls(message=message, waiver=WaiverOut.of(waiver))


class WaiverSettledOut(BaseModel):
    """``reopened`` packages are judged again; ``flagged`` are published, and may be recalled."""

    message: str
    waiver: WaiverOut
    reopened: list[int]
    flagged: list[int]

    @classmethod
    def of(cls, waiver: StoredWaiver, done: Settled) -> "WaiverSettledOut":
        shown = WaiverOut.of(waiver)
        message = (
            f"Waiver {waiver.id} is {shown.state}; {len(done.reopened)} packages are judged again"
        )
        if done.flagged:
            message += f", {len(done.flagged)} are published and rest on it no more: recall them"
        return cls(
            message=f"{message}.", waiver=shown,
            reopened=list(done.reopened), flagged=list(done.flagged),
        )  # fmt: skip


class WaiverFlagOut(Stored):
    """A published package that rests on a waiver which has ended; ``recall`` says where to."""

    id: int
    package_id: int
    name: str
    version: str
    purl: str
    status: str
    waiver_id: int
    finding: str | None
    component: str | None
    licence: str | None
    expires_at: Moment
    revoked_at: Moment | None
    since: Moment
    requests: int
    recall: str = ""

    @classmethod
    def of(cls, row: Any) -> "WaiverFlagOut":
        shown = cls.model_validate(row)
        shown.recall = f"/api/packages/{shown.package_id}/recall"
        return shown


class WaiverFlagsOut(BaseModel):
    flags: list[WaiverFlagOut]
    next: int | None

    @classmethod
    def of(cls, found: Sequence[Any], limit: int) -> "WaiverFlagsOut":
        shown = [*map(WaiverFlagOut.of, found[:limit])]
        return cls(flags=shown, next=shown[-1].id if len(found) > limit else None)
