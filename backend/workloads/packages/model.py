"""The tables of the packages workload.

``package_status`` is the queue: one narrow row per artifact to be vetted. Documents (manifests,
findings, locks) live in child tables. An artifact is a package's bytes: known by the integrity
a lock declares, and by its sha512 once the bytes are here; artifacts that turn out to be the
same bytes are merged.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.queue.claimable import Claimable, Timestamp, in_words
from backend.workloads.packages.lifecycle import PUBLISHING_QUEUE, TABLE, VETTING_QUEUE

NOW = text("now()")


def _key() -> Mapped[int]:
    return mapped_column(BigInteger, Identity(), primary_key=True)


def _reference(target: str, *, index: bool = True) -> Mapped[int]:
    return mapped_column(BigInteger, ForeignKey(target), index=index)


class SupportedLicense(Base):
    """What policy says of one SPDX identifier."""

    __tablename__ = "supported_licenses"
    __table_args__ = (
        CheckConstraint(
            in_words("status", ("always_allowed", "allowed", "avoid", "blocked")), name="status"
        ),
    )

    id: Mapped[int] = _key()
    name: Mapped[str]
    identifier: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class Request(Base):
    """One upload of one lock file."""

    __tablename__ = "requests"
    __table_args__ = (CheckConstraint("priority BETWEEN 1 AND 10", name="priority"),)

    id: Mapped[int] = _key()
    application_name: Mapped[str]
    version: Mapped[str]
    requestor_id: Mapped[int] = _reference("users.id")
    lock_format: Mapped[str]
    lock: Mapped[bytes] = mapped_column(deferred=True)
    """As uploaded, but without user-info, queries and fragments in its URLs."""
    entries: Mapped[int]
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="5")
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    withdrawn_at: Mapped[datetime | None] = mapped_column(Timestamp)


class RequestExclusion(Base):
    """An entry of a lock that has no registry bytes to vet, and why."""

    __tablename__ = "request_exclusions"
    __table_args__ = (UniqueConstraint("request_id", "entry"),)

    id: Mapped[int] = _key()
    request_id: Mapped[int] = _reference("requests.id", index=False)
    entry: Mapped[str]
    reason: Mapped[str]
    detail: Mapped[str]


class RequestNotice(Base):
    """Something about a lock that a person should see: it contradicts itself, or another lock."""

    __tablename__ = "request_notices"

    id: Mapped[int] = _key()
    request_id: Mapped[int] = _reference("requests.id")
    kind: Mapped[str]
    entry: Mapped[str]
    detail: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class Package(Base):
    """A name and version in an ecosystem."""

    __tablename__ = "packages"
    __table_args__ = (UniqueConstraint("ecosystem", "name", "version"),)

    id: Mapped[int] = _key()
    ecosystem: Mapped[str]
    name: Mapped[str]
    version: Mapped[str]
    purl: Mapped[str] = mapped_column(index=True)
    """Not an identity: package URLs lower-case npm names, and old names differ by case alone."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class Artifact(Base):
    """A package's bytes.

    ``integrity`` is what a lock declared ("" for nothing): the identity until ``sha512`` (hex)
    is known from the bytes themselves. ``merged_into`` names the artifact of the same sha512.
    ``checked`` is the strength of the declared hash that the bytes matched.
    """

    __tablename__ = "artifacts"
    __table_args__ = (
        UniqueConstraint("package_id", "integrity"),
        Index(
            "uq_artifacts_bytes",
            "package_id",
            "sha512",
            unique=True,
            postgresql_where=text("merged_into IS NULL AND sha512 IS NOT NULL"),
        ),
        CheckConstraint(
            in_words("checked", ("sha512", "sha384", "sha256", "sha1", "none")), name="checked"
        ),
    )

    id: Mapped[int] = _key()
    package_id: Mapped[int] = _reference("packages.id", index=False)
    integrity: Mapped[str] = mapped_column(server_default="")
    sha512: Mapped[str | None]
    size: Mapped[int | None] = mapped_column(BigInteger)
    checked: Mapped[str | None]
    registry_agrees: Mapped[bool | None]
    merged_into: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("artifacts.id"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class ArtifactEvidence(Base):
    """What was read about an artifact: the registry's word, and the tarball's own."""

    __tablename__ = "artifact_evidence"
    __table_args__ = (
        Index(
            "ix_artifact_evidence_bundling",
            "artifact_id",
            postgresql_where=text("jsonb_array_length(inspection -> 'components') > 0"),
        ),
        Index(
            "ix_artifact_evidence_components",
            literal_column("(inspection -> 'components')").label("components"),
            postgresql_using="gin",
            postgresql_ops={"components": "jsonb_path_ops"},
        ),
    )

    artifact_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("artifacts.id"), primary_key=True
    )
    registry_record: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    inspection: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    updated_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class PackageStatus(Claimable, Base):
    """One artifact on its way: the row that is the queue, with the verdict's few words.

    ``policy_digest`` and ``advisories_digest`` say by which licence tiers and which advisory
    records it was judged; other ones today mean that it is judged again when it is asked for.
    ``verdict_digest`` is one word for all that the verdict rests on. ``recall`` is "asked" where
    the publisher is to take the package back, and "running" while it does. ``rulings`` are the
    policy's rules that made the verdict, and ``verdict_until`` is when time alone changes it.
    """

    __tablename__ = TABLE
    __queues__ = (VETTING_QUEUE, PUBLISHING_QUEUE)
    __fillfactor__ = 85

    artifact_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("artifacts.id"), unique=True)
    license_identifier: Mapped[str | None]
    license_status: Mapped[str | None]
    license_score: Mapped[int | None] = mapped_column(SmallInteger)
    security_score: Mapped[int | None] = mapped_column(SmallInteger)
    scan_result: Mapped[str | None]
    vetted_at: Mapped[datetime | None] = mapped_column(Timestamp)
    policy_digest: Mapped[str | None]
    advisories_digest: Mapped[str | None]
    verdict_digest: Mapped[str | None]
    rulings: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB(none_as_null=True))
    verdict_until: Mapped[datetime | None] = mapped_column(Timestamp)
    waivers: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    """Ids of those that the verdict rests on; None for none."""
    recall: Mapped[str | None] = mapped_column(
        CheckConstraint(
            "recall IS NULL"
            " OR recall = 'asked' AND status IN ('Approved', 'Publishing', 'Rejected')"
            " OR recall = 'running' AND status = 'Publishing'",
            name="recall",
        )
    )


