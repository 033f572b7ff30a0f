"""Changing the licence tiers; workers read them for each package, so a change acts at once."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.roles import Principal
from backend.problems import Conflict, NotFound
from backend.workloads.packages.licences import names_of
from backend.workloads.packages.licences.expression import single_licence
from backend.workloads.packages.model import PackageStatus, SupportedLicense


def listed(session: Session) -> Sequence[SupportedLicense]:
    return session.scalars(select(SupportedLicense).order_by(SupportedLicense.identifier)).all()


def one(session: Session, licence_id: int, *, lock: bool = False) -> SupportedLicense:
    """Raises NotFound."""
    wanted = select(SupportedLicense).where(SupportedLicense.id == licence_id)
    found = session.scalar(wanted.with_for_update() if lock else wanted)
    if found is None:
        raise NotFound(f"There is no licence {licence_id}.")
    return found


def add(
    session: Session, *, name: str, identifier: str, status: str, by: Principal
) -> SupportedLicense:
    """Raises Conflict where the identifier is listed already."""
    licence = SupportedLicense(name=name, identifier=identifier, status=status)
    session.add(licence)
    _flush(session, identifier)
    audit.record(session, by, "licence.added", f"licence:{identifier}", status=status)
    return licence


def change(
    session: Session, licence_id: int, *, name: str, identifier: str, status: str, by: Principal
) -> SupportedLicense:
    """Raises NotFound, or Conflict where the new identifier is listed or the old one is used."""
    licence = one(session, licence_id, lock=True)
    before = licence.status
    if identifier != licence.identifier:
        _refuse_used(session, licence.identifier)
    licence.name, licence.identifier, licence.status = name, identifier, status
    licence.updated_at = func.now()
    _flush(session, identifier)
    session.refresh(licence)
    audit.record(
        session, by, "licence.changed", f"licence:{identifier}", before=before, after=status
    )
    return licence


def remove(session: Session, licence_id: int, *, by: Principal) -> None:
    """Raises NotFound, or Conflict while a package's verdict rests on it."""
    licence = one(session, licence_id, lock=True)
    _refuse_used(session, licence.identifier)
    session.delete(licence)
    audit.record(session, by, "licence.removed", f"licence:{licence.identifier}")


def _refuse_used(session: Session, identifier: str) -> None:
    """Raises Conflict while a package's verdict names the licence, or falls back to it."""
    counted = (
        select(PackageStatus.license_identifier, func.count().label("packages"))
        .where(PackageStatus.license_identifier.is_not(None))
        .group_by(PackageStatus.license_identifier)
    )
    read = single_licence(" ".join(identifier.split()))
    key = (read.text if read else identifier).casefold()
    used = sum(
        row.packages for row in session.execute(counted) if key in names_of(row.license_identifier)
    )
    if used:
        raise Conflict(f"{identifier} is used by {used} packages.", code="licence-in-use")


def _flush(session: Session, identifier: str) -> None:
    try:
        session.flush()
    except IntegrityError:
        raise Conflict(f"{identifier} is listed already.", code="licence-exists") from None
