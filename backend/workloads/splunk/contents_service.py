"""The files and stanzas of one run, page by page.

Each takes a session whose transaction has not begun: a page and its total are of one moment.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Table, and_, cast, func, literal, or_, select
from sqlalchemy import Text as SqlText
from sqlalchemy.orm import Session

from backend.db import Base
from backend.identity.roles import Principal
from backend.problems import TooLarge
from backend.workloads.splunk import contents_schemas as shapes
from backend.workloads.splunk.model import RunFile, RunStanza
from backend.workloads.splunk.ownership import run_of
from backend.workloads.splunk.resolution.loading import MAX_BYTES, one_moment
from backend.workloads.splunk.runs_schemas import paging

PLACE: Final = (RunStanza.layer, RunStanza.scope, RunStanza.app, RunStanza.user_name.label("user"))
OF_STANZA: Final[tuple[Any, ...]] = (
    RunStanza.stanza_no, RunStanza.name, RunStanza.line, RunFile.path.label("file_path"), *PLACE,
)  # fmt: skip
IN_FILE: Final = and_(RunFile.run_id == RunStanza.run_id, RunFile.file_no == RunStanza.file_no)


def files(session: Session, run_id: int, asked: shapes.FilesIn, by: Principal) -> shapes.FilesOut:
    """The members of a run's archive, in its order."""
    one_moment(session)
    run = run_of(session, run_id, by)
    conditions = [RunFile.run_id == run_id, *_placed(RunFile, asked)]
    if asked.kind is not None:
        conditions.append(RunFile.kind == asked.kind)
    if asked.conf_type is not None:
        conditions.append(RunFile.conf_type == asked.conf_type)
    if asked.q is not None:
        conditions.append(_contains(RunFile.path, asked.q))
    columns = [getattr(RunFile, name) for name in shapes.FileOut.model_fields if name != "user"]
    page = select(*columns, RunFile.user_name.label("user")).where(*conditions)
    found = session.execute(_page(page.order_by(RunFile.file_no), asked)).all()
    total = _total(session, select(RunFile.file_no).where(*conditions))
    return shapes.FilesOut(
        run_id=run_id, status=run.status,
        files=[shapes.FileOut.model_validate(row) for row in found], **paging(asked, total),
    )  # fmt: skip


def stanzas(
    session: Session, run_id: int, asked: shapes.StanzasIn, by: Principal
) -> shapes.StanzasOut:
    """The stanzas of a run, in the archive's order.

    Raises:
        TooLarge: ``page-too-large``.
    """
    one_moment(session)
    run = run_of(session, run_id, by)
    conditions = [RunStanza.run_id == run_id, *_placed(RunStanza, asked), *_named(asked.name)]
    if asked.conf_type is not None:
        conditions.append(RunStanza.conf_type == asked.conf_type)
    if asked.q is not None:
        conditions.append(_says(asked.q))
    chosen = select(RunStanza.stanza_no).where(*conditions)
    page = _page(chosen.order_by(RunStanza.stanza_no), asked)
    numbers = session.scalars(page).all()
    _measure(session, run_id, numbers)
    columns = (RunStanza.file_no, RunStanza.conf_type, RunStanza.order_in_file, RunStanza.raw_kv,
               RunStanza.lines, RunStanza.history)  # fmt: skip
    found = session.execute(_of_run(select(*OF_STANZA, *columns), run_id, numbers)).all()
    return shapes.StanzasOut(
        run_id=run_id, status=run.status,
        stanzas=[shapes.StoredStanza.model_validate(row) for row in found],
        **paging(asked, _total(session, chosen)),
    )  # fmt: skip


