"""What of the packages workload's files may be removed: bytes that are published, and leftovers."""

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.settings import Settings
from backend.upkeep import Cache, Entry, Files, SharedBlobs
from backend.workloads.packages.cache import SHARED, ContentStore

SCRATCH: Final = tuple(
    f"lockkeeper-{tool}-*" for tool in ("advisories", "guarddog", "publish", "scan", "trivy")
)
"""Folders that scanners and publishers work in, and a killed worker leaves behind."""

# Of bytes that several packages share, one that is not published yet keeps them.
_NEEDED: Final = text("""
SELECT a.sha512, bool_or(
  CASE WHEN s.id IS NULL THEN a.merged_into IS NULL
       ELSE s.status NOT IN ('Published', 'Recalled') END) AS needed
FROM artifacts a LEFT JOIN package_status s ON s.artifact_id = a.id
WHERE a.sha512 = ANY (:hashes)
GROUP BY a.sha512
""")


def caches(settings: Settings) -> list[Cache]:
    """Those of a worker with these settings, and what it shares with others."""
    store = ContentStore.of(settings)
    return [*_of_this_machine(store), *_of_all_machines(store)]


def _of_this_machine(store: ContentStore) -> list[Cache]:
    return [
        Cache(
            name="packages",
            meaning="Bytes of packages. Those of packages that are published, or recalled since,"
            " may go, and old ones that belong to no package; they are fetched again if need be.",
            contents=Files(store.kept),
            removable=removable,
        ),
        Cache(
            name="unfinished downloads",
            meaning="What interrupted downloads left in the package cache.",
            contents=Files(store.unfinished),
        ),
        Cache(
            name="scratch folders",
            meaning="What killed workers left of the folders that packages are scanned in.",
            contents=Files(partial(_scratch, Path(tempfile.gettempdir()))),
        ),
    ]


def _of_all_machines(store: ContentStore) -> list[Cache]:
    if store.shared is None:
        return []
    return [
        Cache(
            name="shared packages",
            meaning="Bytes of packages in the bucket. The same may go as of this machine's.",
            contents=SharedBlobs(store.shared, SHARED),
            removable=removable,
        )
    ]


def removable(session: Session, entries: Sequence[Entry], expired_only: bool) -> list[Entry]:
    """Which bytes no package needs before it is published.

    Those that no package is known to have may be on their way into the database: only old ones go.
    """
    hashes = [_hash(entry) for entry in entries]
    found = session.execute(_NEEDED, {"hashes": hashes})
    needed = {row.sha512: row.needed for row in found}

    def may_go(entry: Entry) -> bool:
        known = needed.get(_hash(entry))
        if known is None:
            return entry.old
        return not known and (entry.old or not expired_only)

    return [entry for entry in entries if may_go(entry)]


def _hash(entry: Entry) -> str:
    return entry.name.rpartition("/")[2]


def _scratch(folder: Path) -> Iterator[Path]:
    for pattern in SCRATCH:
        yield from folder.glob(pattern)
