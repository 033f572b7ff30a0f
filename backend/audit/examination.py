"""What the doctor asks of the audit log: is it sealed, signed, and what it was lately?"""

from collections.abc import Iterator, Mapping
from typing import Final

from sqlalchemy import select, text

from backend.audit import segments
from backend.audit.model import AuditSeal
from backend.audit.sealing import newest
from backend.audit.statements import SealStatement
from backend.audit.walking import Walk
from backend.queue.doctor.findings import Check, Examination, Finding, error, warning
from backend.queue.wording import when

LAST: Final = 20
"""Seals that are looked at; `lockkeeper audit verify` looks at all."""

_LATE: Final = text("""
SELECT min(at) FROM audit_log
WHERE xid >= :xid AND (xid, id) > (:xid, :id) AND at < clock_timestamp() - interval '5 minutes'
""")


def chain(e: Examination) -> Iterator[Finding]:
    last = newest(e.session)
    mark = {"xid": last.last_xid, "id": last.last_id} if last else {"xid": 0, "id": 0}
    oldest = e.session.scalar(_LATE, mark)
    if oldest is not None:
        yield warning(
            "audit-unsealed",
            f"Entries of the audit log since {when(oldest)} are not sealed: no worker runs, or a"
            " transaction has been open for as long.",
            since=oldest,
        )
    if last is None:
        return
    if last.signature is None:
        yield warning(
            "audit-unsigned",
            f"Seal {last.id} of the audit log is not signed: whoever may write to the database can"
            " forge the whole chain. Set AUDIT_SIGNING_KEY_FILE for the workers.",
            seal=last.id,
        )
    walk = _walked(e, after=max(0, last.id - LAST))
    for fault in walk.faults:
        yield error(
            "audit-broken",
            f"The audit log is not what was sealed. {fault} See `lockkeeper audit verify`.",
            seal=last.id,
        )


def _walked(e: Examination, *, after: int) -> Walk:
    walk = Walk()
    first = e.session.scalar(
        select(AuditSeal).where(AuditSeal.id > after).order_by(AuditSeal.id).limit(1)
    )
    if first is not None:
        walk.begin_at(first.previous, first.total - len(first.entries), first.id - 1)
    for seal, lines in segments.sealed(e.session, after=after):
        for line in lines:
            walk.take(line)
        walk.follow(SealStatement.of(seal))
    return walk


CHECKS: Final[Mapping[str, Check]] = {"the audit log": chain}