Index(
    "ix_package_status_waived",
    PackageStatus.id,
    postgresql_where=PackageStatus.waivers.is_not(None),
)
Index(
    "ix_package_status_waiting",
    PackageStatus.id,
    postgresql_where=PackageStatus.status == literal_column("'Pending Approval'"),
)


class RequestPackage(Base):
    """One package of one request: which bytes the lock names, where, and for what."""

    __tablename__ = "request_packages"
    __table_args__ = (
        UniqueConstraint("request_id", "package_id", "integrity"),
        CheckConstraint(in_words("type", ("new", "existing")), name="type"),
        Index("ix_request_packages_artifact_id", "artifact_id", "request_id"),
    )

    id: Mapped[int] = _key()
    request_id: Mapped[int] = _reference("requests.id", index=False)
    package_id: Mapped[int] = _reference("packages.id")
    artifact_id: Mapped[int] = _reference("artifacts.id", index=False)
    type: Mapped[str]
    integrity: Mapped[str] = mapped_column(server_default="")
    entries: Mapped[list[str]] = mapped_column(ARRAY(Text))
    dev: Mapped[bool] = mapped_column(server_default=text("false"))
    optional: Mapped[bool] = mapped_column(server_default=text("false"))
    license_claim: Mapped[str | None]


class SecurityScan(Base):
    """One scan of one artifact; the newest counts. ``coverage`` lists what each source knew."""

    __tablename__ = "security_scans"

    id: Mapped[int] = _key()
    artifact_id: Mapped[int] = _reference("artifacts.id")
    result: Mapped[str]
    score: Mapped[int | None] = mapped_column(SmallInteger)
    coverage: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    notes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    scanned_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class ScanFinding(Base):
    """One finding of one scan."""

    __tablename__ = "findings"

    id: Mapped[int] = _key()
    scan_id: Mapped[int] = _reference("security_scans.id")
    advisory: Mapped[str]
    aliases: Mapped[list[str]] = mapped_column(ARRAY(Text))
    kind: Mapped[str]
    severity: Mapped[str]
    title: Mapped[str | None]
    fixed: Mapped[list[str]] = mapped_column(ARRAY(Text))
    source: Mapped[str]
    component: Mapped[str]


class Decision(Base):
    """What a person decided about one artifact, and which verdict they saw."""

    __tablename__ = "decisions"
    __table_args__ = (
        CheckConstraint(in_words("decision", ("approve", "reject", "recall")), name="decision"),
    )

    id: Mapped[int] = _key()
    artifact_id: Mapped[int] = _reference("artifacts.id")
    decision: Mapped[str]
    decided_by: Mapped[int] = _reference("users.id", index=False)
    reason: Mapped[str | None]
    verdict_digest: Mapped[str | None]
    decided_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class DeniedPackage(Base):
    """Versions that nobody gets, by a person's word; in force until somebody else lifts it."""

    __tablename__ = "denied_packages"
    __table_args__ = (
        Index(
            "uq_denied_packages_in_force",
            "ecosystem",
            "name",
            "range",
            unique=True,
            postgresql_where=text("lifted_at IS NULL"),
        ),
        CheckConstraint("num_nonnulls(lifted_by, lifted_at) IN (0, 2)", name="lifted"),
        CheckConstraint("lifted_by <> denied_by", name="second_person"),
    )

    id: Mapped[int] = _key()
    ecosystem: Mapped[str]
    name: Mapped[str]
    range: Mapped[str]
    """In npm's words: ``>=1.2.0 <1.4.0 || 2.0.0``."""
    reason: Mapped[str]
    denied_by: Mapped[int] = _reference("users.id", index=False)
    denied_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    lifted_by: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("users.id"))
    lifted_at: Mapped[datetime | None] = mapped_column(Timestamp)


class AdvisoryState(Base):
    """The digest of the advisory records that workers use now, by source."""

    __tablename__ = "advisory_states"

    source: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    loaded_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
