"""What the packages API reads and answers."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import to_json

from backend.identity.schemas import Moment
from backend.operations import UploadedFile
from backend.workloads.packages import service
from backend.workloads.packages.submission import Submitted

Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Tier = Literal["always_allowed", "allowed", "avoid", "blocked"]


class Stored(BaseModel):
    """Built from a database row."""

    model_config = ConfigDict(from_attributes=True)


class Application(BaseModel):
    name: str
    version: str


class ById(BaseModel):
    id: Id


class UploadIn(BaseModel):
    """A lock file; ``priority`` 10 is most urgent."""

    file: UploadedFile
    priority: int = Field(5, ge=1, le=10)


class Excluded(Stored):
    entry: str
    reason: str
    detail: str


class UploadOut(BaseModel):
    status: Literal["queued"] = "queued"
    request_id: int
    application: Application
    packages: int
    excluded: list[Excluded]
    message: str

    @classmethod
    def of(cls, submitted: Submitted, excluded: Sequence[Any]) -> "UploadOut":
        known = submitted.packages - submitted.fresh
        return cls(
            request_id=submitted.request_id,
            application=Application(name=submitted.application_name, version=submitted.version),
            packages=submitted.packages,
            excluded=[Excluded.model_validate(e, from_attributes=True) for e in excluded],
            message=f"{submitted.packages} packages queued: {submitted.fresh} new, {known} known "
            f"({submitted.again} of them vetted again), {len(excluded)} entries excluded.",
        )


class Page(BaseModel):
    """Keyset pagination: pass the last answer's ``next`` as ``before``."""

    before: Id | None = None
    limit: int = Field(50, ge=1, le=200)


class RequestOut(BaseModel):
    id: int
    application_name: str
    version: str
    status: str
    lock_format: str
    entries: int
    total_packages: int
    completed_packages: int
    completion_percentage: float
    created_at: Moment
    requestor: str
    package_counts: dict[str, int]

    @classmethod
    def of(cls, summary: service.RequestSummary) -> "RequestOut":
        return cls(
            id=summary.id,
            application_name=summary.application_name,
            version=summary.version,
            status=summary.status,
            lock_format=summary.lock_format,
            entries=summary.entries,
            total_packages=summary.total,
            completed_packages=summary.completed,
            completion_percentage=summary.percentage,
            created_at=summary.created_at,
            requestor=summary.requestor,
            package_counts=summary.counts,
        )


class RequestsOut(BaseModel):
    requests: list[RequestOut]
    next: int | None


class FindingOut(BaseModel):
    id: str
    aliases: list[str]
    kind: str
    severity: str
    title: str | None
    fixed: list[str]
    source: str
    component: str


class FlagSeen(BaseModel):
    """An advisory that concerns the package, and that its verdict does not know of."""

    advisory: str
    aliases: list[str]
    kind: str
    severity: str
    title: str | None
    fixed: list[str]
    component: str
    source: str
    since: Moment


class RulingOut(BaseModel):
    """A rule of the policy that had a part in the verdict, and why."""

    rule: str
    effect: Literal["reject", "hold", "approve"]
    reason: str


class WaiverRestedOn(BaseModel):
    """A waiver that a verdict rests on; once it has ended the verdict is another one.

    ``finding`` or ``licence`` is what it covers, ``component`` the bundled package that a finding
    is about; None for the package itself.
    """

    id: int
    range: str
    finding: str | None
    component: str | None
    licence: str | None
    reason: str
    proposed_by: str
    seconded_by: str | None
    seconded_at: Moment | None
    expires_at: Moment
    revoked_at: Moment | None
    in_force: bool


class PackageOut(BaseModel):
    """One package of a request. ``id`` is its queue row's; ``coverage`` None = never scanned."""

    id: int
    name: str
    version: str
    purl: str
    status: str
    failure: str | None
    error: str | None
    security_score: int | None
    license_score: int | None
    license_identifier: str | None
    license_status: str | None
    type: str
    scan_result: str | None
    verdict_digest: str | None
    integrity: str
    checked: str | None
    entries: list[str]
    dev: bool
    optional: bool
    attempts: int
    available_at: Moment | None
    updated_at: Moment
    findings: list[FindingOut]
    coverage: list[dict[str, Any]] | None
    notes: list[str]
    flags: list[FlagSeen]
    rulings: list[RulingOut]
    waivers: list[WaiverRestedOn]


