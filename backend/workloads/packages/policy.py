"""The policy in force: asked for before each judgement, so that a change acts at once."""

import threading
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select

from backend.autocommit import Autocommit, Statement
from backend.workloads.packages.licences import LicencePolicy, Tier
from backend.workloads.packages.policies.document import PolicyDocument
from backend.workloads.packages.policies.loosening import effective_tiers
from backend.workloads.packages.policies.model import PolicyState
from backend.workloads.packages.policies.rules import Rulebook


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """``digest`` changes with any rule or tier: rows judged under another one are judged again.

    ``licences`` are the table's tiers with the policy's own before them. ``mark`` is what
    :data:`MARK` answered when all this was read.
    """

    version: int
    rules: Rulebook
    licences: LicencePolicy
    digest: str
    mark: int | None = None


MARK: Final = "(SELECT mark FROM policy_state)"
"""Changes with any rule or tier, as the digest does: a number, of one short row."""

DIGEST: Final = func.coalesce(select(PolicyState.digest).scalar_subquery(), "")
"""One word for the policy and all tiers as they are now, within a statement."""

NEWEST: Final = "effective_at IS NOT NULL ORDER BY id DESC LIMIT 1"
"""In SQL: which of ``policy_versions`` is in force."""

_POLICY: Final = Statement(f"""
SELECT v.id, v.document, s.mark, s.digest,
  (SELECT json_object_agg(identifier, status) FROM supported_licenses) AS tiers
FROM (SELECT id, document FROM policy_versions WHERE {NEWEST}) v
LEFT JOIN policy_state s ON true
""")  # noqa: S608 - put together from constants
_lock = threading.Lock()
_last: PolicyInForce | None = None


def policy_in_force(statements: Autocommit, mark: int | None) -> PolicyInForce:
    """The policy as it is now; read and made ready only where the last one had not this ``mark``.

    A transaction of its own: it may be younger than ``mark``, and says so.
    """
    global _last  # noqa: PLW0603 - one remembered value, guarded by the lock
    with _lock:
        if _last is None or _last.mark != mark:
            (found,) = statements.rows(_POLICY, {})
            document = PolicyDocument.model_validate(found.document)
            tiers = {identifier: Tier(status) for identifier, status in (found.tiers or {}).items()}
            _last = PolicyInForce(
                version=found.id,
                rules=Rulebook(document),
                licences=LicencePolicy(effective_tiers(document, tiers)),
                digest=found.digest or "",
                mark=found.mark,
            )
        return _last
