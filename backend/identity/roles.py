"""Who may do what."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Role(StrEnum):
    """What a person may do. Each role may do all that the ones before it may."""

    USER = "user"
    APPROVER = "approver"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        return _RANK[self] >= _RANK[other]


_RANK = {role: rank for rank, role in enumerate(Role)}


class Scope(StrEnum):
    """What an API key may do, within its owner's role."""

    READ = "read"
    SUBMIT = "submit"
    DECIDE = "decide"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of one request, as the database knew them when it began.

    ``scopes`` is None for a person who signed in and a set for an API key; ``login`` is the
    sign-in that the access token belongs to, None for an API key.
    """

    id: int
    username: str
    role: Role
    scopes: frozenset[Scope] | None = None
    login: UUID | None = None

    def may(self, role: Role) -> bool:
        return self.role.includes(role)