def typed(
    session: Session, run_id: int, models: shapes.Typed, asked: shapes.TypedIn, by: Principal
) -> shapes.Contents:
    """The stanzas of one conf type by their typed columns, in the archive's order.

    Raises:
        TooLarge: ``page-too-large``.
    """
    one_moment(session)
    run = run_of(session, run_id, by)
    table = Base.metadata.tables[models.projection.table]
    filters = [table.c[name] == value for name, value in models.filters(asked).items()]
    chosen = select(table.c.stanza_no).where(table.c.run_id == run_id, *filters)
    if conditions := [*_placed(RunStanza, asked), *_named(asked.name)]:
        of_run = RunStanza.run_id == run_id
        chosen = chosen.join(RunStanza, _same(table)).where(of_run, *conditions)
    numbers = session.scalars(_page(chosen.order_by(table.c.stanza_no), asked)).all()
    _measure(session, run_id, numbers)
    columns = [table.c[name] for name, _ in models.projection.columns]
    query = select(*OF_STANZA, *columns).join_from(RunStanza, table, _same(table))
    wanted = _of_run(query, run_id, numbers)
    # Not as objects: a row of the driver's has an ``index`` of its own.
    rows = [models.row.model_validate(dict(row)) for row in session.execute(wanted).mappings()]
    return models.answer(
        run_id=run_id, status=run.status, **paging(asked, _total(session, chosen)),
        **{models.projection.table: rows},
    )  # fmt: skip


def _same(table: Table) -> ColumnElement[bool]:
    return and_(table.c.run_id == RunStanza.run_id, table.c.stanza_no == RunStanza.stanza_no)


def _of_run(query: Select[Any], run_id: int, numbers: Sequence[int]) -> Select[Any]:
    """These stanzas of a run, with the files they stand in."""
    return (
        query.join(RunFile, IN_FILE)
        .where(RunStanza.run_id == run_id, RunStanza.stanza_no.in_(numbers))
        .order_by(RunStanza.stanza_no)
    )


def _placed(model: type[RunFile | RunStanza], asked: shapes.PlacedIn) -> list[ColumnElement[bool]]:
    given = {model.app: asked.app, model.layer: asked.layer, model.scope: asked.scope}
    return [column == value for column, value in given.items() if value is not None]


def _named(name: str | None) -> list[ColumnElement[bool]]:
    """By the index, which has a hash of each name."""
    if name is None:
        return []
    hashed = func.hashtextextended(RunStanza.name, 0) == func.hashtextextended(name, 0)
    return [hashed, RunStanza.name == name]


def _contains(text: Any, q: Any) -> ColumnElement[bool]:
    """In any case; nothing in ``q`` is a wildcard."""
    return func.strpos(func.lower(text), func.lower(q)) > 0


def _says(q: str) -> ColumnElement[bool]:
    each = func.jsonb_each_text(RunStanza.raw_kv).table_valued("key", "value").render_derived()
    in_settings = (
        select(literal(1))
        .select_from(each)
        .where(or_(_contains(each.c.key, q), _contains(each.c.value, q)))
        .exists()
    )
    # What is in a key or a value is in the whole document as well, as JSON writes it: that is
    # told in a fraction of the time.
    written = cast(func.to_jsonb(cast(q, SqlText)), SqlText)
    inside = func.substr(written, 2, func.length(written) - 2)
    somewhere = _contains(cast(RunStanza.raw_kv, SqlText), inside)
    return or_(
        _contains(RunStanza.name, q), _contains(RunStanza.app, q), and_(somewhere, in_settings)
    )


def _page(query: Select[Any], asked: shapes.PlacedIn) -> Select[Any]:
    return query.offset((asked.page - 1) * asked.per_page).limit(asked.per_page)


def _total(session: Session, query: Select[Any]) -> int:
    return session.scalar(select(func.count()).select_from(query.subquery())) or 0


def _measure(session: Session, run_id: int, numbers: Sequence[int]) -> None:
    """Refuse before it is read a page that would not fit in memory."""
    whole = [RunStanza.name, *(cast(one, SqlText) for one in (RunStanza.raw_kv, RunStanza.history))]
    size = sum((func.coalesce(func.octet_length(one), 0) for one in whole), start=literal(0))
    size_of_page = select(func.coalesce(func.sum(size), 0)).where(
        RunStanza.run_id == run_id, RunStanza.stanza_no.in_(numbers)
    )
    if (taken := session.scalar(size_of_page) or 0) > MAX_BYTES:
        raise TooLarge(
            f"That page would have {taken} bytes; at most {MAX_BYTES} are shown at once."
            " Ask for fewer per page, or for one name.",
            code="page-too-large",
        )
