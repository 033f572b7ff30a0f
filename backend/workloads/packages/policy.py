"""The licence tiers in force: read from the database, so that a change acts at once."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.workloads.packages.licences import LicencePolicy, Tier, load_default_licences
from backend.workloads.packages.model import SupportedLicense

Tiers = tuple[tuple[str, str], ...]
"""(SPDX identifier, tier), sorted by identifier."""


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """``digest`` changes with any tier: rows judged under another one are judged again."""

    licences: LicencePolicy
    digest: str


def read_tiers(session: Session) -> Tiers:
    found = session.execute(
        select(SupportedLicense.identifier, SupportedLicense.status).order_by(
            SupportedLicense.identifier
        )
    )
    return tuple((identifier, status) for identifier, status in found)


def digest_of(tiers: Tiers) -> str:
    return hashlib.sha256(json.dumps(tiers).encode()).hexdigest()[:16]


@lru_cache(maxsize=4)
def policy_of(tiers: Tiers) -> PolicyInForce:
    """Building a policy parses every identifier: once for each state of the table."""
    licences = LicencePolicy({identifier: Tier(status) for identifier, status in tiers})
    return PolicyInForce(licences, digest_of(tiers))


def seed_licences(session: Session) -> int:
    """Fill an empty table with the default tiers; answers how many were added."""
    if session.scalar(select(SupportedLicense.id).limit(1)) is not None:
        return 0
    defaults = [
        {"identifier": entry.identifier, "name": entry.name, "status": entry.status}
        for entry in load_default_licences()
    ]
    session.execute(insert(SupportedLicense).on_conflict_do_nothing(), defaults)
    return len(defaults)
