"""The licence tiers in force: asked for before each judgement, so that a change acts at once."""

import threading
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, literal, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from backend.autocommit import Autocommit, Statement
from backend.workloads.packages.licences import LicencePolicy, Tier
from backend.workloads.packages.model import SupportedLicense


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """``digest`` changes with any tier: rows judged under another one are judged again.

    ``mark`` is what :data:`MARK` answered when they were read.
    """

    licences: LicencePolicy
    digest: str
    mark: int | None = None


MARK: Final = """
(SELECT bit_xor(hashtextextended(identifier || '=' || status, 0)) FROM supported_licenses)
"""
"""Changes with any tier, as the digest does, at a quarter of its cost."""

_DIGEST = select(
    func.md5(
        func.string_agg(
            SupportedLicense.identifier + "=" + SupportedLicense.status,
            aggregate_order_by(literal("\n"), SupportedLicense.identifier),
        )
    )
)
DIGEST: Final = func.coalesce(_DIGEST.scalar_subquery(), "")
"""One word for all tiers as they are now, within a statement; "" for an empty table."""

_TIERS: Final = Statement(f"""
SELECT json_object_agg(identifier, status) AS tiers, {MARK} AS mark,
  md5(string_agg(identifier || '=' || status, chr(10) ORDER BY identifier)) AS digest
FROM supported_licenses
""")  # noqa: S608 - put together from constants
_lock = threading.Lock()
_last: PolicyInForce | None = None


def policy_in_force(statements: Autocommit, mark: int | None) -> PolicyInForce:
    """The tiers as they are now; read and parsed only where the last ones had not this ``mark``."""
    global _last  # noqa: PLW0603 - one remembered value, guarded by the lock
    with _lock:
        if _last is None or _last.mark != mark:
            (found,) = statements.rows(_TIERS, {})
            tiers = {identifier: Tier(status) for identifier, status in (found.tiers or {}).items()}
            _last = PolicyInForce(LicencePolicy(tiers), found.digest or "", found.mark)
        return _last
