"""What a step is given: plain values read in one short transaction, no session, no ORM."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SkipValidation
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.workloads.packages.cache import ContentStore
from backend.workloads.packages.model import Artifact, ArtifactEvidence, Package, PackageStatus
from backend.workloads.packages.policy import PolicyInForce, policy_in_force


class PackageSnapshot(BaseModel):
    """One artifact as it stands now.

    ``integrity`` is what the lock declares (SRI text, several separated by spaces, None for
    nothing); ``sha512`` (hex) and ``path`` are set once the bytes are known.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    artifact_id: int
    name: str
    version: str
    integrity: str | None
    sha512: str | None
    path: str | None
    registry_record: dict[str, Any] | None
    inspection: dict[str, Any] | None
    policy: SkipValidation[PolicyInForce] = Field(exclude=True)
    """The licence tiers in force; not for a child process."""


def loader(cache: ContentStore) -> Callable[[Session, int], PackageSnapshot | None]:
    def load(session: Session, row_id: int) -> PackageSnapshot | None:
        found = session.execute(
            select(
                Artifact.id, Package.name, Package.version, Artifact.integrity, Artifact.sha512,
                ArtifactEvidence.registry_record, ArtifactEvidence.inspection,
            )
            .select_from(PackageStatus)
            .join(Artifact, Artifact.id == PackageStatus.artifact_id)
            .join(Package, Package.id == Artifact.package_id)
            .outerjoin(ArtifactEvidence, ArtifactEvidence.artifact_id == Artifact.id)
            .where(PackageStatus.id == row_id)
        ).first()  # fmt: skip
        if found is None:
            return None
        return PackageSnapshot(
            artifact_id=found.id,
            name=found.name,
            version=found.version,
            integrity=found.integrity or None,
            sha512=found.sha512,
            path=str(Path(cache.path(found.sha512)).absolute()) if found.sha512 else None,
            registry_record=found.registry_record,
            inspection=found.inspection,
            policy=policy_in_force(session),
        )

    return load
