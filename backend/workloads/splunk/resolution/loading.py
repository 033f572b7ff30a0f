"""A run's stanzas, read for one question: only the conf types, folders and names it is about."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    Text,
    and_,
    any_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    text,
    true,
    union_all,
)
from sqlalchemy.orm import Session

from backend.identity.roles import Principal
from backend.problems import Conflict, TooLarge
from backend.workloads.splunk.conf.stanza import DEFAULT
from backend.workloads.splunk.model import IngestionRun, RunFile, RunStanza
from backend.workloads.splunk.ownership import run_of
from backend.workloads.splunk.places import Layer, Place, PlacedStanza, Scope
from backend.workloads.splunk.resolution.context import Context, ContextKind
from backend.workloads.splunk.resolution.disabled import APP_CONF, STANZAS
from backend.workloads.splunk.resolution.effective import Configuration
from backend.workloads.splunk.resolution.exports import META
from backend.workloads.splunk.resolution.precedence import BANDS

MAX_STANZAS: Final = 100_000
MAX_BYTES: Final = 64 * 1024 * 1024
"""Of settings, for one question: an uploaded file may hold any number of any length."""

ONE_MOMENT: Final = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
OWN: Final = frozenset({Layer.SYSTEM, Layer.APP, Layer.USER})
"""What an instance that is no cluster peer reads."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which stanzas of a run are asked about.

    Attributes:
        layers: where they stand.
        conf_types: of which kinds they are.
        name: of a stanza, which brings ``[default]`` with it; None for all.
        context: leaves out the folders of other users than its own, and for a single app's
            context other apps.
    """

    layers: frozenset[Layer]
    conf_types: frozenset[str]
    name: str | None = None
    context: Context | None = None


def one_moment(session: Session) -> None:
    """Let all that follows in a new transaction see the database as it is now.

    A run that is parsed again meanwhile is seen as it was before, or after, and never mixed.
    """
    session.execute(ONE_MOMENT)


def parsed_run(session: Session, run_id: int, by: Principal) -> IngestionRun:
    """A run that ``by`` may see, and whose stanzas are there.

    Raises:
        NotFound: there is none, or it is somebody else's.
        Conflict: code ``not-parsed``.
    """
    run = run_of(session, run_id, by)
    if run.archive_kind is None:
        raise Conflict(
            f"Run {run_id} is {run.status}: there is nothing to resolve until it is parsed.",
            code="not-parsed",
        )
    return run


def layers_of(context: Context) -> frozenset[Layer]:
    """Where the stanzas stand that ``context`` may read."""
    if context.kind is ContextKind.APP_USER:
        return OWN
    return frozenset(layer for layer, _ in BANDS[context.kind])


def wanted(context: Context, *conf_types: str, name: str | None = None) -> Wanted:
    """What must be read to resolve these conf types, or one stanza of them, in ``context``."""
    return Wanted(layers_of(context), frozenset(conf_types), name, context)


def load(session: Session, run_id: int, asked: Wanted) -> Configuration:
    """What one question needs to know of a run, to be resolved.

    Raises:
        TooLarge: code ``too-large-to-resolve``.
    """
    about = _about(asked)
    _measure(session, run_id, about)
    columns = (
        RunStanza.stanza_no, RunStanza.file_no, RunStanza.conf_type, RunStanza.name,
        RunStanza.line, RunStanza.layer, RunStanza.scope, RunStanza.app, RunStanza.user_name,
        cast(RunStanza.raw_kv, Text), cast(RunStanza.lines, Text),
    )  # fmt: skip
    queries = [select(*columns).where(RunStanza.run_id == run_id, it) for it in about]
    # In the archive's order: pages of an answer must not depend on how its rows were found.
    rows = sorted(session.execute(union_all(*queries)).all(), key=itemgetter(0))
    return Configuration(_placed(rows, _paths(session, run_id, {row.file_no for row in rows})))


def contents(session: Session, run_id: int) -> frozenset[tuple[Layer, str]]:
    """The layers in which a run has stanzas, and of which conf types; without metadata."""
    found: Sequence[Any] = session.execute(
        select(RunStanza.layer, RunStanza.conf_type)
        .where(RunStanza.run_id == run_id, RunStanza.conf_type != META)
        .distinct()
    ).all()
    return frozenset((Layer(layer), conf_type) for layer, conf_type in found)


def _about(asked: Wanted) -> list[ColumnElement[bool]]:
    """Conditions of which no stanza meets two; each is looked up by itself."""
    placed = and_(RunStanza.layer.in_(asked.layers), _of_context(asked.context))
    chosen = [placed, RunStanza.conf_type.in_(asked.conf_types - {META})]
    switches = set(STANZAS)
    if asked.name is not None:
        chosen.append(_named({asked.name, DEFAULT}))
    if APP_CONF in asked.conf_types:
        switches -= {asked.name, DEFAULT} if asked.name is not None else switches
    conditions = [and_(*chosen)]
    if switches:
        conditions.append(and_(placed, RunStanza.conf_type == APP_CONF, _named(switches)))
    if asked.context is not None and asked.context.kind is ContextKind.APP_USER:
        conditions.append(_metadata(asked.conf_types))
    return conditions


def _metadata(conf_types: Collection[str]) -> ColumnElement[bool]:
    """What apps say about sharing these conf types, or all that they have."""
    about = [RunStanza.name.startswith(f"{kind}/", autoescape=True) for kind in conf_types]
    return and_(
        RunStanza.layer == Layer.APP,
        RunStanza.conf_type == META,
        or_(RunStanza.name.in_({"", *conf_types}), *about),
    )


def _of_context(context: Context | None) -> ColumnElement[bool]:
    if context is None:
        return true()
    if context.kind is ContextKind.APP_USER:
        own = and_(RunStanza.user_name == context.user, RunStanza.app == context.app)
        return or_(RunStanza.layer != Layer.USER, own)
    return RunStanza.app == context.app if context.app else true()


def _named(names: Collection[str]) -> ColumnElement[bool]:
    """By the index, which has a hash of each name."""
    hashes = [func.hashtextextended(name, 0) for name in sorted(names)]
    return and_(
        func.hashtextextended(RunStanza.name, 0).in_(hashes), RunStanza.name.in_(sorted(names))
    )


def _measure(session: Session, run_id: int, about: Sequence[ColumnElement[bool]]) -> None:
    """Refuse before anything is read what would not fit in memory."""
    settings = RunStanza.raw_kv
    stored = func.pg_column_size(settings)
    # What is stored compressed is measured as it will come out.
    size = case(
        (func.pg_column_compression(settings).is_(None), stored),
        else_=func.octet_length(cast(settings, Text)),
    )
    queries = [
        select(func.count().label("stanzas"), func.coalesce(func.sum(size), 0).label("size")).where(
            RunStanza.run_id == run_id, condition
        )
        for condition in about
    ]
    parts = session.execute(union_all(*queries)).all()
    stanzas, total = sum(part.stanzas for part in parts), sum(part.size for part in parts)
    if stanzas > MAX_STANZAS or total > MAX_BYTES:
        raise TooLarge(
            f"That would take {stanzas} stanzas of {total} bytes; at most {MAX_STANZAS} of"
            f" {MAX_BYTES} bytes are resolved at once. Ask about one conf type or one stanza.",
            code="too-large-to-resolve",
        )


def _paths(session: Session, run_id: int, files: Collection[int]) -> dict[int, str]:
    """By number. Not joined: of a run just parsed the database has no statistics yet."""
    numbers = cast(literal(sorted(files), ARRAY(Integer)), ARRAY(Integer))
    found: Sequence[Any] = session.execute(
        select(RunFile.file_no, RunFile.path).where(
            RunFile.run_id == run_id, RunFile.file_no == any_(numbers)
        )
    ).all()
    return dict(found)


def _placed(rows: Sequence[Sequence[Any]], paths: Mapping[int, str]) -> list[PlacedStanza]:
    # As one document each: half the time of one for each row, and keys are kept once.
    settings, lines = (json.loads(f"[{','.join(row[at] for row in rows)}]") for at in (-2, -1))
    places: dict[tuple[str, str, str | None, str | None], Place] = {}
    stanzas = []
    for number, (_, file, conf_type, name, line, layer, scope, app, user, *_) in enumerate(rows):
        where = (layer, scope, app, user)
        place = places.get(where)
        if place is None:
            place = places[where] = Place(Layer(layer), Scope(scope), app, user)
        stanzas.append(
            PlacedStanza(place, conf_type, name, paths[file], line, settings[number], lines[number])
        )
    return stanzas
