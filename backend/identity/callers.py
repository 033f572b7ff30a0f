"""Who calls: one indexed statement per request, so that a demotion acts at once.

What a view needs first may ride in that statement: a round trip of its own costs more than it does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from backend.autocommit import Autocommit, Statement
from backend.identity import tokens
from backend.identity.roles import Principal, Role, Scope

_OF_LOGIN: Final = """
caller AS (
  SELECT u.id, u.username, u.role, CAST(NULL AS text[]) AS scopes
  FROM logins l JOIN users u ON u.id = l.user_id
  WHERE l.id = %(login)s::uuid AND l.revoked_at IS NULL AND u.id = %(user_id)s AND u.active
    AND extract(epoch FROM u.tokens_valid_after) * 1000000 <= %(issued)s)
"""
_OF_KEY: Final = """
caller AS (
  SELECT u.id, u.username, u.role, k.scopes, k.id AS key,
    coalesce(k.last_used_at < now() - interval '1 minute', true) AS stale
  FROM api_keys k JOIN users u ON u.id = k.user_id
  WHERE k.sha256 = %(sha256)s AND k.revoked_at IS NULL AND k.expires_at > now() AND u.active),
noted AS (
  UPDATE api_keys SET last_used_at = now() WHERE id = (SELECT key FROM caller WHERE stale))
"""
_COLUMNS: Final = ("id", "username", "role", "scopes")


class Question:
    """Who calls, and what rides along."""

    def __init__(
        self, *, steps: str = "", columns: str = "", join: str = "", durable: bool = True
    ) -> None:
        """Parts of an SQL statement; all may name ``caller``, which has a row or none.

        Args:
            steps: further parts of its WITH, which may write; each is to check what ``caller`` may.
            columns: what it answers behind the caller's own.
            join: where those come from. They may be read for one who turns out not to be allowed
                to; none of them is shown then.
            durable: False where the loss of what ``steps`` wrote last does no harm.
        """
        with_steps = f", {steps}" if steps else ""
        shown = ", ".join([f"caller.{name}" for name in _COLUMNS] + ([columns] if columns else []))
        self.of_login, self.of_key = (
            Statement(
                f"WITH {caller}{with_steps} SELECT {shown} FROM caller {join}",  # noqa: S608 - constants
                kind="caller",
                durable=durable,
            )
            for caller in (_OF_LOGIN, _OF_KEY)
        )


WHO: Final = Question()
"""Nothing rides along."""


@dataclass(frozen=True, slots=True)
class Deed:
    """What a view writes, as parts of the statement that says who calls; see :class:`Question`.

    ``steps`` may name ``taken``, which has a row where a use of the view was taken: without one
    they are to write nothing.
    """

    steps: str
    columns: str
    join: str


def answering(select: str) -> Question:
    """With what a SELECT answers for the caller: one row at most, or NULLs."""
    return Question(columns="answer.*", join=f"LEFT JOIN LATERAL ({select}) answer ON true")


@dataclass(frozen=True, slots=True)
class Called:
    """``rest`` is what rode along."""

    principal: Principal
    rest: Sequence[Any]


def with_login(
    statements: Autocommit,
    question: Question,
    values: Mapping[str, Any],
    *,
    user_id: int,
    login: UUID,
    issued: int,
) -> Called | None:
    """The caller with this access token; ``issued`` is in microseconds since 1970."""
    token = {"login": str(login), "user_id": user_id, "issued": issued}
    for row in statements.rows(question.of_login, {**values, **token}):
        principal = Principal(row[0], row[1], Role(row[2]), login=login)
        return Called(principal, row[len(_COLUMNS) :])
    return None


def with_key(
    statements: Autocommit, question: Question, values: Mapping[str, Any], secret: str
) -> Called | None:
    """The caller with this API key; notes its use, at most once a minute."""
    for row in statements.rows(question.of_key, {**values, "sha256": tokens.digest(secret)}):
        principal = Principal(row[0], row[1], Role(row[2]), frozenset(map(Scope, row[3])))
        return Called(principal, row[len(_COLUMNS) :])
    return None
