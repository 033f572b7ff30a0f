"""Before anything else, each request comes to the door: who calls, and may they?

It is a hook of the whole application and not a wrapper: no order of decorators can come before it,
nor can the parsing of a body, but for one case, which is told in ``joining``.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast
from uuid import UUID

from flask import Flask, Request
from flask_jwt_extended import decode_token
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt import PyJWTError

from backend.autocommit import Autocommit
from backend.identity import callers, tokens
from backend.identity.callers import WHO, Called, Question
from backend.identity.guard import USER_ID, Requirement, Together
from backend.identity.joining import SHORT, Joint, Recent
from backend.identity.roles import Principal, Scope
from backend.problems import Forbidden, Unauthorized

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
LEEWAY: Final = tokens.CLOCK_LEEWAY.total_seconds()
BITS: Final = 63  # of the database's numbers, beside the sign


@dataclass(frozen=True, slots=True)
class Claims:
    """``issued`` is in microseconds since 1970 by the database's clock, ``expires`` in seconds."""

    user_id: int
    login: UUID
    issued: int
    expires: float


@dataclass(frozen=True, slots=True)
class Admitted:
    """``principal`` is None for a view that asks nobody, and where ``joint`` is still to ask.

    ``found`` is what the view's reading answered.
    """

    principal: Principal | None = None
    found: Sequence[Any] = ()
    joint: Joint | None = None


NOBODY: Final = Admitted()


@dataclass(frozen=True, slots=True)
class Door:
    """What admits the requests of one application. ``claims_of``: :func:`verified`, or a memory."""

    app: Flask
    statements: Autocommit
    claims_of: Callable[[str], Claims]
    recent: Recent

    def admit(self, request: Request) -> Admitted:
        """Admit or refuse a request.

        Raises:
            Unauthorized: no token, or none that is valid now.
            Forbidden: the caller's role or key does not suffice.
            TooManyRequests: the caller's uses of the view are used up.
        """
        endpoint = request.endpoint
        if endpoint is None or request.method == "OPTIONS":
            return NOBODY  # no view will run: the router answers
        requirement = self.app.view_functions[endpoint].__dict__["requirement"]
        if requirement is None:
            return NOBODY
        bearer = _bearer(request)
        if requirement.otherwise and requirement.otherwise(bearer):
            return NOBODY
        if requirement.together and (expected := self._expected(request, bearer)):
            return Admitted(
                joint=self._joint(request, requirement, requirement.together, expected, bearer)
            )
        return self._asked(request, requirement, bearer)

    def _asked(self, request: Request, requirement: Requirement, bearer: str) -> Admitted:
        """Asks who calls, before anything else is done."""
        self.recent.forget(bearer)
        question, values = requirement.question, _values(request, requirement)
        if values is None:
            question, values = WHO, {}
        called = self._ask(bearer, question, values)
        request.environ[USER_ID] = called.principal.id
        _demand(request, requirement, called.principal)
        if requirement.rate:
            requirement.rate.demand(self.statements, called)
            self.recent.note(bearer, called.principal)
        return Admitted(called.principal, called.rest)

    def _expected(self, request: Request, bearer: str) -> Principal | None:
        """Who will most likely turn out to call; None where that is asked first."""
        length = request.content_length
        return self.recent.get(bearer) if length is not None and length <= SHORT else None

    def _joint(
        self,
        request: Request,
        requirement: Requirement,
        together: Together,
        expected: Principal,
        bearer: str,
    ) -> Joint:
        if not bearer.startswith(tokens.KEY_PREFIX):
            self._unexpired(bearer)
        request.environ[USER_ID] = expected.id

        def settle() -> Principal:
            return cast("Principal", self._asked(request, requirement, bearer).principal)

        def ask(values: Mapping[str, Any]) -> Called:
            try:
                return self._ask(bearer, together.question, {**values, **together.rate.values()})
            except Unauthorized:
                self.recent.forget(bearer)
                raise

        return Joint(expected, settle, ask)

    def _ask(self, bearer: str, question: Question, values: Mapping[str, Any]) -> Called:
        if bearer.startswith(tokens.KEY_PREFIX):
            called = callers.with_key(self.statements, question, values, bearer)
        else:
            claims = self._unexpired(bearer)
            called = callers.with_login(
                self.statements, question, values,
                user_id=claims.user_id, login=claims.login, issued=claims.issued,
            )  # fmt: skip
        if called is None:
            raise Unauthorized(
                "The token is not valid any more: sign in again.", code="token-revoked"
            )
        return called

    def _unexpired(self, bearer: str) -> Claims:
        claims = self.claims_of(bearer)
        if claims.expires <= time.time() - LEEWAY:
            raise _invalid()
        return claims


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
