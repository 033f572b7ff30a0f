"""The task of a schedule: asked for by its owner, who must be allowed to each time."""

from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.identity.model import User
from backend.identity.roles import Principal, Role
from backend.problems import Conflict, Forbidden
from backend.settings import Settings
from backend.workloads.tasks import submission
from backend.workloads.tasks.asking import Ask, Caller
from backend.workloads.tasks.schedules.model import Schedule
from backend.workloads.tasks.sealing import Unsealable, unseal

ACTOR: Final = "schedules"
"""Who submits the product's own tasks, in the audit log."""


def submit(session: Session, settings: Settings, schedule: Schedule) -> submission.Submitted:
    """Submit its task once, now; commits nothing.

    Raises:
        Problem: its owner may not, or the parameters are none of its type any more.
        Unavailable: its parameters are sealed, and there is no TASK_KEY.
    """
    ask = Ask(
        task_type=schedule.task_type,
        user_id=schedule.user_id,
        parameters=parameters(settings, schedule),
        priority=schedule.priority,
        unique=schedule.unique_pending,
        by=f"schedule:{schedule.id}",
    )
    return submission.submit(session, settings, owner(session, schedule), ask)


def parameters(settings: Settings, schedule: Schedule) -> dict[str, Any]:
    """As they were given.

    Raises:
        Unavailable: they are sealed, and there is no TASK_KEY.
        Conflict: code ``sealed``: they were sealed under another one.
    """
    if schedule.sealed is None:
        assert schedule.parameters is not None  # a CHECK says so
        return schedule.parameters
    try:
        return unseal(settings, schedule.sealed)
    except Unsealable as error:
        raise Conflict(f"The parameters were {error}.", code="sealed") from None


def owner(session: Session, schedule: Schedule) -> Caller:
    """With the role that they have now."""
    if schedule.created_by is None:
        return ACTOR
    # Its columns one by one: a worker's role may not read the password's hash.
    known = select(User.id, User.username, User.role, User.active)
    user = session.execute(known.where(User.id == schedule.created_by)).one()
    if not user.active:
        raise Forbidden("The schedule's owner is no active user any more.")
    return Principal(user.id, user.username, Role(user.role))
