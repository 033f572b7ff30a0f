"""Is the schema the one that this release declares? The catalogue against the models."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import CheckConstraint, Index, Row, Table, literal_column, select, text
from sqlalchemy.engine import URL
from sqlalchemy.schema import Constraint, CreateIndex

from backend.queue.doctor.findings import Examination, Finding, error, rows_of, warning
from backend.queue.sql import server
from backend.queue.sql.examining import SHOWN

MIGRATE: Final = "Run `lockkeeper migrate`."
_POSTGRESQL: Final = URL.create("postgresql").get_dialect()()
_CAST: Final = re.compile(r"::[a-z]\w*")  # the catalogue shows those that were implied
_WORDS: Final = re.compile(r"'(?:[^']|'')*'|\b\d+\b")


def revision(e: Examination) -> Iterator[Finding]:
    if e.release is None:
        return
    found, needed = _revision(e), e.release.revision
    facts = {"found": found, "needed": needed}
    if found is None:
        yield error("schema-missing", f"The database has no schema yet. {MIGRATE}", **facts)
    elif found < needed:
        yield error(
            "schema-old",
            f"The schema is at revision {found}, this release needs {needed}; the rest of it was"
            f" not compared. {MIGRATE}",
            **facts,
        )
    elif found > needed:
        yield warning(
            "schema-new",
            f"The schema is at revision {found}, this release knows {needed}: a newer release has"
            " migrated it. The rest of it was not compared.",
            **facts,
        )


def _revision(e: Examination) -> str | None:
    if not e.session.scalar(server.REVISION_TABLE):
        return None
    found: str | None = e.session.scalar(server.REVISION)
    return found


def _comparable(e: Examination) -> bool:
    return e.release is None or _revision(e) == e.release.revision


def catalogue(e: Examination) -> Iterator[Finding]:
    """What the models declare and the database lacks, or has otherwise or only half made."""
    if not _comparable(e):
        return
    names = {"tables": [table.name for table in e.tables]}
    there = set(e.session.scalars(server.EXISTING, names))
    for table in e.tables:
        if table.name not in there:
            yield error("table-missing", f"The table {table.name} is missing.", table=table.name)
    for flaw in _constraint_flaws(e):
        yield flaw.finding()
    indexes = {row.name: row for row in e.session.execute(server.INDEXES, names)}
    for table in e.tables:
        if table.name in there:
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                yield from _index_flaws(table, index, indexes.pop(str(index.name), None))
    yield from (_half_made(row) for row in indexes.values() if not row.valid)


@dataclass(frozen=True, slots=True)
class _Flaw:
    """A constraint that does not hold."""

    table: Table
    constraint: Constraint
    code: str
    what: str

    def finding(self) -> Finding:
        return error(
            self.code,
            f"The constraint {self.constraint.name} of {self.table.name} {self.what}. Put it back"
            " as the migrations make it.",
            table=self.table.name,
            constraint=str(self.constraint.name),
        )


def _constraint_flaws(e: Examination) -> Iterator[_Flaw]:
    names = {"tables": [table.name for table in e.tables]}
    there = set(e.session.scalars(server.EXISTING, names))
    found = {(r.table_name, r.name): r for r in e.session.execute(server.CONSTRAINTS, names)}
    for table in (table for table in e.tables if table.name in there):
        for constraint in sorted(table.constraints, key=lambda one: str(one.name)):
            row = found.get((table.name, str(constraint.name)))
            if row is None:
                yield _Flaw(table, constraint, "constraint-missing", "is missing")
            elif not row.valid:
                what = "was never validated for the rows that were there before it"
                yield _Flaw(table, constraint, "constraint-not-valid", what)
            elif isinstance(constraint, CheckConstraint) and _words(row.definition) != _words(
                str(constraint.sqltext)
            ):
                what = "says something else than this release's"
                yield _Flaw(table, constraint, "constraint-differs", what)


def _words(rule: str) -> set[str]:
    """The literals of a rule: PostgreSQL writes the rest of it in words of its own."""
    return set(map(_in_utc, _WORDS.findall(rule)))


def _in_utc(word: str) -> str:
    """A literal; of a moment, which is shown in the session's zone, the one in UTC."""
    try:
        moment = datetime.fromisoformat(word.strip("'"))
    except ValueError:
        return word
    return str(moment.astimezone(UTC)) if moment.tzinfo else word


def _index_flaws(table: Table, index: Index, row: Row[Any] | None) -> Iterator[Finding]:
    facts = {"table": table.name, "index": str(index.name)}
    if row is None:
        yield error(
            "index-missing",
            f"The index {index.name} of {table.name} is missing: statements that need it read the"
            f" whole table. Make it again with `{_making(index)}`.",
            **facts,
        )
    elif not row.valid:
        yield error(
            "index-invalid",
            f"The index {index.name} of {table.name} is invalid: a CREATE INDEX CONCURRENTLY did"
            " not finish. Drop it and make it again, or REINDEX INDEX CONCURRENTLY.",
            **facts,
        )
    elif not _same(index, row):
        yield error(
            "index-differs",
            f"The index {index.name} of {table.name} is another one than this release's: it has"
            f" the columns {', '.join(row.columns)}"
            + (f" where {row.predicate}." if row.predicate else ".")
            + f" Drop it and make it again with `{_making(index)}`.",
            **facts,
        )


def _making(index: Index) -> str:
    """The statement that makes it while everything runs."""
    made = " ".join(str(CreateIndex(index).compile(dialect=_POSTGRESQL)).split())
    return made.replace("INDEX ", "INDEX CONCURRENTLY ", 1)


def _same(index: Index, row: Row[Any]) -> bool:
    declared = [str(one).removeprefix(f"{row.table_name}.") for one in index.expressions]
    found = [column.replace('"', "") for column in row.columns]
    where = index.dialect_options["postgresql"]["where"]
    return (
        list(map(_plain, found)) == list(map(_plain, declared))
        and row.is_unique == bool(index.unique)
        and _words(row.predicate or "") == _words("" if where is None else str(where))
    )


def _plain(column: str) -> str | frozenset[str]:
    """Of an expression over a document, its literals: see :func:`_words`; of another, no casts."""
    return frozenset(_words(column)) if "->" in column else _CAST.sub("", column).lower()


def _half_made(row: Row[Any]) -> Finding:
    return warning(
        "index-invalid",
        f"The index {row.name} of {row.table_name} is invalid and not one of this release's: a"
        " CREATE or REINDEX INDEX CONCURRENTLY did not finish. Every write pays for it: drop it.",
        table=row.table_name,
        index=row.name,
    )


def violations(e: Examination) -> Iterator[Finding]:
    """Rows that break a rule which nothing enforces now: the rules in force need no look."""
    if not _comparable(e):
        return
    for flaw in _constraint_flaws(e):
        if isinstance(flaw.constraint, CheckConstraint) and "id" in flaw.table.c:
            rule = str(flaw.constraint.sqltext)
            broken = text("NOT ({})".format(rule.replace(":", "\\:")))
            some_ids = select(flaw.table.c.id).where(broken).limit(literal_column(str(SHOWN)))
            ids = list(e.session.scalars(some_ids))
            if ids:
                yield error(
                    "rows-break-rule",
                    f"{rows_of(len(ids), ids, flaw.table.name)} break the rule of"
                    f" {flaw.constraint.name}: {rule}.",
                    table=flaw.table.name,
                    constraint=str(flaw.constraint.name),
                    ids=ids,
                )
