"""Versions that nobody gets, by a person's word: acts at once on all that is known of them.

The word is stored and what it concerns is swept in one transaction. A row that the sweep does not
see yet is vetted by a worker that waits for the word.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final
from urllib.parse import unquote

from sqlalchemy import Row, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.roles import Principal
from backend.problems import Conflict, Forbidden, Malformed, NotFound, Unsupported
from backend.queue import control
from backend.workloads.packages import approval_sql as sql
from backend.workloads.packages.approval import lock, still_decides
from backend.workloads.packages.denied_versions import FOLDER, LOCK, copy_denied, denies
from backend.workloads.packages.lifecycle import IN_VETTING, VETTING_QUEUE
from backend.workloads.packages.lockfile.coordinates import valid_name
from backend.workloads.packages.model import DeniedPackage
from backend.workloads.packages.ranges import valid_range
from backend.workloads.packages.recall import approved, take_back

ECOSYSTEM: Final = "npm"

# The planner takes documents for as short as the rows that point to them, and would read them all.
_BY_INDEX: Final = "SELECT set_config('enable_seqscan', 'off', true)"
_BY_COST: Final = "SELECT set_config('enable_seqscan', 'on', true)"

_NAMED: Final = f"""
SELECT s.id, p.version, NULL AS folder
FROM packages p
JOIN artifacts a ON a.package_id = p.id
JOIN package_status s ON s.artifact_id = a.id
WHERE p.ecosystem = 'npm' AND p.name = %(name)s
UNION ALL
SELECT s.id, c ->> 'version', {FOLDER}
FROM artifact_evidence e
JOIN package_status s ON s.artifact_id = e.artifact_id
CROSS JOIN LATERAL jsonb_array_elements(e.inspection -> 'components') c
WHERE e.inspection -> 'components' @> CAST(%(wanted)s AS jsonb) AND c ->> 'name' = %(name)s
"""  # noqa: S608 - a constant
"""Rows of every version, and of packages that have one inside; each has an index of its own."""


@dataclass(frozen=True, slots=True)
class Denied:
    """A package's name and the npm range of its versions."""

    name: str
    range: str


@dataclass(frozen=True, slots=True)
class Swept:
    """Queue rows that a denial ended: refused, or given to the publisher to take back."""

    rejected: list[int]
    recalled: list[int]


def parse(purl_range: str) -> Denied:
    """Read ``pkg:npm/NAME@RANGE``; no range, or ``*``, means every version.

    The range may be written as it is (``pkg:npm/left-pad@>=1.2.0 <1.4.0``) or percent-encoded.

    Raises:
        Malformed: it is no such thing, or npm would not read the range.
        Unsupported: it is another ecosystem's.
    """
    scheme, _, rest = unquote(purl_range.strip()).partition("/")
    if not scheme.lower().startswith("pkg:"):
        raise Malformed("Give a package URL: pkg:npm/NAME@RANGE.", code="malformed-purl")
    if scheme.lower() != f"pkg:{ECOSYSTEM}":
        raise Unsupported("Only packages of npm can be denied: pkg:npm/NAME@RANGE.")
    # Not by a parser of package URLs: they lower-case names, and old names differ by case alone.
    first, (base, _, range_) = rest[:1], rest[1:].partition("@")
    what = Denied(first + base, range_.strip() or "*")
    if not valid_name(what.name):
        raise Malformed("npm knows no package of such a name.", code="malformed-purl")
    if not valid_range(what.range):
        raise Malformed("npm knows no such range: write >=1.2.0 <1.4.0.", code="malformed-range")
    return what


def deny(session: Session, what: Denied, *, by: Principal, reason: str) -> tuple[int, Swept]:
    """Store the word, and end everything known that is denied; idempotent while it is in force.

    Until the caller commits, vetting waits for it.

    Returns:
        The denial's id, and what it ended.

    Raises:
        Forbidden: the role was taken away meanwhile.
    """
    still_decides(session, by)
    session.connection().exec_driver_sql(LOCK)
    stored = _store(session, what, by=by, reason=reason)
    return stored, _sweep(session, what, by=by, reason=reason)


