"""What the packages workload brings: its tables, its queues, and whose a row is."""

from sqlalchemy import select
from sqlalchemy.orm import Session

import backend.workloads.packages.advisories.model
import backend.workloads.packages.heuristics.model
import backend.workloads.packages.policies.model
import backend.workloads.packages.publications
import backend.workloads.packages.waivers.model  # noqa: F401 - imported for its tables
from backend.workloads.packages import model as MODELS  # noqa: N812 - imported for its tables
from backend.workloads.packages.announcing import ANNOUNCE
from backend.workloads.packages.lifecycle import PUBLISHING_QUEUE, VETTING_QUEUE
from backend.workloads.packages.model import PackageStatus, Request, RequestPackage

QUEUES = (VETTING_QUEUE, PUBLISHING_QUEUE)
ANNOUNCEMENTS = (ANNOUNCE,)

__all__ = ["ANNOUNCEMENTS", "MODELS", "QUEUES", "owned"]


def owned(session: Session, row_id: int, user_id: int) -> bool:
    """A package is everybody's who requested it."""
    requested = (
        select(Request.id)
        .join(RequestPackage, RequestPackage.request_id == Request.id)
        .join(PackageStatus, PackageStatus.artifact_id == RequestPackage.artifact_id)
        .where(PackageStatus.id == row_id, Request.requestor_id == user_id)
    )
    return bool(session.scalar(select(requested.exists())))
