"""Brings what a database grants in line with the table of rights; does nothing where it is."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from backend.database_roles.catalog import Catalog, Right, catalog, granted, powers
from backend.database_roles.rights import (
    EXECUTE,
    MAINTENANCE,
    OWNER,
    PARTS,
    SEQUENCES,
    TABLES,
)

_PRIVILEGE: Final = re.compile(r"(?P<word>[A-Z]+)(?: \((?P<columns>\w+(?:, \w+)*)\))?(?:, |$)")
# That the database's own schema belongs to the owner is what puts it under these roles.
_GOVERNED: Final = text("""
SELECT EXISTS (SELECT FROM pg_class
               WHERE oid = to_regclass('alembic_version') AND pg_get_userbyid(relowner) = :owner)
""")


@dataclass(frozen=True, slots=True)
class Differences:
    """What the table of rights says and the database does not, and the other way round."""

    missing: frozenset[Right]
    superfluous: frozenset[Right]

    def __bool__(self) -> bool:
        return bool(self.missing or self.superfluous)


class UnknownObjectError(Exception):
    """The table of rights names something that this schema does not have."""


def governed(connection: Connection) -> bool:
    """Whether this database's tables belong to our owner: else it knows nothing of the roles."""
    return bool(connection.scalar(_GOVERNED, {"owner": OWNER}))


def differences(connection: Connection) -> Differences:
    """Compare a database that is :func:`governed` with the table of rights.

    Raises:
        UnknownObjectError: the schema is not the one that the table is for.
    """
    wanted = frozenset(_wanted(catalog(connection, OWNER)))
    found = granted(connection, OWNER, PARTS)
    return Differences(wanted - found, frozenset(found) - wanted)


def beyond(connection: Connection) -> list[tuple[str, str]]:
    """Roles and members of theirs with powers that no grant gives, and :func:`align` cannot take.

    Before there was a right to maintain tables, maintenance may do it as the owner.
    """
    as_owner = () if catalog(connection, OWNER).maintainable else (MAINTENANCE,)
    return powers(connection, OWNER, PARTS, as_owner=as_owner)


def align(connection: Connection) -> Differences:
    """Grant what is missing and revoke what is too much; answers what was.

    The connection's role is a member of the owner's, or a superuser; the caller commits.

    Raises:
        UnknownObjectError: as :func:`differences` does.
    """
    found = differences(connection)
    for right in sorted(found.superfluous):
        connection.exec_driver_sql(_statement(right, "REVOKE", "FROM"))
    # What is revoked of a table takes what was granted of its columns along.
    lacking = differences(connection) if found.superfluous else found
    for right in sorted(lacking.missing):
        connection.exec_driver_sql(_statement(right, "GRANT", "TO"))
    return Differences(lacking.missing, found.superfluous)


def parsed(privileges: str) -> Iterator[tuple[str, str]]:
    """``SELECT (id, role), DELETE`` as pairs of a privilege and a column, or none."""
    end = 0
    for found in _PRIVILEGE.finditer(privileges):
        if found.start() != end:
            break
        end = found.end()
        for column in (found["columns"] or "").split(", "):
            yield found["word"], column
    if end != len(privileges):
        raise ValueError(f"not privileges: {privileges}")


def _wanted(there: Catalog) -> Iterator[Right]:
    for role in PARTS:
        yield Right(role, "SCHEMA", there.schema, "USAGE")
        for table, privileges in TABLES[role].items():
            _known(table, there.tables)
            for word, column in parsed(privileges):
                yield Right(role, "TABLE", table, word, column)
        for sequence in SEQUENCES.get(role, ()):
            _known(sequence, there.sequences)
            yield Right(role, "SEQUENCE", sequence, "USAGE")
    for function, roles in EXECUTE.items():
        _known(function, there.functions)
        for role in roles:
            for signature in there.functions[function]:
                yield Right(role, "FUNCTION", signature, "EXECUTE")
    if there.maintainable:
        yield from _maintained(there)


def _maintained(there: Catalog) -> Iterator[Right]:
    """Every table, and the weeks of history to come."""
    for table in there.tables:
        yield Right(MAINTENANCE, "TABLE", table, "MAINTAIN")
    yield Right(MAINTENANCE, "FUTURE TABLES", there.schema, "MAINTAIN")


def _known(name: str, names: Iterable[str]) -> None:
    if name not in names:
        raise UnknownObjectError(f"this schema has no {name} that belongs to {OWNER}")


def _statement(right: Right, verb: str, towards: str) -> str:
    """Its words are constants of ours, and names that the server has quoted itself."""
    # What was granted on, goes along.
    whom = f"{right.role} CASCADE" if verb == "REVOKE" else right.role
    if right.kind == "FUTURE TABLES":
        return (
            f'ALTER DEFAULT PRIVILEGES FOR ROLE "{OWNER}" IN SCHEMA {right.name}'
            f" {verb} {right.privilege} ON TABLES {towards} {whom}"
        )
    privilege = f"{right.privilege} ({right.column})" if right.column else right.privilege
    return f"{verb} {privilege} ON {right.kind} {right.name} {towards} {whom}"