def _store(session: Session, what: Denied, *, by: Principal, reason: str) -> int:
    values = {"ecosystem": ECOSYSTEM, "name": what.name, "range": what.range}
    stored = session.scalar(
        insert(DeniedPackage)
        .values(**values, reason=reason, denied_by=by.id)
        .on_conflict_do_nothing()
        .returning(DeniedPackage.id)
    )
    if stored is None:
        known = select(DeniedPackage.id).filter_by(**values, lifted_at=None)
        return int(session.scalars(known).one())
    audit.record(
        session, by, "package.denied", f"denial:{stored}",
        name=what.name, range=what.range, reason=reason,
    )  # fmt: skip
    return int(stored)


def _sweep(session: Session, what: Denied, *, by: Principal, reason: str) -> Swept:
    """End what is vetted, waits, is approved or published: the versions, and who bundles one."""
    concerned = _concerned(session, what, reason)
    rows = lock(session, concerned)
    swept = Swept([], [])

    def why(row: Row[Any]) -> str:
        return concerned[row.id]

    for error, group in groupby(sorted(rows.values(), key=why), why):
        _end(session, [*group], swept, by=by, error=error)
    return Swept(sorted(swept.rejected), sorted(swept.recalled))


def _end(
    session: Session, rows: Sequence[Row[Any]], swept: Swept, *, by: Principal, error: str
) -> None:
    """End locked rows for one reason, and add them to ``swept``."""
    open_rows = [row.id for row in rows if row.status in IN_VETTING]
    cancelled = control.cancel(session, VETTING_QUEUE, open_rows, why=error)
    taken = [row for row in rows if approved(row)]
    returned = take_back(session, taken, by=by, reason=error)
    waiting = [row.id for row in rows if row.status == VETTING_QUEUE.done]
    sql.run(session, sql.REFUSE, [*waiting, *returned], failure="policy", error=error)
    rejected = sorted([*cancelled, *waiting, *returned])
    sql.run(session, sql.DENIED, rejected)
    refused = [f"package:{row_id}" for row_id in rejected]
    audit.record_each(session, by, "package.refused", refused, reason=error)
    swept.rejected.extend(rejected)
    swept.recalled.extend({row.id for row in taken} - set(returned))


def _concerned(session: Session, what: Denied, reason: str) -> Mapping[int, str]:
    """Why each queue row ends that has a denied version, itself before what it bundles."""
    connection = session.connection()
    connection.exec_driver_sql(_BY_INDEX)
    asked = {"name": what.name, "wanted": json.dumps([{"name": what.name}])}
    found = connection.exec_driver_sql(_NAMED, asked).all()
    connection.exec_driver_sql(_BY_COST)
    errors: dict[int, str] = {}
    for row in sorted(found, key=lambda row: (row.folder is not None, row.folder)):
        if row.id not in errors and denies(what.range, row.version):
            errors[row.id] = (
                f"denied: {reason}"
                if row.folder is None
                else copy_denied(what.name, row.version, row.folder, reason)
            )
    return errors


def in_force(session: Session) -> Sequence[DeniedPackage]:
    """Every denial that nobody has lifted, newest first."""
    found = select(DeniedPackage).where(DeniedPackage.lifted_at.is_(None))
    return session.scalars(found.order_by(DeniedPackage.id.desc())).all()


def lift(session: Session, denial_id: int, *, by: Principal) -> None:
    """Lift a denial: a second person's to do. What it ended stays ended until it is vetted again.

    Raises:
        NotFound: there is none of this id.
        Forbidden: ``by`` has denied it.
        Conflict: it is lifted already.
    """
    denial = session.get(DeniedPackage, denial_id, with_for_update=True)
    if denial is None:
        raise NotFound(f"There is no denial {denial_id}.")
    if denial.denied_by == by.id:
        raise Forbidden("Somebody else must lift what you denied.", code="four-eyes")
    if denial.lifted_at is not None:
        raise Conflict(f"Denial {denial_id} is lifted already.", code="already-lifted")
    denial.lifted_by, denial.lifted_at = by.id, func.now()
    audit.record(session, by, "denial.lifted", f"denial:{denial_id}", name=denial.name)
