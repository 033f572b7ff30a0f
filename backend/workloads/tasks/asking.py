"""What somebody asks to have done, checked: is there such a task, whose data, may they?"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeGuard

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.identity.model import User
from backend.identity.roles import Principal, Role
from backend.invalid import wrong_places
from backend.problems import Forbidden, Malformed, NotFound
from backend.strictjson import shown
from backend.workloads.tasks.registry import Parameters, TaskType, task_types

LATEST: Final = timedelta(days=366)
"""How far ahead a task may be asked for."""
DEFAULT_PRIORITY: Final = 5

Caller = Principal | str
"""Who asks: a person, or by its name a part of the product, which may do what an admin may."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One task as it is asked for.

    Args:
        task_type: its name.
        user_id: whose data it is to work on; see :class:`TaskType`'s ``subject`` for its absence.
        parameters: as its type has them; ``user_id`` may stand here as well.
        priority: 1 to 10, 10 is the most urgent.
        run_at: not before this moment, within :data:`LATEST`.
        delay: not before so much later; not beside ``run_at``.
        unique: where one of the submitter's that is the same waits already, that is the task.
        idempotency_key: 1 to 255 characters of the submitter's own.
        by: what asks in the submitter's name, for the audit log: "schedule:4".
    """

    task_type: str
    user_id: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    priority: int = DEFAULT_PRIORITY
    run_at: datetime | None = None
    delay: timedelta | None = None
    unique: bool = False
    idempotency_key: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for, understood. ``parameters`` are valid and do not name ``user_id``."""

    kind: TaskType
    user_id: int | None
    parameters: dict[str, Any]


def understood(session: Session, caller: Caller, ask: Ask) -> Wanted:
    """Everything that can be said against it at once, but for its time.

    Raises:
        Malformed: ``unknown-task-type``, ``invalid-parameters`` with an entry in ``errors`` for
            each wrong one, ``user-mismatch``.
        Forbidden: the type, or another user's data, needs a higher role.
        NotFound: ``unknown-user``.
    """
    kind = task_types().get(ask.task_type)
    if kind is None:
        raise Malformed(
            f"There is no task type {shown(ask.task_type)}; GET /api/tasks/types names them.",
            code="unknown-task-type",
        )
    demand_role(kind, caller)
    parameters = _valid(kind, ask.parameters)
    user_id = _subject(kind, caller, ask.user_id, parameters.pop("user_id", None))
    demand_subject(kind, caller, user_id)
    _demand_known(session, caller, user_id)
    return Wanted(kind, user_id, parameters)


def demand_role(kind: TaskType, caller: Caller) -> None:
    """Raises Forbidden where the caller may not submit such tasks."""
    if isinstance(caller, Principal) and not caller.may(kind.role):
        raise Forbidden(f"Tasks of type {kind.name} need the role {kind.role}.")


def demand_subject(kind: TaskType, caller: Caller, user_id: int | None) -> None:
    """Raises Forbidden where these are another user's data, or all, and the caller is no admin."""
    if kind.subject != "none" and _is_no_admin(caller) and caller.id != user_id:
        raise Forbidden("Another user's data need the role admin.", code="not-your-data")


def demand_time(ask: Ask) -> None:
    """Raises Malformed, code ``run-at``: the moment is past, or too far ahead.

    One that is past would count as having waited since then, and overtake everybody.
    """
    now = datetime.now(UTC)
    if ask.run_at is not None and not now < ask.run_at <= now + LATEST:
        raise Malformed(
            f"run_at must be later than now, and by {LATEST.days} days at most.", code="run-at"
        )


def _is_no_admin(caller: Caller) -> TypeGuard[Principal]:
    return isinstance(caller, Principal) and not caller.may(Role.ADMIN)


def _valid(kind: TaskType, given: Mapping[str, Any]) -> dict[str, Any]:
    """With the defaults of what was left out; nothing is converted silently."""
    try:
        asked: Parameters = kind.parameters.model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        raise _invalid(kind, error) from None
    return asked.model_dump(mode="json")


def _invalid(kind: TaskType, error: ValidationError) -> Malformed:
    wrong = wrong_places("parameters", error)
    said = "; ".join(f"{one['place']}: {one['message']}" for one in wrong[:5])
    return Malformed(
        f"Not what {kind.name} takes: {said}.", code="invalid-parameters", errors=wrong
    )


def _subject(kind: TaskType, caller: Caller, outside: int | None, inside: int | None) -> int | None:
    """Whose data it is about: as the request says, or as it says in the parameters."""
    if kind.subject == "none":
        if outside is not None:
            raise Malformed(
                f"Tasks of type {kind.name} are about nobody's data: leave user_id out.",
                code="invalid-parameters",
            )
        return None
    if None not in (outside, inside) and outside != inside:
        raise Malformed(
            f"user_id is {outside} in the request and {inside} in its parameters.",
            code="user-mismatch",
        )
    named = inside if outside is None else outside
    if named is None and (kind.subject == "one" or _is_no_admin(caller)):
        return _own(kind, caller)
    return named


def _own(kind: TaskType, caller: Caller) -> int:
    if isinstance(caller, Principal):
        return caller.id
    raise Malformed(f"Tasks of type {kind.name} need a user_id.", code="invalid-parameters")


def _demand_known(session: Session, caller: Caller, user_id: int | None) -> None:
    """Raises NotFound; the caller is there."""
    if user_id is None or (isinstance(caller, Principal) and caller.id == user_id):
        return
    if session.scalar(select(User.id).where(User.id == user_id)) is None:
        raise NotFound(f"There is no user {user_id}.", code="unknown-user")
