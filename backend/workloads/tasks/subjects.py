"""Whose data: everybody has their own, admins have everybody's; for others they are not there."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.identity.model import User
from backend.identity.roles import Principal, Role
from backend.problems import Forbidden, NotFound


def chosen(by: Principal, user_id: int | None) -> int:
    """Whose data are meant: the caller's own where nobody is named.

    Raises:
        Forbidden: code ``not-your-data``.
    """
    return by.id if user_id is None else _allowed(by, user_id)


def seen(by: Principal, user_id: int | None) -> int | None:
    """Whose data are listed: None for everybody's, which only admins see.

    Raises:
        Forbidden: code ``not-your-data``.
    """
    return None if user_id is None and by.may(Role.ADMIN) else chosen(by, user_id)


def hold(session: Session, user_id: int, *, active: bool = True) -> None:
    """Keep everybody else from adding to a user's data, or deleting them, until the commit.

    Raises:
        NotFound: code ``unknown-user``: there is none, or none that is ``active``.
    """
    known = select(User.active).where(User.id == user_id).with_for_update(key_share=True)
    found = session.scalar(known)
    if found is None or (active and not found):
        raise NotFound(f"There is no active user {user_id}.", code="unknown-user")


def _allowed(by: Principal, user_id: int) -> int:
    if user_id != by.id and not by.may(Role.ADMIN):
        raise Forbidden("Another user's data need the role admin.", code="not-your-data")
    return user_id
