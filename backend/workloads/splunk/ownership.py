"""Whose a run is: its uploader's and the admins'; for others it is not there."""

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from backend.identity.roles import Principal, Role
from backend.problems import NotFound
from backend.workloads.splunk.model import IngestionRun


def visible_to(principal: Principal) -> list[ColumnElement[bool]]:
    """Conditions on the runs that the caller sees: none for admins."""
    return [] if principal.may(Role.ADMIN) else [IngestionRun.uploaded_by == principal.id]


def run_of(
    session: Session, run_id: int, principal: Principal, *, lock: bool = False
) -> IngestionRun:
    """A run, locked against everybody else's changes where that is asked for.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    wanted = select(IngestionRun).where(IngestionRun.id == run_id, *visible_to(principal))
    if lock:
        wanted = wanted.with_for_update()
    run = session.scalar(wanted)
    if run is None:
        raise NotFound(f"There is no run {run_id}.")
    return run
