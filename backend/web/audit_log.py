"""The audit log: who did what, and the head of the chain that says it was not changed since."""

from typing import Annotated, Any

from flask import Blueprint
from pydantic import BaseModel, Field, StringConstraints

from backend.audit import reading, sealing
from backend.audit.statements import CheckpointStatement, SealStatement
from backend.identity.guard import Role, requires
from backend.identity.schemas import GivenMoment, Moment, Output, RowId
from backend.operations import operation, transaction

bp = Blueprint("audit_log", __name__, url_prefix="/api/audit-log")

Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class EntryPage(BaseModel):
    """Which entries; all that is given must hold."""

    actor: Word | None = Field(None, description="A person's name, or a part of the system's.")
    action: Word | None = Field(None, description="Such as `user.created`.")
    subject: Word | None = Field(None, description="Such as `user:42`.")
    since: GivenMoment | None = None
    until: GivenMoment | None = Field(None, description="Exclusive.")
    before: RowId | None = Field(None, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=500)

    def filters(self) -> reading.Filters:
        return reading.Filters(**self.model_dump(exclude={"before", "limit"}))


class EntryOut(Output):
    """``actor`` is the name of today; null ``actor_id`` means a part of the system."""

    id: int
    at: Moment
    actor_id: int | None
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


class EntriesOut(Output):
    entries: list[EntryOut] = Field(description="Newest first.")
    next: int | None = Field(description="Give it as `before`; null on the last page.")


class HeadOut(Output):
    """The chain as it stands; an entry of the last seconds may not be in it yet."""

    seal: SealStatement | None = Field(description="The newest; null where none is there.")
    checkpoint: CheckpointStatement | None = Field(description="Of what was archived last.")


@bp.get("")
@requires(Role.APPROVER)
@operation()
def list_entries(query: EntryPage) -> EntriesOut:
    """Who did what to what, newest first."""
    with transaction() as session:
        found = reading.entries(
            session, query.filters(), before=query.before, limit=query.limit + 1
        )
    page = [EntryOut.model_validate(row) for row in found[: query.limit]]
    return EntriesOut(entries=page, next=page[-1].id if len(found) > len(page) else None)


@bp.get("/head")
@requires(Role.APPROVER)
@operation()
def head() -> HeadOut:
    """The newest seal: kept elsewhere, it proves later what the log was now."""
    with transaction() as session:
        seal, checkpoint = sealing.newest(session), sealing.newest_checkpoint(session)
    return HeadOut(
        seal=SealStatement.of(seal) if seal else None,
        checkpoint=CheckpointStatement.of(checkpoint) if checkpoint else None,
    )
