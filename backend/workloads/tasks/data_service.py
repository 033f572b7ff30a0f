"""What all data have in common: listed, added, imported, deleted; each noted in the audit log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from backend.db import Base, table_of
from backend.identity import audit
from backend.identity.roles import Principal, Role
from backend.problems import Conflict, NotFound
from backend.workloads.tasks import importing, subjects
from backend.workloads.tasks.data_model import AriSnapshot, Debt, Goal, Interaction
from backend.workloads.tasks.data_schemas import DataPage, PageIn
from backend.workloads.tasks.importing import Imported, Staged

Row = TypeVar("Row", bound=Base)


@dataclass(frozen=True, slots=True)
class Kind(Generic[Row]):
    """One kind of data that belongs to users.

    ``word`` is what the audit log calls it. ``moment`` is the column that windows of time are
    about.
    """

    word: str
    model: type[Row]
    moment: InstrumentedAttribute[Any]

    @property
    def id(self) -> ColumnElement[int]:
        return table_of(self.model).c.id

    @property
    def owner(self) -> ColumnElement[int]:
        return table_of(self.model).c.user_id


SNAPSHOTS: Final = Kind("ari-snapshot", AriSnapshot, AriSnapshot.taken_at)
INTERACTIONS: Final = Kind("interaction", Interaction, Interaction.occurred_at)
GOALS: Final = Kind("goal", Goal, Goal.created_at)
DEBTS: Final = Kind("debt", Debt, Debt.created_at)


def listed(
    session: Session,
    kind: Kind[Row],
    page: DataPage,
    by: Principal,
    *conditions: ColumnElement[bool],
) -> tuple[Sequence[Row], int | None]:
    """A page of what the caller sees, what came last first, and where the next one begins."""
    user_id = subjects.seen(by, page.user_id)
    wanted = [*conditions]
    if user_id is not None:
        wanted.append(kind.owner == user_id)
    if page.since is not None:
        wanted.append(kind.moment >= page.since)
    if page.until is not None:
        wanted.append(kind.moment < page.until)
    return newest(session, kind.model, page, wanted)


def newest(
    session: Session, model: type[Row], page: PageIn, conditions: Sequence[ColumnElement[bool]]
) -> tuple[Sequence[Row], int | None]:
    """A page of rows, and the number before which the next one begins."""
    number = table_of(model).c.id
    wanted = select(model).where(*conditions).order_by(number.desc()).limit(page.limit + 1)
    if page.before is not None:
        wanted = wanted.where(number < page.before)
    found: Sequence[Any] = session.scalars(wanted).all()
    shown = found[: page.limit]
    return shown, shown[-1].id if len(found) > len(shown) else None


def one(
    session: Session, kind: Kind[Row], row_id: int, by: Principal, *, lock: bool = False
) -> Row:
    """Raises NotFound: there is none, or it is somebody else's."""
    wanted = select(kind.model).where(kind.id == row_id)
    if not by.may(Role.ADMIN):
        wanted = wanted.where(kind.owner == by.id)
    found: Row | None = session.scalar(wanted.with_for_update() if lock else wanted)
    if found is None:
        raise NotFound(f"There is no {kind.word} {row_id}.")
    return found


def add(session: Session, kind: Kind[Row], values: Mapping[str, Any], by: Principal) -> Row:
    """Store one row; ``values`` may name its owner, ``user_id``.

    Raises:
        Forbidden: ``not-your-data``.
        NotFound: ``unknown-user``.
        Conflict: ``duplicate``: it is there.
    """
    user_id = subjects.chosen(by, values.get("user_id"))
    subjects.hold(session, user_id)
    row: Row | None = session.scalar(
        insert(kind.model)
        .values({**values, "user_id": user_id})
        .on_conflict_do_nothing()
        .returning(kind.model)
    )
    if row is None:
        raise Conflict(f"This {kind.word} is stored already.", code="duplicate")
    _note(session, by, kind, "added", row, user_id)
    return row


def remove(session: Session, kind: Kind[Row], row_id: int, by: Principal) -> None:
    """Delete one row, and what hangs beneath it. Raises NotFound, see :func:`one`."""
    row: Any = one(session, kind, row_id, by, lock=True)
    session.execute(delete(kind.model).where(kind.id == row_id))
    _note(session, by, kind, "deleted", row, row.user_id)


def take(
    session: Session, kind: Kind[Row], staged: Staged, user_id: int | None, by: Principal
) -> Imported:
    """Store what an import brought; commits nothing.

    Raises:
        Forbidden: ``not-your-data``.
        NotFound: ``unknown-user``.
    """
    whose = subjects.chosen(by, user_id)
    subjects.hold(session, whose)  # two imports of one user's would wait for each other's rows
    imported = importing.store(session, staged, table_of(kind.model), given={"user_id": whose})
    audit.record(
        session, by, f"{kind.word}.imported", f"user:{whose}", **imported.model_dump()
    )  # fmt: skip
    return imported


def _note(
    session: Session, by: Principal, kind: Kind[Row], deed: str, row: Any, user_id: int
) -> None:
    audit.record(session, by, f"{kind.word}.{deed}", f"{kind.word}:{row.id}", user_id=user_id)
