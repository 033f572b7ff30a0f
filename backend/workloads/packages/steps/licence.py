"""Checking Licence: an early look at the registry's word, before any byte is fetched."""

from typing import Any

from pydantic import BaseModel

from backend.queue.pipeline import Done, Reject
from backend.queue.retry import Permanent
from backend.workloads.packages.registry.npm import VersionMetadata, fetch_version
from backend.workloads.packages.snapshot import PackageSnapshot
from backend.workloads.packages.tools import VettingTools, registry_errors


class LicenceResult(BaseModel):
    """``record`` is what the registry says; the verdict is by today's tiers."""

    record: VersionMetadata
    expression: str | None
    tier: str | None
    score: int | None
    policy_digest: str


def check_licence(package: PackageSnapshot, tools: VettingTools) -> Done | Reject:
    """Judge the licence that the registry names. A lock file's word is never asked.

    Returns:
        ``Reject`` when policy blocks the licence; unknown goes on, marked, to a person.

    Raises:
        Transient: the registry cannot be asked now.
        CircuitOpen: the same, and it was to be expected.
        Permanent: it has no such package, or the package may not be asked for there.
    """
    refuse_internal(package, tools)
    with registry_errors():
        record = fetch_version(tools.origin, package.name, package.version)
    verdict = package.policy.licences.judge(record.license_expression)
    result = LicenceResult(
        record=record,
        expression=verdict.expression,
        tier=verdict.tier,
        score=verdict.score,
        policy_digest=package.policy.digest,
    )
    if verdict.blocked:
        return Reject(f"licence blocked by policy: {verdict.reason}", result)
    return Done(result)


def with_record(package: PackageSnapshot, result: LicenceResult, _answered: Any) -> PackageSnapshot:
    """The package as it stands once the registry's word is stored."""
    return package.model_copy(update={"registry_record": result.record.model_dump(mode="json")})


def refuse_internal(package: PackageSnapshot, tools: VettingTools) -> None:
    """A scope that is internal by setting is never asked of a public registry."""
    scope = package.name.partition("/")[0]
    if scope.lower() in tools.internal_scopes and not tools.own_registry:
        raise Permanent(
            f"internal-scope: {scope} is internal, and SOURCE_REPOSITORY_URL names no registry"
        )
