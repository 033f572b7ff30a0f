"""The look at every known artifact, published ones and bundled packages among them.

PostgreSQL finds who bears a name that an advisory names, and settles flags; in between, what npm's
version order decides is decided in Python, once for each name, version and advisory.
"""

import csv
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TextIO

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from backend.workloads.packages.advisories import rechecking_sql as sql
from backend.workloads.packages.advisories.copying import copy_in
from backend.workloads.packages.advisories.stored import restored
from backend.workloads.packages.revetting import judge_anew
from backend.workloads.packages.scanning.findings import Component
from backend.workloads.packages.scanning.osv_record import finding

ACTOR: Final = "advisories"
"""Who acts, in the audit log."""


@dataclass(frozen=True, slots=True)
class Rechecked:
    """Artifacts looked at, flags raised, flags lifted, packages judged anew."""

    checked: int
    raised: int
    lifted: int
    reopened: int

    def counts(self) -> dict[str, int]:
        return asdict(self)


def recheck(session: Session) -> Rechecked:
    """Bring every artifact's flags to what the stored advisories say; the caller commits.

    What waits for a person, or is approved and was never given to a registry, is judged anew where
    it has a flag: its verdict is to tell of it. What is public keeps its flag.
    """
    connection = session.connection()
    for statement in (sql.COMPONENTS, sql.SETTLE_COMPONENTS, sql.MATCHES):
        connection.exec_driver_sql(statement)
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as lines:
        _match(connection, lines)
        copy_in(connection, sql.COPY_MATCHES, lines)
    connection.exec_driver_sql(sql.SETTLE_MATCHES)
    connection.exec_driver_sql(sql.FOUND)
    lifted = connection.exec_driver_sql(sql.LIFT).rowcount
    connection.exec_driver_sql(sql.MEND)
    raised = connection.exec_driver_sql(sql.RAISE).scalar_one()
    undecided = [*connection.exec_driver_sql(sql.UNDECIDED).scalars()]
    return Rechecked(
        checked=connection.exec_driver_sql(sql.CHECKED).scalar_one(),
        raised=raised,
        lifted=lifted,
        reopened=len(judge_anew(session, undecided, actor=ACTOR)),
    )


def _match(connection: Connection, lines: TextIO) -> None:
    """Write every match as a line of CSV."""
    writer = csv.writer(lines)
    connection.exec_driver_sql(sql.CANDIDATES)
    while rows := connection.exec_driver_sql(sql.FETCH).all():
        for row in rows:
            writer.writerows(_of_name(row.name, row.versions, row.advisories or ()))
    connection.exec_driver_sql(sql.CLOSE)


def _of_name(
    name: str, versions: Sequence[str], advisories: Sequence[dict[str, Any]]
) -> Iterator[tuple[str, ...]]:
    known = [(record["source"], restored(name, record)) for record in advisories]
    for version in versions:
        component = Component(name=name, version=version)
        for source, advisory in known:
            found = finding(advisory, component, source)
            if found is not None:
                fixed = json.dumps(found.fixed or ())
                yield name, version, found.id, found.component, found.kind, found.severity, fixed
