"""The tables of the chain. The database refuses to change or remove what they hold."""

from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, DateTime, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base
from backend.identity.model import XID

TIMESTAMP = DateTime(timezone=True)


def _signed() -> tuple[CheckConstraint, ...]:
    """A signature is whole, with its key, or absent."""
    return (
        CheckConstraint("num_nonnulls(public_key, signature) IN (0, 2)", name="signed"),
        CheckConstraint("length(public_key) = 32 AND length(signature) = 64", name="signature"),
    )


class AuditSeal(Base):
    """A link of the chain: some entries, in their order, after those of the seal before.

    A trigger lets only the next one in: its number, ``previous`` and ``total`` follow the newest.
    """

    __tablename__ = "audit_seals"
    __table_args__ = (
        CheckConstraint("cardinality(entries) > 0", name="entries"),
        CheckConstraint("length(previous) = 32 AND length(head) = 32", name="sha256"),
        *_signed(),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """1, 2, 3, … without a gap."""
    entries: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    """Ids of ``audit_log``, in the order in which they are chained."""
    total: Mapped[int] = mapped_column(BigInteger)
    """How many entries the chain holds with these, archived ones too."""
    last_xid: Mapped[int] = mapped_column(BigInteger)
    """With ``last_id``: every entry of this server's that is not after it is sealed."""
    last_id: Mapped[int] = mapped_column(BigInteger)
    previous: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    head: Mapped[bytes] = mapped_column(LargeBinary)
    sealed_at: Mapped[datetime] = mapped_column(TIMESTAMP)
    public_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Ed25519; it and the signature are absent where no key was configured."""
    signature: Mapped[bytes | None] = mapped_column(LargeBinary)


class AuditCheckpoint(Base):
    """What stays of seals that were archived: the last one's head, from which the chain goes on."""

    __tablename__ = "audit_checkpoints"
    __table_args__ = (
        CheckConstraint("length(head) = 32 AND length(file_sha256) = 32", name="sha256"),
        *_signed(),
    )

    seal: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    head: Mapped[bytes] = mapped_column(LargeBinary)
    total: Mapped[int] = mapped_column(BigInteger)
    made_at: Mapped[datetime] = mapped_column(TIMESTAMP)
    file_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    """Of the archive that the entries lie in now."""
    public_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    xid: Mapped[int] = mapped_column(BigInteger, server_default=text(XID))
