"""From a parsed lock to rows: one transaction, shared rows in sorted order.

Rows that several uploads share are inserted sorted, ON CONFLICT DO NOTHING, and read back in a
second statement: two uploads that insert in their files' order deadlock.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Text,
    and_,
    any_,
    bindparam,
    column,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from backend.db import table_of, unnest
from backend.identity import audit
from backend.identity.roles import Principal
from backend.workloads.packages.lifecycle import VETTING_QUEUE
from backend.workloads.packages.lockfile import ParsedLock, WantedPackage
from backend.workloads.packages.model import (
    Artifact,
    Package,
    PackageStatus,
    Request,
    RequestExclusion,
    RequestNotice,
    RequestPackage,
)
from backend.workloads.packages.revetting import of_artifacts, raise_priority, vet_again

DEFAULT_PRIORITY = 5


PackageKey = tuple[str, str, str]


ArtifactKey = tuple[int, str]
"""(package id, declared integrity or "")."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What an upload came to. ``fresh`` artifacts were never seen, ``again`` are vetted anew."""

    request: Request
    packages: int
    fresh: int
    again: int


def submit(
    session: Session,
    lock: ParsedLock,
    *,
    by: Principal,
    max_age: timedelta,
    priority: int = DEFAULT_PRIORITY,
) -> Submitted:
    """Store a request with every entry of its lock, and queue what is not vetted yet.

    Args:
        by: the requestor.
        max_age: older evidence of a known artifact is not trusted any more.
        priority: 1 to 10, 10 most urgent; an artifact has the highest of its requests.
    """
    request = Request(
        application_name=lock.application_name or "unnamed",
        version=lock.application_version or "0.0.0",
        requestor_id=by.id,
        lock_format=lock.format,
        lock=lock.redacted,
        entries=lock.entries,
        priority=priority,
    )
    session.add(request)
    session.flush()
    packages = _packages(session, lock.packages)
    artifacts = _artifacts(session, lock.packages, packages)
    wanted = set(artifacts.values())
    fresh = _enqueue(session, wanted, priority)
    _hold(session, wanted - fresh)
    _link(session, request.id, lock.packages, packages, artifacts, fresh)
    _note(session, request.id, lock, packages)
    known = wanted - fresh
    again = vet_again(session, known, max_age=max_age)
    raise_priority(session, known, priority)
    audit.record(
        session, by, "request.submitted", f"request:{request.id}",
        application=request.application_name, packages=len(lock.packages),
        excluded=len(lock.exclusions),
    )  # fmt: skip
    return Submitted(request, len(lock.packages), len(fresh), len(again))


def _key(package: WantedPackage) -> PackageKey:
    return (package.ecosystem, package.name, package.version)


def _packages(session: Session, wanted: Iterable[WantedPackage]) -> dict[PackageKey, int]:
    purls = {_key(package): package.purl for package in wanted}
    keys = sorted(purls)
    columns = {
        "given_ecosystem": [key[0] for key in keys],
        "given_name": [key[1] for key in keys],
        "given_version": [key[2] for key in keys],
        "given_purl": [purls[key] for key in keys],
    }
    given = unnest("given", ecosystem=Text(), name=Text(), version=Text(), purl=Text())
    names = ["ecosystem", "name", "version", "purl"]
    session.execute(
        upsert(table_of(Package))
        .from_select(names, select(*given.c).order_by(*(given.c[n] for n in names[:3])))
        .on_conflict_do_nothing(),
        columns,
    )
    same = and_(*(table_of(Package).c[n] == given.c[n] for n in names[:3]))
    found = session.execute(
        select(Package.ecosystem, Package.name, Package.version, Package.id).join(given, same),
        columns,
    )
    return {(row.ecosystem, row.name, row.version): row.id for row in found}


def _artifacts(
    session: Session, wanted: Iterable[WantedPackage], packages: dict[PackageKey, int]
) -> dict[ArtifactKey, int]:
    """Artifact ids by what the lock declares; a merged artifact answers with its survivor."""
    keys = sorted({(packages[_key(p)], p.integrity or "") for p in wanted})
    columns = {
        "given_package_id": [key[0] for key in keys],
        "given_integrity": [key[1] for key in keys],
    }
    given = unnest("given", package_id=BigInteger(), integrity=Text())
    session.execute(
        upsert(table_of(Artifact))
        .from_select(
            ["package_id", "integrity"],
            select(*given.c).order_by(given.c.package_id, given.c.integrity),
        )
        .on_conflict_do_nothing(),
        columns,
    )
    survivor = func.coalesce(Artifact.merged_into, Artifact.id)
    found = session.execute(
        select(Artifact.package_id, Artifact.integrity, survivor)
        .join(
            given,
            and_(
                Artifact.package_id == given.c.package_id,
                Artifact.integrity == given.c.integrity,
            ),
        )
        .order_by(Artifact.id)
        # A worker that merges one of them just now (see recording) goes first, or waits for us.
        .with_for_update(read=True, key_share=True, of=Artifact),
        columns,
    )
    return {(package, integrity): artifact for package, integrity, artifact in found}


