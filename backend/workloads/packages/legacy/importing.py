"""The import itself: one snapshot there, one transaction here, and the counts of both."""

from dataclasses import astuple, dataclass, field
from typing import Final

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from backend.identity.audit import record
from backend.workloads.packages.legacy import statements as sql
from backend.workloads.packages.legacy.source import TABLES, LegacyError, opened
from backend.workloads.packages.legacy.staging import Staging

_STAGE_OF: Final = {
    "users": "l_user", "supported_licenses": "l_licence", "requests": "l_request",
    "packages": "l_package", "request_packages": "l_link", "package_status": "l_status",
    "decisions": "l_decision", "security_scans": "l_scan", "audit_log": "l_entry",
}  # fmt: skip

_MEANWHILE: Final = ("23503", "23505", "40P01")
_BROKEN: Final = ("22", "23", "54")  # data, constraints, limits


@dataclass(frozen=True, slots=True)
class Counted:
    """Of one table: ``there`` = ``imported`` + ``known`` + ``left_out``."""

    there: int
    imported: int
    known: int
    left_out: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How many packages that stood at one status there stand at another one here."""

    there: str
    here: str
    packages: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What an import came to.

    Attributes:
        tables: by the predecessor's name of the table.
        left_out: rows without a place here, by table and reason.
        notes: what is otherwise than it stood there, and how often.
        ignored: the predecessor's other tables, with their numbers of rows.
    """

    tables: dict[str, Counted]
    statuses: list[Standing]
    left_out: dict[str, dict[str, int]]
    notes: dict[str, int]
    ignored: dict[str, int] = field(default_factory=dict)


def import_legacy(engine: Engine, url: str, *, dry_run: bool) -> Taken:
    """Take over what the database at ``url`` holds and this one lacks: everything, or no row.

    Run again it adds what has come since; rows that are here are never changed. A dry run does the
    same under other numbers, and takes it back at the end.

    Raises:
        LegacyError: there is no such database, or somebody writes the same rows here just now.
        backend.settings.SettingsError: ``url`` is not a PostgreSQL URL.
        sqlalchemy.exc.SQLAlchemyError: our own database fails.
    """
    with opened(url) as source, engine.connect() as connection, connection.begin() as transaction:
        _alone(connection)
        there = source.tables()
        staging = Staging(source, connection, there)
        try:
            staging.stage_all()
            notes = {**staging.notes, **_take_over(connection, staging, dry_run=dry_run)}
        except DBAPIError as error:
            if refusal := _refusal(error):
                raise LegacyError(refusal) from None
            raise
        taken = _counted(connection, there, staging, notes)
        if dry_run:
            transaction.rollback()
        else:
            _note(connection, taken)
        return taken


def _alone(connection: Connection) -> None:
    connection.execute(text("SET LOCAL timezone = 'UTC'"))
    # A lock's bytes are large, and many: the limits of a request are not meant for this.
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('legacy import', 0))"))


def _take_over(connection: Connection, staging: Staging, *, dry_run: bool) -> dict[str, int]:
    """Everything, each table after those that it refers to; answers what came out otherwise."""

    def run(*statements: str) -> int:
        """Answers how many rows the last one wrote."""
        return [connection.exec_driver_sql(statement).rowcount for statement in statements][-1]

    giving = (sql.NUMBER_ASIDE,) if dry_run else (sql.STEP_ASIDE, sql.KEEP, sql.NUMBER)

    def numbered(stage: str, table: str) -> None:
        for statement in (*giving, sql.NUMBERED):
            run(statement.format(stage=stage, table=table, largest=sql.LARGEST))

    run(sql.USERS_KNOWN, sql.USERS_TAKEN, sql.USERS_KNOWN)
    numbered("l_user", "users")
    run(sql.USERS, sql.LICENCES_KNOWN)
    numbered("l_licence", "supported_licenses")
    run(sql.LICENCES, sql.REQUESTORS, sql.UNKNOWN_REQUESTOR)
    of_nobody = run(sql.OF_NOBODY)
    run(sql.REQUESTS_KNOWN)
    numbered("l_request", "requests")
    run(sql.REQUESTS, sql.EXCLUSIONS, sql.PACKAGES_KNOWN)
    numbered("l_package", "packages")
    run(sql.PACKAGES, sql.OF_OUR_PACKAGES, sql.ARTIFACTS_KNOWN)
    numbered("l_artifact", "artifacts")
    run(sql.ARTIFACTS, sql.LINKS_KNOWN, sql.LINKS, sql.ANALYSE, sql.STATUSES_KNOWN)
    numbered("l_status", "package_status")
    refused = run(sql.DECISIONS_KNOWN, sql.DECISIONS_REFUSED)
    staging.left_out["decisions", "by nobody who may decide here"] = refused
    decided = run(sql.DECISIONS)
    unapproved = run(sql.ANALYSE_DECISIONS, sql.UNAPPROVED)
    never_begun = run(sql.STATUSES, sql.ENQUEUED)
    run(sql.SCANS_KNOWN, sql.SCANS, sql.ENTRIES_KNOWN)
    numbered("l_entry", "audit_log")
    run(sql.ENTRIES, sql.UNWATCHED)
    return {
        "licences that have another tier here": connection.exec_driver_sql(
            sql.LICENCES_DIFFER
        ).scalar_one(),
        f"requests of nobody, now of {sql.NOBODY}": of_nobody,
        "decisions taken over": decided,
        "approvals by nobody who may approve here: they wait for one": unapproved,
        "packages without a status, now Requested": never_begun,
    }


def _counted(
    connection: Connection, there: dict[str, int], staging: Staging, notes: dict[str, int]
) -> Taken:
    """Raises LegacyError where the counts of both sides do not balance."""
    left_out: dict[str, dict[str, int]] = {}
    for (table, reason), number in sorted(staging.left_out.items()):
        if number:
            left_out.setdefault(table, {})[reason] = number
    tables = {}
    for table, stage in _STAGE_OF.items():
        if table in there:
            staged, known = connection.exec_driver_sql(sql.COUNTS.format(stage=stage)).one()
            missing = sum(left_out.get(table, {}).values())
            tables[table] = Counted(there[table], staged - known, known, missing)
    if wrong := [name for name, c in tables.items() if c.there != sum(astuple(c)[1:])]:
        raise LegacyError(
            f"the counts of {', '.join(wrong)} do not balance: nothing was taken over"
        )
    return Taken(
        tables=tables,
        statuses=[Standing(*row) for row in connection.exec_driver_sql(sql.STANDINGS)],
        left_out=left_out,
        notes={note: number for note, number in notes.items() if number},
        ignored={name: rows for name, rows in there.items() if name not in TABLES and rows},
    )


def _note(connection: Connection, taken: Taken) -> None:
    """One entry in the audit log, where anything was taken over."""
    imported = {name: table.imported for name, table in taken.tables.items() if table.imported}
    if imported:
        with Session(connection) as session:
            record(
                session, "lockkeeper import", "predecessor.imported", "database:legacy", **imported
            )
            session.flush()


def _refusal(error: DBAPIError) -> str | None:
    """Why nothing was taken over, where it is the rows' matter; None for another fault."""
    code = str(getattr(error.orig, "pgcode", None))
    constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
    if code in _MEANWHILE:
        return (
            "somebody wrote the same rows meanwhile, and nothing was taken over: try again"
            f" ({constraint or error.orig.__class__.__name__})"
        )
    if code.startswith(_BROKEN):
        said = str(error.orig).splitlines()[0]
        return f"a row has no place here, and nothing was taken over: {said}"
    return None
