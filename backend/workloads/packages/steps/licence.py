"""Checking Licence: an early look at the registry's word, before any byte is fetched."""

from typing import Any

from pydantic import BaseModel

from backend.queue.pipeline import Done, Reject
from backend.queue.retry import Permanent
from backend.workloads.packages.licences import LicenceVerdict
from backend.workloads.packages.policies.rules import Judgement, Ruling
from backend.workloads.packages.registry.npm import VersionMetadata, fetch_version
from backend.workloads.packages.snapshot import PackageSnapshot
from backend.workloads.packages.tools import VettingTools, registry_errors
from backend.workloads.packages.waivers.applying import waived_licence


class LicenceResult(BaseModel):
    """``record`` is what the registry says, None where it was not asked.

    The verdict is by the policy in force; ``policy_digest`` is None where no policy made it.
    """

    record: VersionMetadata | None
    expression: str | None
    tier: str | None
    score: int | None
    policy_digest: str | None
    rulings: tuple[Ruling, ...]


def check_licence(package: PackageSnapshot, tools: VettingTools) -> Done | Reject:
    """Judge the licence that the registry names. A lock file's word is never asked.

    Returns:
        ``Reject`` when a person or policy denies the package, or policy blocks the licence; unknown
        goes on, marked, to a person.

    Raises:
        Transient: the registry cannot be asked now.
        CircuitOpen: the same, and it was to be expected.
        Permanent: it has no such package, or the package may not be asked for there.
    """
    policy = package.policy
    denied = policy.rules.early(package.name, package.version, None, package.denied)
    if denied.refusal:
        return Reject(denied.refusal, _result(package, denied))
    refuse_internal(package, tools)
    with registry_errors():
        record = fetch_version(
            tools.origin, package.name, package.version, dated=policy.rules.asks_age
        )
    word = record.license_expression
    verdict = policy.licences.judge(word)
    waived, _ = waived_licence(
        package.waivers, verdict, lambda ids: policy.licences.allowing(ids).judge(word)
    )
    judgement = policy.rules.early(package.name, package.version, waived)
    result = _result(package, judgement, record, verdict)
    return Reject(judgement.refusal, result) if judgement.refusal else Done(result)


def _result(
    package: PackageSnapshot,
    judgement: Judgement,
    record: VersionMetadata | None = None,
    verdict: LicenceVerdict | None = None,
) -> LicenceResult:
    return LicenceResult(
        record=record,
        expression=verdict and verdict.expression,
        tier=verdict and verdict.tier,
        score=verdict and verdict.score,
        # What a person denied is looked at anew whenever it is asked for: the word may be lifted.
        policy_digest=None if package.denied else package.policy.digest,
        rulings=judgement.rulings,
    )


def with_record(package: PackageSnapshot, result: LicenceResult, _answered: Any) -> PackageSnapshot:
    """The package as it stands once the registry's word is stored."""
    assert result.record is not None  # only what was refused at once goes without
    return package.model_copy(update={"registry_record": result.record.model_dump(mode="json")})


def refuse_internal(package: PackageSnapshot, tools: VettingTools) -> None:
    """A name that is internal, by setting or by policy, is never asked of a public registry."""
    if tools.own_registry:
        return
    scope = package.name.partition("/")[0]
    if scope.lower() in tools.internal_scopes:
        raise Permanent(
            f"internal-scope: {scope} is internal, and SOURCE_REPOSITORY_URL names no registry"
        )
    if rule := package.policy.rules.internal(package.name):
        raise Permanent(
            f"internal-name: {package.name} is internal by policy ({rule}), and"
            " SOURCE_REPOSITORY_URL names no registry"
        )
