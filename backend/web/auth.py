"""Signing in, API keys, and the administration of users."""

from datetime import timedelta
from http import HTTPStatus

import structlog
from flask import Blueprint, current_app, g, request

from backend.identity import erasing, limits, passwords, schemas, service
from backend.identity.guard import Role, Scope, access_token, current_user, public, requires
from backend.operations import operation, settings, transaction
from backend.problems import Conflict, NotFound, TooManyRequests, Unauthorized

bp = Blueprint("auth", __name__, url_prefix="/api/auth")
admin_bp = Blueprint("users", __name__, url_prefix="/api/admin/users")

MINUTE = timedelta(minutes=1)
NAMES_PER_ADDRESS = 20  # so many times a name's rate may one address try, whatever the names

log = structlog.get_logger(__name__)


@bp.post("/login")
@public
@operation(problems=[Unauthorized, TooManyRequests])
def login(body: schemas.Credentials) -> schemas.SignedIn:
    """Sign in with a name and a password."""
    _limit_attempts(body.username)
    with transaction() as session:
        user = service.user_named(session, body.username)
    stored = user.password_hash if user else None
    grant = None
    if passwords.matches(stored, body.password) and user and stored:
        fresh = passwords.hashed(body.password) if passwords.outdated(stored) else None
        with transaction() as session:
            grant = service.open_login(session, user.id, stored, settings().refresh_token_ttl)
            if grant and fresh:
                service.rehash(session, user.id, verified=stored, password_hash=fresh)
    if grant is None:
        log.info("login.refused", username=body.username, address=request.remote_addr)
        raise Unauthorized("The username or the password is wrong.", code="bad-credentials")
    return _signed_in(grant)


@bp.post("/refresh")
@public
@operation(problems=[Unauthorized])
def refresh(body: schemas.RefreshIn) -> schemas.SignedIn:
    """Trade a refresh token for new tokens. One that is used twice ends the whole sign-in."""
    with transaction() as session:
        grant = service.rotate(session, body.refresh_token, settings().refresh_token_ttl)
    if grant is None:
        raise Unauthorized("The refresh token is not valid: sign in again.", code="token-revoked")
    return _signed_in(grant)


@bp.post("/logout")
@requires(Role.USER)
@operation()
def logout() -> None:
    """End this sign-in: its access tokens and its refresh token stop working at once."""
    if login_id := current_user().login:
        with transaction() as session:
            service.revoke_login(session, login_id)


@bp.get("/userinfo")
@requires(Role.USER)
@operation()
def userinfo() -> schemas.Identified:
    """Who am I?"""
    return schemas.Identified.model_validate(current_user())


@bp.post("/password")
@requires(Role.USER)
@operation(problems=[Unauthorized, TooManyRequests])
def change_password(body: schemas.PasswordChange) -> None:
    """Change one's own password; every sign-in ends, API keys stay."""
    me = current_user()
    _limit_attempts(me.username)
    with transaction() as session:
        stored = service.user_by_id(session, me.id).password_hash
    changed = False
    if passwords.matches(stored, body.old_password):
        fresh = passwords.hashed(body.new_password)
        with transaction() as session:
            changed = service.change_password(session, me, verified=stored, password_hash=fresh)
    if not changed:
        raise Unauthorized("The old password is wrong.", code="bad-credentials")


@bp.post("/keys")
@requires(Role.USER)
@operation(status=HTTPStatus.CREATED)
def create_key(body: schemas.KeyIn) -> schemas.NewKeyOut:
    """Make an API key for a machine. The answer holds it, once."""
    with transaction() as session:
        key, secret = service.create_key(
            session,
            current_user(),
            name=body.name,
            scopes=body.scopes,
            days=body.expires_in_days,
        )
    shown = schemas.KeyOut.model_validate(key)
    return schemas.NewKeyOut(**shown.model_dump(), key=secret)


@bp.get("/keys")
@requires(Role.USER)
@operation()
def list_keys() -> schemas.KeysOut:
    """One's own API keys, newest first."""
    with transaction() as session:
        keys = service.keys_of(session, current_user().id)
    return schemas.KeysOut(keys=[schemas.KeyOut.model_validate(key) for key in keys])


@bp.delete("/keys/<id>")
@requires(Role.USER)
@operation(problems=[NotFound])
def revoke_key(path: schemas.ById) -> None:
    """Revoke one of one's own API keys; again is no error."""
    with transaction() as session:
        service.revoke_key(session, current_user(), path.id)


@admin_bp.get("")
@requires(Role.ADMIN)
@operation()
def list_users(query: schemas.UserPage) -> schemas.UsersOut:
    """All users, by id."""
    with transaction() as session:
        found = service.users_after(session, query.after, query.limit + 1)
    page = [schemas.UserOut.model_validate(user) for user in found[: query.limit]]
    return schemas.UsersOut(users=page, next=page[-1].id if len(found) > len(page) else None)


@admin_bp.post("")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(status=HTTPStatus.CREATED, problems=[Conflict])
def create_user(body: schemas.UserIn) -> schemas.UserOut:
    """Add a user."""
    password_hash = passwords.hashed(body.password)
    with transaction() as session:
        user = service.create_user(
            session,
            current_user(),
            username=body.username,
            password_hash=password_hash,
            role=body.role,
        )
    return schemas.UserOut.model_validate(user)


@admin_bp.get("/<id>")
@requires(Role.ADMIN)
@operation(problems=[NotFound])
def show_user(path: schemas.ById) -> schemas.UserOut:
    """One user."""
    with transaction() as session:
        return schemas.UserOut.model_validate(service.user_by_id(session, path.id))


@admin_bp.patch("/<id>")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(problems=[NotFound, Conflict])
def change_user(path: schemas.ById, body: schemas.UserChange) -> schemas.UserOut:
    """Change role or activity, or end every sign-in and key. The last active admin stays."""
    with transaction() as session:
        user = service.change_user(
            session,
            current_user(),
            path.id,
            role=body.role,
            active=body.active,
            revoke_tokens=body.revoke_tokens,
        )
    return schemas.UserOut.model_validate(user)


@admin_bp.delete("/<id>")
@requires(Role.ADMIN, scope=Scope.ADMIN)
@operation(problems=[NotFound, Conflict])
def erase_user(path: schemas.ById) -> None:
    """Erase a person: the name becomes a pseudonym everywhere, what they did stays. For ever."""
    with transaction() as session:
        erasing.erase(session, current_user(), path.id)
        current_app.extensions["lockkeeper"].work.erase(session, path.id)


def _signed_in(grant: service.Grant) -> schemas.SignedIn:
    return schemas.SignedIn(
        token=access_token(grant),
        expires_in=int(settings().access_token_ttl.total_seconds()),
        refresh_token=grant.refresh_token,
        user=schemas.Identified.model_validate(grant.principal),
    )


def _limit_attempts(username: str) -> None:
    """Slow down who guesses: one name's password from one address, and any names from it."""
    rate = settings().login_rate_per_minute
    address = request.remote_addr or "unknown"
    limits.demand(g.statements, f"login:{address}", rate * NAMES_PER_ADDRESS, MINUTE)
    limits.demand(g.statements, f"login:{address}:{username.lower()}", rate, MINUTE)