class NoticeOut(BaseModel):
    kind: str
    entry: str
    detail: str


class RequestDetail(BaseModel):
    request: RequestOut
    packages: list[PackageOut]
    excluded: list[Excluded]
    notices: list[NoticeOut]

    @staticmethod
    def text(shown: service.RequestShown) -> str:
        """One as JSON. The database has written the lists; nothing takes them apart again."""
        return (
            f'{{"request":{RequestOut.of(shown.summary).model_dump_json()},'
            f'"packages":{shown.packages},"excluded":{shown.excluded},"notices":{shown.notices}}}'
        )


class PackageProgress(BaseModel):
    id: int
    name: str
    version: str
    status: str
    failure: str | None
    error: str | None


class RequestProgress(BaseModel):
    request_id: int
    application_name: str
    application_version: str
    status: str
    total_packages: int
    completed_packages: int
    progress_percentage: float
    status_counts: dict[str, int]
    packages: list[PackageProgress]
    timestamp: Moment

    @staticmethod
    def text(shown: service.RequestShown) -> str:
        """One as JSON, with the packages as the database has written them."""
        summary = shown.summary
        about = {
            "request_id": summary.id,
            "application_name": summary.application_name,
            "application_version": summary.version,
            "status": summary.status,
            "total_packages": summary.total,
            "completed_packages": summary.completed,
            "progress_percentage": summary.percentage,
            "status_counts": summary.counts,
            "timestamp": datetime.now(UTC),
        }
        return f'{to_json(about).decode()[:-1]},"packages":{shown.packages}}}'


class Activity(BaseModel):
    package_name: str
    package_version: str
    status: str
    updated_at: Moment


class QueueOut(BaseModel):
    depth: int
    later: int
    held: int
    oldest_wait_seconds: float
    workers: int


class ProcessingOut(BaseModel):
    status_counts: dict[str, int]
    total_requests: int
    recent_activity: list[Activity]
    queue: QueueOut
    timestamp: Moment

    @classmethod
    def of(cls, now: service.Processing) -> "ProcessingOut":
        return cls(
            status_counts=now.status_counts,
            total_requests=now.total_requests,
            recent_activity=[
                Activity(package_name=n, package_version=v, status=s, updated_at=t)
                for n, v, s, t in now.recent
            ],
            queue=QueueOut(
                depth=now.depth.ready,
                later=now.depth.later,
                held=now.depth.held,
                oldest_wait_seconds=round(now.depth.oldest_wait_seconds, 3),
                workers=now.workers,
            ),
            timestamp=datetime.now(UTC),
        )


class RetryIn(BaseModel):
    """``include_rejected`` vets anew what was refused; it needs a reason."""

    model_config = ConfigDict(extra="forbid")

    include_rejected: bool = False
    reason: Text | None = None


class RetryAnyIn(RetryIn):
    request_id: Id | None = None


class RetryOut(BaseModel):
    message: str
    retried: int
    request_id: int | None


class WithdrawOut(BaseModel):
    message: str
    request_id: int
    cancelled: int


class LicenceIn(BaseModel):
    """``identifier`` is an SPDX id, or ``id WITH exception``."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    identifier: Annotated[
        str,
        StringConstraints(
            strip_whitespace=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9 .+-]*$", max_length=200
        ),
    ]
    status: Tier


class LicenceOut(Stored):
    id: int
    name: str
    identifier: str
    status: Tier
    created_at: Moment
    updated_at: Moment


class LicencesOut(BaseModel):
    licenses: list[LicenceOut]


class ConfigOut(BaseModel):
    """``configured`` with secrets masked; ``missing`` says what does not work without it."""

    configured: Mapping[str, Any]
    missing: Mapping[str, str]
