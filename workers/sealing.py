"""Chains the audit log: what has been committed, every few seconds, whatever else happens."""

from functools import partial
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from backend.audit import sealing
from backend.audit.model import AuditSeal
from backend.audit.signing import Signer
from workers.database import Transactions
from workers.periodic import NOT_OURS, Periodic, forbidden

log = structlog.get_logger(__name__)

EVERY: Final = 5.0  # seconds until it tries again


class Sealer(Periodic):
    """Seals what is committed, and says each head in the log: a witness outside the database.

    No worker depends on it, and of all workers one at a time is at it.
    """

    def __init__(self, *, transactions: Transactions, signer: Signer | None) -> None:
        super().__init__("sealer", due=sealing.DUE)
        self._transactions = transactions
        self._signer = signer
        self._whole = True  # once: what came of a restored dump is nowhere else noticed

    def turn(self) -> float | None:
        """Seal once; answers the seconds until the next time, None: when something is due."""
        work = partial(sealing.seal, signer=self._signer, whole=self._whole)
        try:
            seal = self._transactions.once(work)
        except SQLAlchemyError as error:
            if forbidden(error):
                log.info("audit.not_ours", again_in_s=NOT_OURS)
                return NOT_OURS
            cause = error.orig if isinstance(error, DBAPIError) else error
            log.warning("audit.not_sealed", error=type(cause).__name__)
            return EVERY
        if seal is None:
            self._whole = False
            return None
        _say(seal)
        if len(seal.entries) == sealing.AT_ONCE:
            return 0.0
        return EVERY if self._whole else None


def _say(seal: AuditSeal) -> None:
    log.info("audit.sealed", seal=seal.id, entries=len(seal.entries), total=seal.total,
             head=seal.head.hex(), signed=seal.signature is not None)  # fmt: skip
