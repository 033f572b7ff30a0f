"""The server: what slows it down, and what it is about to run out of."""

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Row

from backend.queue.doctor.findings import Examination, Finding, error, warning
from backend.queue.sql import server
from backend.queue.wording import span, when

_MIB: Final = 1024 * 1024


def service(e: Examination) -> Iterator[Finding]:
    found = e.session.execute(server.SERVER).one()
    if found.major < e.limits.postgresql:
        yield error(
            "postgresql-old",
            f"PostgreSQL {found.version} is too old: {e.limits.postgresql} or newer is needed.",
            version=found.version,
        )
    if found.connections >= e.limits.connections * found.most:
        yield warning(
            "connections-low",
            f"{found.connections} of {found.most} connections are taken: a few more, and workers"
            " and API are refused. Lower DATABASE_POOL_SIZE, use a pooler, or raise"
            " max_connections.",
            connections=found.connections,
            most=found.most,
        )


def transactions(e: Examination) -> Iterator[Finding]:
    asked = {"longest": e.limits.transaction, "transactions": e.limits.transactions}
    for row in e.session.execute(server.OLD_TRANSACTIONS, asked):
        yield _old_transaction(row)


def _old_transaction(row: Row[Any]) -> Finding:
    who = f"{row.usename or row.backend_type}, application {row.application_name or 'unnamed'!r}"
    age = (
        f"open for {span(row.seconds)}"
        if row.seconds is not None
        else f"of an age that this role may not see, {row.transactions} transactions back"
    )
    facts = {
        "pid": row.pid,
        "user": row.usename,
        "application": row.application_name,
        "state": row.state,
        "seconds": None if row.seconds is None else float(row.seconds),
        "since": row.xact_start,
        "query_start": row.query_start,
        "transactions": row.transactions,
    }
    session = f"A transaction of pid {row.pid} ({who}; {row.state or row.backend_type}) is {age}"
    if row.query_start is not None:
        session += f", its last query began at {when(row.query_start)}"
    end = f" End it, or have it ended: SELECT pg_terminate_backend({row.pid})."
    if row.pins:
        return warning(
            "pinned-horizon",
            f"{session}. It pins the cleanup horizon: dead rows of every queue stay, and claims"
            f" slow down.{end}",
            **facts,
        )
    return warning("long-transaction", f"{session}. It may hold locks.{end}", **facts)


def prepared(e: Examination) -> Iterator[Finding]:
    for row in e.session.execute(server.PREPARED, {"longest": e.limits.transaction}):
        yield warning(
            "prepared-transaction",
            f"The prepared transaction {row.gid!r} of {row.owner} is open for {span(row.seconds)}:"
            " it keeps its locks and pins the cleanup horizon. COMMIT PREPARED or ROLLBACK"
            " PREPARED it.",
            gid=row.gid,
            user=row.owner,
            since=row.prepared,
            seconds=float(row.seconds),
        )


def slots(e: Examination) -> Iterator[Finding]:
    for row in e.session.execute(server.SLOTS, {"transactions": e.limits.transactions}):
        state = "is far behind" if row.active else "is followed by nobody"
        yield warning(
            "replication-slot",
            f"The {row.slot_type} replication slot {row.slot_name!r} {state}: it keeps write-ahead"
            " log and dead rows. Let its reader catch up, or drop it.",
            slot=row.slot_name,
            active=row.active,
            transactions=row.transactions,
        )


def dead_tuples(e: Examination) -> Iterator[Finding]:
    asked = {
        "tables": [table.name for table in e.queue_tables],
        "least": e.limits.dead,
        "share": e.limits.dead_share,
    }
    for row in e.session.execute(server.DEAD_TUPLES, asked):
        cleaned = f"last at {when(row.vacuumed_at)}" if row.vacuumed_at else "never"
        off = "" if row.autovacuum else " Autovacuum is off."
        yield warning(
            "dead-tuples",
            f"{row.name} has {row.dead:,} dead rows beside {row.live:,} live ones; it was vacuumed"
            f" {cleaned}.{off} See that no old transaction pins the horizon, then VACUUM it.",
            table=row.name,
            dead=row.dead,
            live=row.live,
            vacuumed_at=row.vacuumed_at,
            autovacuum=row.autovacuum,
        )


def bloat(e: Examination) -> Iterator[Finding]:
    asked = {
        "tables": [table.name for table in e.queue_tables],
        "least": e.limits.bloat,
        "ratio": e.limits.bloat_ratio,
    }
    for row in e.session.execute(server.BLOAT, asked):
        yield warning(
            "index-bloat",
            f"The index {row.name} of {row.table_name} takes {row.bytes / _MIB:.0f} MiB where its"
            f" {row.entries:,} entries would need some {row.needed / _MIB:.0f} MiB (an estimate,"
            f" from the last VACUUM or ANALYZE). REINDEX INDEX CONCURRENTLY {row.name}.",
            table=row.table_name,
            index=row.name,
            bytes=row.bytes,
            estimated_bytes=row.needed,
            entries=row.entries,
        )
