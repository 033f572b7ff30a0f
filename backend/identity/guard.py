"""Who may call a view: ``requires`` and ``public`` mark it; the door (see there) keeps to it.

A view without a mark stops the application from starting.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from flask import Flask, Request, g
from flask_jwt_extended import create_access_token
from pydantic import BaseModel, ValidationError

from backend.identity import service, tokens
from backend.identity.callers import WHO, Deed, Question
from backend.identity.joining import Joint
from backend.identity.limits import Rate
from backend.identity.roles import Principal, Role, Scope

__all__ = [
    "Principal",
    "Role",
    "Scope",
    "current_user",
    "joint",
    "public",
    "requires",
]

View = TypeVar("View", bound=Callable[..., Any])
USER_ID: Final = "lockkeeper.user_id"
"""In a request's environment: who called, for the log; also of those who are refused."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a view reads of the database, in the statement that says who calls.

    ``question``'s parameters are the members of ``path``, the model of the view's own; where the
    path is no such thing, which the view will say, nothing is read.
    """

    question: Question
    path: type[BaseModel]

    def values(self, request: Request) -> dict[str, Any] | None:
        try:
            return self.path.model_validate(request.view_args).model_dump()
        except ValidationError:
            return None


@dataclass(frozen=True, slots=True)
class Requirement:
    """``scope`` is what an API key needs; without one, keys may only read.

    ``otherwise`` admits a caller who is nobody's user, such as a metrics scraper. ``question`` is
    the one that is asked of callers with a token or a key; ``together`` does the view's deed, too.
    """

    role: Role
    scope: Scope | None = None
    otherwise: Callable[[str], bool] | None = None
    rate: Rate | None = None
    reading: Reading | None = None
    question: Question = WHO
    together: "Together | None" = None


@dataclass(frozen=True, slots=True)
class Together:
    """The question, the use of that rate and the view's deed, as one statement."""

    question: Question
    rate: Rate


def requires(
    role: Role,
    *,
    scope: Scope | str | None = None,
    otherwise: Callable[[str], bool] | None = None,
    rate: Rate | None = None,
    reading: Reading | None = None,
    deed: Deed | None = None,
) -> Callable[[View], View]:
    """Mark a view: callers need ``role`` or a higher one, API keys ``scope`` as well.

    Args:
        role: the lowest that may call.
        scope: for API keys. Left out: GET and HEAD need ``read``, other methods take no key at all.
        otherwise: asked with the bearer token; True admits without a user.
        rate: how often each user may call; counted before the view runs, whatever becomes of it.
        reading: what the view finds in :func:`found`; not beside ``rate``.
        deed: what the view may do by :func:`joint`; only beside ``rate``.
    """
    needed = Scope(scope) if scope else None
    question, together = reading.question if reading else WHO, None
    if rate:
        question = rate.question(role, needed)
        together = Together(rate.joint(role, needed, deed), rate) if deed else None
    requirement = Requirement(role, needed, otherwise, rate, reading, question, together)

    def mark(view: View) -> View:
        view.__dict__.update(requirement=requirement, required_role=role)
        return view

    return mark


def public(view: View) -> View:
    """Mark a view that anybody may call, without a token."""
    view.__dict__["requirement"] = None
    return view


def current_user() -> Principal:
    """The caller of the view, which ``requires`` a role."""
    if pending := joint():
        return pending.settle()
    return cast("Principal", g.principal)


def joint() -> Joint | None:
    """By what the view may do its deed; None where the caller was admitted before."""
    return cast("Joint | None", g.get("joint"))


def found() -> Sequence[Any]:
    """The columns that the view's reading answered."""
    return cast("Sequence[Any]", g.found)


def refuse_unmarked(app: Flask) -> None:
    """Raises RuntimeError, which names every view that says neither ``requires`` nor ``public``."""
    unmarked = sorted(
        endpoint for endpoint, view in app.view_functions.items() if not is_marked(view)
    )
    if unmarked:
        raise RuntimeError(f"views that do not say who may call them: {', '.join(unmarked)}")


def is_marked(view: Callable[..., Any]) -> bool:
    return "requirement" in getattr(view, "__dict__", {})


def access_token(grant: service.Grant) -> str:
    """The signed token of a sign-in. No role is in it: that is read on each request."""
    token: str = create_access_token(
        identity=str(grant.principal.id),
        additional_claims={
            tokens.LOGIN: str(grant.login),
            tokens.ISSUED: tokens.microseconds(grant.issued),
        },
    )
    return token
