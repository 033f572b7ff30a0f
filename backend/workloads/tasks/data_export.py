"""Everything that this workload keeps about one user, as JSON lines.

All of it is of one moment, and is written to a file without a name before any of it is sent: what
is answered is whole, and a slow reader holds no transaction open.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast

from pydantic_core import to_json
from sqlalchemy import Select, select, text, tuple_
from sqlalchemy.orm import Session

from backend.identity import audit
from backend.identity.model import User
from backend.identity.roles import Principal
from backend.problems import NotFound, Unavailable
from backend.settings import Settings
from backend.workloads.tasks import subjects
from backend.workloads.tasks.belongings import Belonging, belongings
from backend.workloads.tasks.model import Task, TaskInput, TaskResult
from backend.workloads.tasks.schedules.model import Schedule
from backend.workloads.tasks.sealing import Unsealable, unseal

_ONE_MOMENT: Final = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
_PIECE: Final = 64 * 1024  # bytes
_IN_MEMORY: Final = 4 * 1024 * 1024  # bytes
_AT_ONCE: Final = 1000  # rows


@dataclass(frozen=True, slots=True)
class Export:
    """A file, to be read from its beginning and closed. ``size`` is in bytes."""

    file: BinaryIO
    size: int

    def pieces(self) -> Iterator[bytes]:
        """All of it; the file is closed with the last piece, or as soon as nobody reads on."""
        with self.file:
            while piece := self.file.read(_PIECE):
                yield piece


def export(session: Session, settings: Settings, user_id: int | None, by: Principal) -> Export:
    """Write down everything about one user; the transaction is a new one.

    Raises:
        Forbidden: ``not-your-data``.
        NotFound: ``unknown-user``.
    """
    whose = subjects.chosen(by, user_id)
    session.execute(_ONE_MOMENT)
    if session.scalar(select(User.id).where(User.id == whose)) is None:
        raise NotFound(f"There is no user {whose}.", code="unknown-user")
    file = cast("BinaryIO", tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY))  # noqa: SIM115 - its reader closes it
    try:
        for line in _lines(session, settings, whose):
            file.write(to_json(line) + b"\n")
        audit.record(session, by, "data.exported", f"user:{whose}")
    except BaseException:
        file.close()
        raise
    size = file.tell()
    file.seek(0)
    return Export(file, size)


def _lines(session: Session, settings: Settings, user_id: int) -> Iterator[dict[str, Any]]:
    for own in belongings(user_id):
        for row in _rows(session, own):
            yield {"kind": own.word, "data": _opened(settings, row) if "sealed" in row else row}


def _rows(session: Session, own: Belonging) -> Iterator[dict[str, Any]]:
    """Page by page: the driver knows no cursor of the server's."""
    key = list(own.table.primary_key.columns)
    wanted = _wanted(own).order_by(*key).limit(_AT_ONCE)
    page = session.execute(wanted).mappings().all()
    while page:
        yield from map(dict, page)
        last = tuple(page[-1][column.name] for column in key)
        page = session.execute(wanted.where(tuple_(*key) > last)).mappings().all()


def _wanted(own: Belonging) -> Select[*tuple[Any, ...]]:
    told: Select[*tuple[Any, ...]] = select(*own.told).where(own.condition)
    if own.table is Schedule.__table__:
        return told.add_columns(Schedule.sealed)
    if own.table is not Task.__table__:
        return told
    return (
        told.add_columns(
            TaskInput.parameters, TaskInput.sealed, TaskResult.result, TaskResult.expires_at
        )
        .outerjoin(TaskInput, TaskInput.task == Task.id)
        .outerjoin(TaskResult, TaskResult.task == Task.id)
    )


def _opened(settings: Settings, row: dict[str, Any]) -> dict[str, Any]:
    """With the parameters themselves, or with why they cannot be read."""
    sealed = row.pop("sealed")
    if sealed is None:
        return row
    try:
        return {**row, "parameters": unseal(settings, bytes(sealed))}
    except Unavailable as error:
        return {**row, "parameters_unreadable": error.detail}
    except Unsealable as error:
        return {**row, "parameters_unreadable": f"They were {error}."}
