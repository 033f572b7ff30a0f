"""What was read about one request, as values; nothing here asks the database."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from pydantic_core import from_json

from backend.workloads.packages.evidence.graph import LockGraph, main_graph
from backend.workloads.packages.evidence.stored_lock import Json, read_stored
from backend.workloads.packages.service import SUMMARY, RequestSummary, no_request


class Written(NamedTuple):
    """Documents as the database wrote them, each a JSON text.

    In the first four everything bears the ``id`` of its package; of ``packages``, ``licences`` and
    ``findings`` each has one element for every package, in the same order. ``audit`` has the
    newest seal of the audit log under ``seal``, null where nothing is sealed.
    """

    packages: str
    licences: str
    findings: str
    decisions: str
    policy: str
    audit: str


@dataclass(frozen=True)
class Evidence:
    """All of one request, as it was at ``taken_at`` (RFC 3339, UTC).

    ``packages`` is what the SBOMs need of each: its names, hash, licences, what it bundles.
    """

    summary: RequestSummary
    taken_at: str
    lock: bytes
    packages: tuple[Json, ...]
    exclusions: tuple[Json, ...]
    notices: tuple[Json, ...]
    written: Written

    @cached_property
    def lock_sha256(self) -> str:
        return hashlib.sha256(self.lock).hexdigest()

    @cached_property
    def graph(self) -> LockGraph:
        return main_graph(read_stored(self.lock))


def collected(request_id: int, found: Sequence[Any]) -> Evidence:
    """Make values of what ``reading.EVIDENCE`` answered.

    Raises:
        NotFound: there is no such request, or it is somebody else's.
    """
    if found[0] is None:
        raise no_request(request_id)
    taken_at, lock, packages, exclusions, notices, *written = found[SUMMARY:]
    return Evidence(
        summary=RequestSummary(*found[:SUMMARY]),
        taken_at=taken_at,
        lock=bytes(lock),
        packages=tuple(from_json(packages)),
        exclusions=tuple(from_json(exclusions)),
        notices=tuple(from_json(notices)),
        written=Written(*written),
    )
