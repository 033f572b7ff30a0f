"""What approvers read and answer."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from backend.identity.schemas import Moment
from backend.workloads.packages.approval import Decided
from backend.workloads.packages.denial import Denied, Swept
from backend.workloads.packages.schemas import FindingOut, Id, Stored, Text, WaiverRestedOn

BATCH: Final = 1000  # packages

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Ids = Annotated[list[Id], Field(min_length=1, max_length=BATCH)]
Purl = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ApproveIn(Body):
    """``verdict_digests`` names the verdict that was seen, by package id; each needs one."""

    package_ids: Ids
    verdict_digests: dict[Id, Digest] = Field({}, max_length=BATCH)
    reason: Text | None = None


class RejectIn(Body):
    package_ids: Ids
    reason: Text | None = None


class ReasonIn(Body):
    reason: Text


class FailedPackage(Stored):
    """``code``: not-found, not-pending, four-eyes, denied, verdict-missing, verdict-changed.

    Also advisory-flagged and waiver-ended: what the verdict says is not so any more.
    """

    id: int
    code: str
    error: str


class _DecidedOut(BaseModel):
    message: str
    total_requested: int
    package_ids: list[int]
    failed_packages: list[FailedPackage]

    @staticmethod
    def members(decided: Decided, verb: str) -> dict[str, Any]:
        done, failed = len(decided.done), len(decided.failed)
        left = f", {failed} left alone" if failed else ""
        return {
            "message": f"{done} packages {verb}{left}.",
            "total_requested": done + failed,
            "package_ids": decided.done,
            "failed_packages": [FailedPackage.model_validate(one) for one in decided.failed],
        }


class ApprovedOut(_DecidedOut):
    approved_count: int

    @classmethod
    def of(cls, decided: Decided) -> "ApprovedOut":
        members = cls.members(decided, "approved")
        return cls(**members, approved_count=len(decided.done))


class RejectedOut(_DecidedOut):
    rejected_count: int

    @classmethod
    def of(cls, decided: Decided) -> "RejectedOut":
        members = cls.members(decided, "rejected")
        return cls(**members, rejected_count=len(decided.done))


class WaitingPage(BaseModel):
    """Keyset pagination: pass the last answer's ``next`` as ``after``."""

    after: int = Field(0, ge=0, le=2**63 - 1)
    limit: int = Field(50, ge=1, le=200)
    request_id: Id | None = None


class AskedBy(BaseModel):
    id: int
    application_name: str
    version: str
    requestor: str


class Waiting(Stored):
    """``own``: the caller may not decide about it. ``requests``: the newest that ask for it."""

    id: int
    name: str
    version: str
    purl: str
    status: str
    verdict_digest: str | None
    vetted_at: Moment | None
    security_score: int | None
    scan_result: str | None
    license_identifier: str | None
    license_status: str | None
    license_score: int | None
    sha512: str | None
    checked: str
    own: bool
    findings: list[FindingOut]
    notes: list[str]
    requests: list[AskedBy]
    waivers: list[WaiverRestedOn]


class WaitingOut(BaseModel):
    packages: list[Waiting]
    next: int | None

    @classmethod
    def of(cls, found: Sequence[Any], limit: int) -> "WaitingOut":
        shaped = [Waiting.model_validate(row) for row in found[:limit]]
        return cls(packages=shaped, next=shaped[-1].id if len(found) > limit else None)


class PublishOut(BaseModel):
    message: str
    package_id: int
    status: str


class RecallOut(BaseModel):
    """``status``: Pending Approval where nothing was published; Recalled, perhaps only soon."""

    message: str
    package_id: int
    status: Literal["Pending Approval", "Recalled"]


class DenyIn(Body):
    """``purl``: ``pkg:npm/NAME@RANGE``, a range in npm's words; without one, every version."""

    purl: Purl
    reason: Text


class DeniedOut(BaseModel):
    """What it ended at once: refused packages, and published ones that the publisher takes back."""

    message: str
    id: int
    name: str
    range: str
    rejected: list[int]
    recalled: list[int]

    @classmethod
    def of(cls, denial_id: int, what: Denied, swept: Swept) -> "DeniedOut":
        return cls(
            message=f"{what.name} {what.range} is denied: {len(swept.rejected)} packages refused,"
            f" {len(swept.recalled)} recalled.",
            id=denial_id,
            name=what.name,
            range=what.range,
            rejected=swept.rejected,
            recalled=swept.recalled,
        )


class DenialOut(Stored):
    id: int
    name: str
    range: str
    reason: str
    denied_at: Moment


class DenialsOut(BaseModel):
    denied: list[DenialOut]
