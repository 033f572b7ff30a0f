"""A log to write to, a sealer by hand, and somebody who owns the tables and means ill."""

from collections.abc import Callable, Iterator
from typing import Protocol

import pytest
from sqlalchemy import Engine, NullPool, create_engine, text

from backend.audit import sealing, signing
from backend.audit.model import AuditSeal
from backend.audit.signing import Signer
from backend.audit.statements import SealStatement
from backend.audit.verification import Unsealed, verify
from backend.audit.walking import Walk
from backend.db import Sessions
from backend.identity import audit
from tests.audit_guards import EMPTY, unguarded
from tests.conftest import CreateDatabase

Note = Callable[..., None]
Tamper = Callable[[str], None]
Check = Callable[..., tuple[Walk, Unsealed]]


@pytest.fixture(scope="module")
def audit_database(create_database: CreateDatabase, migrated: str) -> Iterator[str]:
    with create_database(migrated) as url:
        yield url


@pytest.fixture
def database_url(audit_database: str) -> str:
    """One database, its log emptied: cheaper by far than one of its own for each test."""
    engine = create_engine(audit_database, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(EMPTY))
    return audit_database


class Seal(Protocol):
    def __call__(
        self, *, whole: bool = False, limit: int = sealing.AT_ONCE, signed: bool = True
    ) -> AuditSeal | None: ...


@pytest.fixture
def signer() -> Signer:
    return Signer.of(signing.new_key().encode())


@pytest.fixture
def note(sessions: Sessions) -> Note:
    def write(*subjects: str, **detail: object) -> None:
        """Each in a transaction of its own."""
        for subject in subjects:
            with sessions.begin() as session:
                audit.record(session, "test", "thing.done", subject, **detail)

    return write


@pytest.fixture
def seal(sessions: Sessions, signer: Signer) -> Seal:
    def once(
        *, whole: bool = False, limit: int = sealing.AT_ONCE, signed: bool = True
    ) -> AuditSeal | None:
        with sessions.begin() as session:
            return sealing.seal(session, signer if signed else None, whole=whole, limit=limit)

    return once


@pytest.fixture
def check(sessions: Sessions, signer: Signer) -> Check:
    def walked(*witnesses: SealStatement, trusted: bool = True) -> tuple[Walk, Unsealed]:
        walk = Walk(
            trusted=[signer.public_key] if trusted else (),
            witnesses={witness.seal: witness for witness in witnesses},
        )
        with sessions() as session:
            return walk, verify(session, walk)

    return walked


@pytest.fixture
def tamper(engine: Engine) -> Tamper:
    """What only the owner of the tables can: set the triggers aside, write, and put them back."""

    def change(statement: str) -> None:
        with engine.begin() as connection:
            connection.execute(text(unguarded(statement)))

    return change
