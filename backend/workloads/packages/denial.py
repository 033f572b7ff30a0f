"""Versions that nobody gets, by a person's word: acts at once on all that is known of them.

The word is stored and committed first, and what it concerns is swept in a transaction of its own:
a row that the sweep does not see yet is vetted by a worker that sees the word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.roles import Principal
from backend.problems import Conflict, Forbidden, Malformed, NotFound, Unsupported
from backend.queue import control
from backend.workloads.packages import approval_sql as sql
from backend.workloads.packages.approval import lock, still_decides
from backend.workloads.packages.denied_versions import denies
from backend.workloads.packages.lifecycle import IN_VETTING, VETTING_QUEUE
from backend.workloads.packages.lockfile.coordinates import valid_name
from backend.workloads.packages.model import Artifact, DeniedPackage, Package, PackageStatus
from backend.workloads.packages.ranges import valid_range
from backend.workloads.packages.recall import approved, take_back

ECOSYSTEM = "npm"


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


def deny(session: Session, what: Denied, *, by: Principal, reason: str) -> int:
    """Store the word; idempotent while it is in force. :func:`sweep` it once this is committed.

    Returns:
        Its id.

    Raises:
        Forbidden: the role was taken away meanwhile.
    """
    still_decides(session, by)
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


def sweep(session: Session, what: Denied, *, by: Principal, reason: str) -> Swept:
    """End everything known that is denied: what is vetted, waits, is approved or published."""
    rows = lock(session, _concerned(session, what))
    error = f"denied: {reason}"
    open_rows = [row.id for row in rows.values() if row.status in IN_VETTING]
    cancelled = control.cancel(session, VETTING_QUEUE, open_rows, why=error)
    sql.run(session, sql.BY_POLICY, cancelled)
    taken = [row for row in rows.values() if approved(row)]
    returned = take_back(session, taken, by=by, reason=error)
    waiting = [row.id for row in rows.values() if row.status == VETTING_QUEUE.done]
    sql.run(session, sql.REFUSE, [*waiting, *returned], failure="policy", error=error)
    rejected = sorted([*cancelled, *waiting, *returned])
    refused = [f"package:{row_id}" for row_id in rejected]
    audit.record_each(session, by, "package.refused", refused, reason=error)
    return Swept(rejected, sorted({row.id for row in taken} - set(returned)))


def _concerned(session: Session, what: Denied) -> list[int]:
    """Queue rows of denied versions. Only what has the name is matched."""
    found = session.execute(
        select(PackageStatus.id, Package.version)
        .join(Artifact, Artifact.id == PackageStatus.artifact_id)
        .join(Package, Package.id == Artifact.package_id)
        .where(Package.ecosystem == ECOSYSTEM, Package.name == what.name)
    )
    return [row.id for row in found if denies(what.range, row.version)]


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