def _enqueue(session: Session, artifacts: Collection[int], priority: int) -> set[int]:
    """One queue row for each artifact that has none; answers those artifacts.

    The others are not even tried: an insert waits for whoever writes a row of the same key, and
    a worker that writes it may wait for our lock on its artifact.
    """
    given = unnest("given", id=BigInteger())
    queued = select(PackageStatus.id).where(PackageStatus.artifact_id == given.c.id).exists()
    new = (
        upsert(table_of(PackageStatus))
        .from_select(
            ["artifact_id", "status", "priority", "max_attempts"],
            select(
                given.c.id,
                sql_cast(VETTING_QUEUE.ready, Text),
                sql_cast(priority, BigInteger),
                sql_cast(VETTING_QUEUE.max_attempts, BigInteger),
            )
            .where(~queued)
            .order_by(given.c.id),
        )
        .on_conflict_do_nothing(index_elements=["artifact_id"])
        .returning(table_of(PackageStatus).c.artifact_id)
    )
    return set(session.scalars(new, {"given_id": sorted(artifacts)}))


def _hold(session: Session, artifacts: Collection[int]) -> None:
    """Keep a withdrawal from ending known rows unseen; workers are not in its way."""
    session.execute(
        select(PackageStatus.id)
        .where(of_artifacts(artifacts))
        .order_by(PackageStatus.id)
        .with_for_update(read=True, key_share=True)
    )


def _link(
    session: Session,
    request_id: int,
    wanted: Iterable[WantedPackage],
    packages: dict[PackageKey, int],
    artifacts: dict[ArtifactKey, int],
    fresh: Collection[int],
) -> None:
    rows: list[dict[str, Any]] = []
    for package in wanted:
        package_id, integrity = packages[_key(package)], package.integrity or ""
        artifact_id = artifacts[package_id, integrity]
        rows.append(
            {
                "package_id": package_id,
                "artifact_id": artifact_id,
                "type": "new" if artifact_id in fresh else "existing",
                "integrity": integrity,
                "entries": package.entries,
                "dev": package.dev,
                "optional": package.optional,
                "license_claim": package.license_claim,
            }
        )
    table = table_of(RequestPackage)
    names = ["package_id", "artifact_id", "type", "integrity", "entries", "dev", "optional",
             "license_claim"]  # fmt: skip
    given = (
        func.json_to_recordset(bindparam("rows", type_=JSON))
        .table_valued(*(column(name, table.c[name].type) for name in names))
        .render_derived(with_types=True)
    )
    lines = select(literal(request_id), *given.c)
    session.execute(insert(table).from_select(["request_id", *names], lines), {"rows": rows})


def _note(
    session: Session, request_id: int, lock: ParsedLock, packages: dict[PackageKey, int]
) -> None:
    """Exclusions, what the lock says against itself, and other bytes under a known name."""
    if lock.exclusions:
        session.execute(
            insert(table_of(RequestExclusion)),
            [
                {"request_id": request_id, "entry": e.entry, "reason": e.reason, "detail": e.detail}
                for e in lock.exclusions
            ],
        )
    notices: list[tuple[str, str, str]] = [(d.entry, d.kind, d.detail) for d in lock.differences]
    notices += _other_bytes(session, lock.packages, packages)
    if notices:
        session.execute(
            insert(table_of(RequestNotice)),
            [
                {"request_id": request_id, "entry": entry, "kind": kind, "detail": detail}
                for entry, kind, detail in notices
            ],
        )


def _other_bytes(
    session: Session, wanted: Iterable[WantedPackage], packages: dict[PackageKey, int]
) -> list[tuple[str, str, str]]:
    """The alarm: a known name and version for which somebody names other bytes."""
    pinned = {
        packages[_key(p)]: p for p in wanted if p.integrity and p.integrity.startswith("sha512-")
    }
    found = session.execute(
        select(Artifact.package_id, Artifact.integrity).where(
            Artifact.package_id == any_(sql_cast(sorted(pinned), ARRAY(BigInteger))),
            Artifact.integrity.startswith("sha512-"),
        )
    )
    named: dict[int, set[str]] = defaultdict(set)
    for package_id, integrity in found:
        named[package_id].add(integrity)
    return [
        (
            pinned[package_id].entries[0],
            "different-bytes",
            f"{pinned[package_id].purl} is known with {len(hashes)} sha512 hashes; each is vetted",
        )
        for package_id, hashes in sorted(named.items())
        if len(hashes) > 1
    ]
