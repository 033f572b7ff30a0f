"""Chains what is committed: one sealer at a time, and never past the oldest running transaction.

An entry carries the number of its transaction. One whose number lies below the oldest that still
runs has committed, or never will, so the order (transaction, id) of those below it is final.
A dump that is restored brings numbers along that its new server has not come to yet: entries of the
future are committed as well, and sealed when everything is looked at.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Row, func, select, text
from sqlalchemy.orm import Session

from backend.audit import chain
from backend.audit.model import AuditCheckpoint, AuditSeal
from backend.audit.signing import Signer
from backend.audit.statements import SealStatement

AT_ONCE: Final = 5000
"""Entries of one seal at most: a fraction of a second's work."""

_TRY_TURN = select(func.pg_try_advisory_xact_lock(func.hashtextextended("audit seal", 0)))
_NOW = select(func.clock_timestamp())

XMIN: Final = "CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)"
_XMAX: Final = "CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)"
UNSEALED: Final = """
NOT EXISTS (SELECT FROM audit_seals, unnest(entries) AS sealed(id) WHERE sealed.id = entry.id)
"""
_HORIZON = text(f"SELECT {XMIN}")
_NEXT = text(f"""
SELECT {chain.COLUMNS}, true AS ours FROM audit_log AS entry
WHERE entry.xid >= :xid AND (entry.xid, entry.id) > (:xid, :id) AND entry.xid < {XMIN}
ORDER BY entry.xid, entry.id LIMIT :limit
""")  # noqa: S608 - constants of this package
_ALL = text(f"""
SELECT {chain.COLUMNS}, entry.xid < {XMIN} AS ours FROM audit_log AS entry
WHERE (entry.xid < {XMIN} OR entry.xid >= {_XMAX}) AND {UNSEALED}
ORDER BY entry.xid, entry.id LIMIT :limit
""")  # noqa: S608 - constants of this package

_LAST = "FROM audit_seals ORDER BY id DESC LIMIT 1"
# With an order and a limit, as _NEXT, which EXISTS would drop: a plan for any bounds must not read
# the whole log.
DUE: Final = f"""
(
    SELECT entry.id FROM audit_log AS entry
    WHERE entry.xid >= coalesce((SELECT last_xid {_LAST}), 0)
        AND (entry.xid, entry.id) >
            (coalesce((SELECT last_xid {_LAST}), 0), coalesce((SELECT last_id {_LAST}), 0))
        AND entry.xid < {XMIN}
    ORDER BY entry.xid, entry.id LIMIT 1
) IS NOT NULL OR coalesce((SELECT last_xid {_LAST}) > {XMIN}, false)
"""  # noqa: S608 - constants of this package
"""A condition in SQL: whether :func:`seal` may find something."""


def seal(
    session: Session, signer: Signer | None, *, whole: bool = False, limit: int = AT_ONCE
) -> AuditSeal | None:
    """Chain and sign the entries that are committed and not sealed yet.

    Args:
        session: of a short transaction, READ COMMITTED; nothing of it may be written before.
        signer: without one the seal is unsigned.
        whole: look among all entries, not only among those after the last seal's. Once in a while:
            finds what a restored dump, or a forger, has put before them.
        limit: of entries.

    Returns:
        The seal; None where there is nothing to seal, or another sealer is at it.
    """
    if not session.scalar(_TRY_TURN):
        return None
    end = _end(session)
    gone_back = end.xid > session.scalars(_HORIZON).one()
    rows = session.execute(
        _ALL if whole or gone_back else _NEXT, {"xid": end.xid, "id": end.id, "limit": limit}
    ).all()
    if not rows:
        return None
    ours = [(row.xid, row.id) for row in rows if row.ours]
    marks = ours[-1:] if gone_back and ours else [*ours[-1:], (end.xid, end.id)]
    made = _following(end, rows, max(marks), session.scalars(_NOW).one())
    if signer is not None:
        made.public_key = signer.public_key
        made.signature = signer.sign(SealStatement.of(made))
    session.add(made)
    session.flush()
    return made


def newest(session: Session) -> AuditSeal | None:
    """The newest seal: its head stands for everything before it. None where all are archived."""
    return session.scalar(select(AuditSeal).order_by(AuditSeal.id.desc()).limit(1))


def newest_checkpoint(session: Session) -> AuditCheckpoint | None:
    """What the chain in the database begins after; None where it begins at its beginning."""
    return session.scalar(select(AuditCheckpoint).order_by(AuditCheckpoint.seal.desc()).limit(1))


class _End(NamedTuple):
    """Where the chain ends; every entry of this server's up to (``xid``, ``id``) is in it."""

    seal: int = 0
    head: bytes = chain.GENESIS
    total: int = 0
    xid: int = 0
    id: int = 0


def _end(session: Session) -> _End:
    if last := newest(session):
        return _End(last.id, last.head, last.total, last.last_xid, last.last_id)
    if archived := newest_checkpoint(session):
        return _End(archived.seal, archived.head, archived.total)
    return _End()


def _following(
    end: _End, rows: Sequence[Row[Any]], mark: tuple[int, int], now: datetime
) -> AuditSeal:
    return AuditSeal(
        id=end.seal + 1,
        entries=[row.id for row in rows],
        total=end.total + len(rows),
        last_xid=mark[0],
        last_id=mark[1],
        previous=end.head,
        head=chain.head(end.head, map(chain.line, rows)),
        sealed_at=now,
    )
