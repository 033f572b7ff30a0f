"""The licence tiers in force: asked for at each step, so that a change acts at once."""

import threading
from dataclasses import dataclass

from sqlalchemy import func, literal, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from backend.workloads.packages.licences import LicencePolicy, Tier
from backend.workloads.packages.model import SupportedLicense


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """``digest`` changes with any tier: rows judged under another one are judged again."""

    licences: LicencePolicy
    digest: str


_DIGEST = select(
    func.md5(
        func.string_agg(
            SupportedLicense.identifier + "=" + SupportedLicense.status,
            aggregate_order_by(literal("\n"), SupportedLicense.identifier),
        )
    )
)
_lock = threading.Lock()
_last: PolicyInForce | None = None


def policy_digest(session: Session) -> str:
    """One word for all tiers as they are now; "" for an empty table."""
    return session.scalar(_DIGEST) or ""


def policy_in_force(session: Session) -> PolicyInForce:
    """The tiers as they are now; read and parsed only where they changed since the last time."""
    global _last  # noqa: PLW0603 - one remembered value, guarded by the lock
    digest = policy_digest(session)
    with _lock:
        if _last is None or _last.digest != digest:
            found = session.execute(select(SupportedLicense.identifier, SupportedLicense.status))
            licences = LicencePolicy({identifier: Tier(status) for identifier, status in found})
            _last = PolicyInForce(licences, digest)
        return _last
