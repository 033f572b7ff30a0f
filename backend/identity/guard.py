"""Who may call a view. ``requires`` and ``public`` mark it; ``admitted`` runs before anything else.

The check is a hook of the whole application and not a wrapper: no order of decorators, and no
parsing of a body, can come before it. A view without a mark stops the application from starting.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from flask import Flask, Request, g
from flask_jwt_extended import create_access_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt import PyJWTError
from pydantic import BaseModel, ValidationError

from backend.autocommit import Autocommit
from backend.identity import callers, service, tokens
from backend.identity.callers import WHO, Called, Question
from backend.identity.limits import Rate
from backend.identity.roles import Principal, Role, Scope
from backend.problems import Forbidden, Unauthorized

__all__ = [
    "Principal",
    "Role",
    "Scope",
    "admitted",
    "current_user",
    "public",
    "requires",
    "verified",
]

View = TypeVar("View", bound=Callable[..., Any])
SAFE_METHODS = frozenset({"GET", "HEAD"})
LEEWAY: Final = tokens.CLOCK_LEEWAY.total_seconds()
USER_ID: Final = "lockkeeper.user_id"
"""In a request's environment: who called, for the log; also of those who are refused."""
BITS: Final = 63  # of the database's numbers, beside the sign


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
    the one that is asked of callers with a token or a key.
    """

    role: Role
    scope: Scope | None = None
    otherwise: Callable[[str], bool] | None = None
    rate: Rate | None = None
    reading: Reading | None = None
    question: Question = WHO


@dataclass(frozen=True, slots=True)
class Claims:
    """``issued`` is in microseconds since 1970 by the database's clock, ``expires`` in seconds."""

    user_id: int
    login: UUID
    issued: int
    expires: float


def requires(
    role: Role,
    *,
    scope: Scope | str | None = None,
    otherwise: Callable[[str], bool] | None = None,
    rate: Rate | None = None,
    reading: Reading | None = None,
) -> Callable[[View], View]:
    """Mark a view: callers need ``role`` or a higher one, API keys ``scope`` as well.

    Args:
        role: the lowest that may call.
        scope: for API keys. Left out: GET and HEAD need ``read``, other methods take no key at all.
        otherwise: asked with the bearer token; True admits without a user.
        rate: how often each user may call; counted before the view runs, whatever becomes of it.
        reading: what the view finds in :func:`found`; not beside ``rate``.
    """
    needed = Scope(scope) if scope else None
    question = reading.question if reading else WHO
    if rate:
        question = rate.question(role, needed)
    requirement = Requirement(role, needed, otherwise, rate, reading, question)

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
    return cast("Principal", g.principal)


def found() -> Sequence[Any]:
    """The columns that the view's reading answered."""
    return cast("Sequence[Any]", g.found)


def admitted(
    app: Flask, request: Request, statements: Autocommit, claims_of: Callable[[str], Claims]
) -> tuple[Principal | None, Sequence[Any]]:
    """Admit or refuse a request.

    Args:
        claims_of: :func:`verified`, or a memory of it.

    Returns:
        Who calls, None for a view that asks nobody, and what the view's reading answered.

    Raises:
        Unauthorized: no token, or none that is valid now.
        Forbidden: the caller's role or key does not suffice.
        TooManyRequests: the caller's uses of the view are used up.
    """
    endpoint = request.endpoint
    if endpoint is None or request.method == "OPTIONS":
        return None, ()  # no view will run: the router answers
    requirement = app.view_functions[endpoint].__dict__["requirement"]
    if requirement is None:
        return None, ()
    bearer = _bearer(request)
    if requirement.otherwise and requirement.otherwise(bearer):
        return None, ()
    called = _identify(request, statements, bearer, claims_of, requirement)
    request.environ[USER_ID] = called.principal.id
    _demand(request, requirement, called.principal)
    if requirement.rate:
        requirement.rate.demand(statements, called)
    return called.principal, called.rest


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


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("Send a token: Authorization: Bearer …")
    return token.strip()


def verified(bearer: str) -> Claims:
    """What an access token claims, once its signature and every claim were checked.

    The answer holds as long as the token does, so it may be remembered: what can change, whether it
    has expired or was revoked, is looked at on each request.

    Raises:
        Unauthorized: code ``token-invalid``.
    """
    try:
        claims = decode_token(bearer)
        given = {name for name, value in claims.items() if value is not None}
        if not given >= tokens.REQUIRED_CLAIMS or claims["type"] != "access":
            raise Unauthorized("The token is not an access token.", code="token-invalid")
        user_id, login = int(claims["sub"]), UUID(claims[tokens.LOGIN])
        if user_id.bit_length() > BITS:
            raise _invalid()
        return Claims(user_id, login, int(claims[tokens.ISSUED]), float(claims["exp"]))
    except (PyJWTError, JWTExtendedException, ValueError, TypeError, AttributeError):
        raise _invalid() from None


def _identify(
    request: Request,
    statements: Autocommit,
    bearer: str,
    claims_of: Callable[[str], Claims],
    requirement: Requirement,
) -> Called:
    question, values = requirement.question, _values(request, requirement)
    if values is None:
        question, values = WHO, {}
    if bearer.startswith(tokens.KEY_PREFIX):
        called = callers.with_key(statements, question, values, bearer)
    else:
        claims = claims_of(bearer)
        if claims.expires <= time.time() - LEEWAY:
            raise _invalid()
        called = callers.with_login(
            statements, question, values,
            user_id=claims.user_id, login=claims.login, issued=claims.issued,
        )  # fmt: skip
    if called is None:
        raise Unauthorized("The token is not valid any more: sign in again.", code="token-revoked")
    return called


def _values(request: Request, requirement: Requirement) -> dict[str, Any] | None:
    if requirement.rate:
        return requirement.rate.values()
    return requirement.reading.values(request) if requirement.reading else {}


def _invalid() -> Unauthorized:
    return Unauthorized("The token is not valid, or has expired.", code="token-invalid")


def _demand(request: Request, requirement: Requirement, principal: Principal) -> None:
    if not principal.may(requirement.role):
        raise Forbidden(f"This needs the role {requirement.role}; yours is {principal.role}.")
    if principal.scopes is None:
        return
    scope = requirement.scope or (Scope.READ if request.method in SAFE_METHODS else None)
    if scope is None:
        raise Forbidden("This cannot be done with an API key: sign in.", code="no-api-keys")
    if scope not in principal.scopes:
        raise Forbidden(f"This needs an API key with the scope {scope}.", code="missing-scope")
