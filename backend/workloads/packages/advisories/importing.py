"""One import: records stored, every known artifact looked at, flags settled. Or nothing of it."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from backend.identity import audit
from backend.workloads.packages.advisories import importing_sql as sql
from backend.workloads.packages.advisories import rechecking
from backend.workloads.packages.advisories.copying import copy_in
from backend.workloads.packages.advisories.reading import Records


@dataclass(frozen=True, slots=True)
class Imported:
    """What one import did; see :class:`AdvisoryImport`. All but the first two are counts."""

    id: int
    source: str
    read: int
    added: int
    changed: int
    records: int
    newest: Any
    checked: int
    raised: int
    lifted: int
    reopened: int


def store(session: Session, records: Records) -> Imported:
    """Store what is new, and see whom it concerns; the caller commits.

    Of records with one id the last modified counts. Every known artifact is looked at, also where
    nothing changed: it may be younger than the last look.
    """
    connection = session.connection()
    connection.exec_driver_sql(sql.LOCK)
    given = {"source": records.source, "digest": records.digest, "read": records.count}
    connection.exec_driver_sql(sql.STAGE)
    copy_in(connection, sql.COPY_STAGED, records.lines)
    for statement in sql.STATEMENTS:
        connection.exec_driver_sql(statement, given)
    found = rechecking.recheck(session)
    row = connection.exec_driver_sql(sql.NOTE, {**given, **found.counts()}).one()
    imported = Imported(*row)
    audit.record(
        session, rechecking.ACTOR, "advisories.imported", f"advisory-import:{imported.id}",
        source=imported.source, added=imported.added, changed=imported.changed,
        raised=imported.raised, lifted=imported.lifted, reopened=imported.reopened,
    )  # fmt: skip
    return imported
