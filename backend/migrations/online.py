"""What each migration means for those who use the database meanwhile.

Every one leaves what the release before it needs, so that its API and workers go on. Nearly all
hold a lock that shuts others out for an instant only, however large a table is; those that read or
write a whole table under such a lock are named here, with what waits for them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, Self

HOLDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "0002": "moves all of attempts: what settles a row waits",
        "0003": "reads all of package_status: claims and uploads wait",
        "0004": "reads all of audit_log: whatever is noted in it waits",
        "0005": "reads all of package_status: claims and uploads wait",
        "0012": "reads all of events and webhooks: what tells of a finished request waits",
        "0015": "reads all of tasks: their claims and submissions wait",
    }
)


class Pending(NamedTuple):
    """A migration that is to be applied; ``holds`` is None where nobody waits for it."""

    revision: str
    summary: str
    holds: str | None

    @classmethod
    def of(cls, revision: str, summary: str | None) -> Self:
        return cls(revision, (summary or "").rstrip("."), HOLDS.get(revision))
