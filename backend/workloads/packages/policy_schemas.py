"""What the policy API reads and answers."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.identity.schemas import Moment
from backend.workloads.packages.policies.history import Difference, Page
from backend.workloads.packages.policies.loosening import Change
from backend.workloads.packages.policies.model import LicenceProposal, PolicyVersion
from backend.workloads.packages.policies.reading import MAX_BYTES
from backend.workloads.packages.policies.rules import Judgement
from backend.workloads.packages.policies.versions import Proposed
from backend.workloads.packages.schemas import Id, Stored, Text, Tier

Source = Annotated[str, Field(min_length=1, max_length=MAX_BYTES)]


class PolicySource(BaseModel):
    """``source`` is a policy's YAML."""

    model_config = ConfigDict(extra="forbid")

    source: Source


class PolicyIn(PolicySource):
    reason: Text | None = None


class PolicyTestIn(PolicySource):
    """One page of packages, those with ids above ``after``."""

    after: int = Field(0, ge=0, le=2**63 - 1)
    limit: int = Field(200, ge=1, le=500)


class PolicyOut(BaseModel):
    """One version. ``effective_at`` is None for a proposal; nobody proposed what was shipped."""

    version: int
    digest: str
    document: dict[str, Any]
    source: str
    loosens: list[str]
    reason: str | None
    based_on: int | None
    proposed_by: int | None
    proposed_at: Moment
    seconded_by: int | None
    seconded_at: Moment | None
    effective_at: Moment | None

    @classmethod
    def of(cls, version: PolicyVersion) -> "PolicyOut":
        names = [name for name in cls.model_fields if name != "version"]
        return cls(version=version.id, **{name: getattr(version, name) for name in names})


class PoliciesOut(BaseModel):
    """The policy in force, and what another admin may second."""

    policy: PolicyOut
    proposals: list[PolicyOut]

    @classmethod
    def of(cls, current: PolicyVersion, proposals: Sequence[PolicyVersion]) -> "PoliciesOut":
        return cls(policy=PolicyOut.of(current), proposals=[*map(PolicyOut.of, proposals)])


class PolicyVersionsOut(BaseModel):
    versions: list[PolicyOut]
    next: int | None


class ChangeOut(BaseModel):
    key: str
    before: Any
    after: Any
    loosens: bool

    @classmethod
    def all_of(cls, changes: Sequence[Change]) -> "list[ChangeOut]":
        return [cls(key=c.key, before=c.before, after=c.after, loosens=c.loosens) for c in changes]


class PolicyProposedOut(BaseModel):
    """``proposed`` waits for another admin; ``reopened`` packages are judged again."""

    version: int
    status: Literal["effective", "proposed"]
    message: str
    changes: list[ChangeOut]
    reopened: int

    @classmethod
    def of(cls, done: Proposed) -> "PolicyProposedOut":
        effective = done.version.effective_at is not None
        message = (
            f"Policy version {done.version.id} is in force;"
            f" {len(done.reopened)} packages are judged again."
            if effective
            else f"Policy version {done.version.id} loosens {', '.join(done.version.loosens)}:"
            " another admin must second it."
        )
        return cls(
            version=done.version.id,
            status="effective" if effective else "proposed",
            message=message,
            changes=ChangeOut.all_of(done.changes),
            reopened=len(done.reopened),
        )


class JudgedOut(BaseModel):
    """``outcome``: reject, hold or approve; ``rules`` are those that made it."""

    outcome: str
    rules: list[str]
    reason: str | None

    @classmethod
    def of(cls, judgement: Judgement) -> "JudgedOut":
        rules = [ruling.rule for ruling in judgement.rulings]
        return cls(outcome=judgement.outcome, rules=rules, reason=judgement.refusal)


class DifferenceOut(BaseModel):
    """A package, as it stands now, that another policy would judge otherwise."""

    id: int
    name: str
    version: str
    status: str
    before: JudgedOut
    after: JudgedOut

    @classmethod
    def of(cls, found: Difference) -> "DifferenceOut":
        return cls(
            id=found.id,
            name=found.name,
            version=found.version,
            status=found.status,
            before=JudgedOut.of(found.before),
            after=JudgedOut.of(found.after),
        )


class PolicyTestOut(BaseModel):
    """``next`` is the ``after`` of the following page; None on the last one.

    ``unread`` packages were refused before their bytes were looked at, and would not be: they would
    be vetted.
    """

    examined: int
    unread: int
    differences: list[DifferenceOut]
    changes: list[ChangeOut]
    next: int | None

    @classmethod
    def of(cls, page: Page, changes: Sequence[Change]) -> "PolicyTestOut":
        return cls(
            examined=page.examined,
            unread=page.unread,
            differences=[*map(DifferenceOut.of, page.differences)],
            changes=ChangeOut.all_of(changes),
            next=page.last,
        )


class LicenceProposalOut(Stored):
    """A change of the licences that waits for another admin, who is to ask for the same."""

    id: int
    replaces: str | None
    identifier: str | None
    status: Tier | None
    was: Tier | None
    proposed_by: Id
    proposed_at: Moment


class LicenceProposalsOut(BaseModel):
    proposals: list[LicenceProposalOut]

    @classmethod
    def of(cls, proposals: Sequence[LicenceProposal]) -> "LicenceProposalsOut":
        return cls(proposals=[LicenceProposalOut.model_validate(p) for p in proposals])
