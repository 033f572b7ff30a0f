"""From a parsed lock to rows: one transaction, shared rows in sorted order.

Rows that several uploads share are inserted sorted, ON CONFLICT DO NOTHING, and read back in a
second statement: two uploads that insert in their files' order deadlock. Where nobody has named
any of the packages yet, one statement stores it all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple, cast

from pydantic_core import to_json
from sqlalchemy import Row, insert
from sqlalchemy.orm import Session

from backend.autocommit import Autocommit
from backend.db import Sessions, table_of
from backend.identity.joining import Joint
from backend.identity.roles import Principal
from backend.workloads.packages import submission_sql as sql
from backend.workloads.packages.heuristics.names import likenesses
from backend.workloads.packages.heuristics.unseen import judge_likenesses
from backend.workloads.packages.lockfile import ParsedLock, WantedPackage
from backend.workloads.packages.model import RequestNotice
from backend.workloads.packages.revetting import raise_priority, vet_again

DEFAULT_PRIORITY = 5
NOTHING: Final = "[]"


@dataclass(frozen=True, slots=True)
class Submitted:
    """What an upload came to. ``fresh`` artifacts were never seen, ``again`` are vetted anew."""

    request_id: int
    application_name: str
    version: str
    packages: int
    fresh: int
    again: int


class _Stored(NamedTuple):
    request_id: int
    fresh: int
    again: int


def submit(
    statements: Autocommit,
    sessions: Sessions,
    lock: ParsedLock,
    *,
    by: Principal,
    max_age: timedelta,
    priority: int = DEFAULT_PRIORITY,
    joint: Joint | None = None,
) -> Submitted:
    """Store a request with every entry of its lock, and queue what is not vetted yet; commits.

    Args:
        by: the requestor.
        max_age: older evidence of a known artifact is not trusted any more.
        priority: 1 to 10, 10 most urgent; an artifact has the highest of its requests.
        joint: where nobody has asked yet whether the requestor may do so.
    """
    given = _parameters(lock, by, priority)
    request_id = _new_request(statements, given, joint)
    if request_id is not None:
        stored = _Stored(request_id, fresh=len(lock.packages), again=0)
    else:
        with sessions.begin() as session:
            stored = _store_shared(session, lock, given, max_age)
    return Submitted(
        stored.request_id, given["application_name"], given["version"], len(lock.packages),
        stored.fresh, stored.again,
    )  # fmt: skip


def _parameters(lock: ParsedLock, by: Principal, priority: int) -> dict[str, Any]:
    name, version = lock.application_name or "unnamed", lock.application_version or "0.0.0"
    detail = {
        "application": name,
        "packages": len(lock.packages),
        "excluded": len(lock.exclusions),
    }
    return {
        "application_name": name,
        "version": version,
        "requestor_id": by.id,
        "lock_format": lock.format,
        "lock": lock.redacted,
        "entries": lock.entries,
        "priority": priority,
        "packages": len(lock.packages),
        "lines": _json([_line(package) for package in lock.packages]),
        "exclusions": _json(lock.exclusions),
        "differences": _json(lock.differences),
        "alike": _json(_alike(lock.packages)),
        "detail": _json(detail),
    }


def _json(value: Any) -> str:
    return to_json(value).decode() if value else NOTHING


def _new_request(
    statements: Autocommit, given: Mapping[str, Any], joint: Joint | None
) -> int | None:
    """The number of a request all of whose packages are new; None where one of them is not."""
    noted = any(given[name] != NOTHING for name in ("exclusions", "differences", "alike"))
    few = not noted and given["packages"] <= sql.FEW
    if joint:
        if few and (done := joint.do(given)):
            return cast("int | None", done[0])
        joint.settle()
    new = statements.rows(sql.NEW_FEW if few else sql.NEW, given)
    return new[0].id if new else None


def _alike(wanted: Sequence[WantedPackage]) -> list[dict[str, str]]:
    found = likenesses(package.name for package in wanted)
    return [
        {"name": name, "resembles": other} for name, others in found.items() for other in others
    ]


def _line(package: WantedPackage) -> dict[str, Any]:
    return {
        "ecosystem": package.ecosystem,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "integrity": package.integrity or "",
        "entries": package.entries,
        "dev": package.dev,
        "optional": package.optional,
        "license_claim": package.license_claim,
    }


def _store_shared(
    session: Session, lock: ParsedLock, given: dict[str, Any], max_age: timedelta
) -> _Stored:
    """Store and queue a lock some of whose packages are known, or may be by now."""
    connection, priority = session.connection(), given["priority"]
    request_id = connection.exec_driver_sql(sql.OPEN, given).scalar_one()
    rows = connection.exec_driver_sql(sql.ARTIFACTS, given).all()
    wanted = {row.artifact_id for row in rows}
    queue = {"artifacts": sorted(wanted), "priority": priority}
    fresh = set(connection.exec_driver_sql(sql.ENQUEUE, queue).scalars())
    known = wanted - fresh
    link = {"request_id": request_id, "fresh": sorted(fresh), "known": sorted(known)}
    connection.exec_driver_sql(sql.LINK, {**given, **link})
    _warn(session, request_id, lock.packages, rows)
    again = vet_again(session, known, max_age=max_age)
    if known and given["alike"] != NOTHING:
        again += judge_likenesses(session, request_id)
    raise_priority(session, known, priority)
    return _Stored(request_id, len(fresh), len(again))


def _warn(
    session: Session, request_id: int, wanted: Sequence[WantedPackage], rows: Sequence[Row[Any]]
) -> None:
    """The alarm: a known name and version for which somebody names other bytes."""
    alarms: dict[int, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (row.package_id, row.place)):
        package = wanted[row.place - 1]
        known = row.hashes
        if known > 1 and package.integrity and package.integrity.startswith("sha512-"):
            alarms[row.package_id] = {
                "request_id": request_id,
                "entry": package.entries[0],
                "kind": "different-bytes",
                "detail": f"{package.purl} is known with {known} sha512 hashes; each is vetted",
            }
    if alarms:
        session.execute(insert(table_of(RequestNotice)), list(alarms.values()))
