"""Questions about the effective configuration of parsed runs.

Each takes a session whose transaction has not begun: all that one answer rests on is seen at one
moment. The answers are read page by page, and worked out only as far as the page that is asked for.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.identity.roles import Principal
from backend.problems import NotFound
from backend.strictjson import shown
from backend.workloads.splunk.model import RunFile
from backend.workloads.splunk.places import Layer
from backend.workloads.splunk.resolution import schemas as shapes
from backend.workloads.splunk.resolution.context import GLOBAL, Context, ContextKind
from backend.workloads.splunk.resolution.differences import (
    StanzaChange,
    differences,
    differences_by_app,
)
from backend.workloads.splunk.resolution.leftovers import Reason, leftovers
from backend.workloads.splunk.resolution.loading import (
    OWN,
    Wanted,
    contents,
    layers_of,
    load,
    one_moment,
    parsed_run,
    wanted,
)
from backend.workloads.splunk.resolution.overlaps import KINDS, LAYERS, Overlap, overlaps

PEER: Final = Context(ContextKind.CLUSTER_PEER)
Contents = frozenset[tuple[Layer, str]]
Item = TypeVar("Item")


def effective(
    session: Session, run_id: int, asked: shapes.EffectiveIn, by: Principal
) -> shapes.EffectiveOut:
    """What holds for one conf type, or one stanza of it, in one context."""
    context = asked.resolved()
    one_moment(session)
    parsed_run(session, run_id, by)
    configuration = load(session, run_id, wanted(context, asked.conf, name=asked.stanza))
    found = configuration.effective(asked.conf, context)
    if asked.stanza is not None:
        found = {name: it for name, it in found.items() if name == asked.stanza}
    page, following = _page(found.items(), asked)
    return shapes.EffectiveOut(
        run_id=run_id, conf=asked.conf, context=context.kind, app=context.app, user=context.user,
        disabled_apps=sorted({app for _, app in configuration.disabled}),
        stanzas=[shapes.StanzaOut.of(name, settings) for name, settings in page],
        total=len(found), page=asked.page, per_page=asked.per_page, next=following,
    )  # fmt: skip


def why(session: Session, run_id: int, asked: shapes.WhyIn, by: Principal) -> shapes.WhyOut:
    """Which file's word on one key holds, and whose do not.

    Raises:
        NotFound: nobody says anything on it.
    """
    context = asked.resolved()
    one_moment(session)
    parsed_run(session, run_id, by)
    configuration = load(session, run_id, wanted(context, asked.conf, name=asked.stanza))
    question = (asked.conf, asked.stanza, asked.key, context)
    resolved, ignored = configuration.why(*question), configuration.ignored(*question)
    if resolved is None and not ignored:
        raise NotFound(
            f"Run {run_id} says nothing on {shown(asked.key)} of [{shown(asked.stanza)}] in"
            f" {shown(asked.conf)} in this context.",
            code="no-such-setting",
        )
    return shapes.WhyOut(
        run_id=run_id, conf=asked.conf, stanza=asked.stanza, key=asked.key,
        context=context.kind, app=context.app, user=context.user,
        setting=None if resolved is None else shapes.SettingOut.of(resolved),
        ignored=[shapes.IgnoredOut.because(reason, said) for reason, said in ignored],
    )  # fmt: skip


def diff(
    session: Session, runs: shapes.RunsPath, asked: shapes.DiffIn, by: Principal
) -> shapes.DiffOut:
    """What holds in the second run and did not in the first."""
    one_moment(session)
    for run_id in (runs.a, runs.b):
        parsed_run(session, run_id, by)
    page, following = _page(_differences(session, runs, asked), asked)
    return shapes.DiffOut(
        before=runs.a, after=runs.b, changes=[shapes.StanzaChangeOut.of(it) for it in page],
        page=asked.page, per_page=asked.per_page, next=following,
    )  # fmt: skip


def left_over(
    session: Session, run_id: int, asked: shapes.LeftoversIn, by: Principal
) -> shapes.LeftoversOut:
    """Settings of an instance that do nothing, and conf files that nobody reads."""
    one_moment(session)
    parsed_run(session, run_id, by)
    there = contents(session, run_id)
    context = Context(ContextKind(asked.context)) if asked.context else _instance(there)
    page, following = _page(_leftovers(session, run_id, there, context, asked.conf), asked)
    return shapes.LeftoversOut(
        run_id=run_id, context=context.kind, leftovers=page,
        page=asked.page, per_page=asked.per_page, next=following,
    )  # fmt: skip


def overlapping(
    session: Session, run_id: int, asked: shapes.OverlapsIn, by: Principal
) -> shapes.OverlapsOut:
    """Keys on which apps of a deployment server, or of a cluster manager, disagree."""
    one_moment(session)
    parsed_run(session, run_id, by)
    page, following = _page(_overlaps(session, run_id, asked.conf), asked)
    return shapes.OverlapsOut(
        run_id=run_id, overlaps=[shapes.OverlapOut.of(it) for it in page],
        page=asked.page, per_page=asked.per_page, next=following,
    )  # fmt: skip


def _page(items: Iterable[Item], asked: shapes.PageIn) -> tuple[list[Item], int | None]:
    """One page, and the number of the next one, if there is one."""
    begin = (asked.page - 1) * asked.per_page
    found = list(islice(items, begin, begin + asked.per_page + 1))
    more = len(found) > asked.per_page
    return found[: asked.per_page], asked.page + 1 if more else None


def _instance(there: Contents) -> Context:
    """How the instance itself reads its folders: with apps of a cluster peer, it is one."""
    return PEER if any(layer is Layer.PEER_APP for layer, _ in there) else GLOBAL


def _conf_types(there: Contents, layers: Iterable[Layer], only: str | None) -> list[str]:
    known = {conf_type for layer, conf_type in there if layer in set(layers)}
    return sorted(known if only is None else known & {only})


def _differences(
    session: Session, runs: shapes.RunsPath, asked: shapes.DiffIn
) -> Iterator[StanzaChange]:
    there = contents(session, runs.a) | contents(session, runs.b)
    contexts = (
        [Context(asked.context, asked.app, asked.user)]
        if asked.context
        else [_instance(there), *map(Context, KINDS)]
    )
    for context in contexts:
        for conf_type in _conf_types(there, layers_of(context), asked.conf):
            before, after = (
                load(session, run_id, wanted(context, conf_type)) for run_id in (runs.a, runs.b)
            )
            if context.kind in KINDS:
                yield from differences_by_app(before, after, conf_type, context.kind)
            else:
                yield from differences(before, after, conf_type, context)


def _leftovers(
    session: Session, run_id: int, there: Contents, context: Context, only: str | None
) -> Iterator[shapes.LeftoverOut]:
    layers = OWN | layers_of(context)
    for conf_type in _conf_types(there, layers, only):
        configuration = load(session, run_id, Wanted(layers, frozenset({conf_type})))
        for found in leftovers(configuration, conf_type, context):
            yield shapes.LeftoverOut.of(found)
    unread = select(RunFile.path).where(
        RunFile.run_id == run_id, RunFile.kind == "other", RunFile.path.endswith(".conf")
    )
    for path in session.scalars(unread.order_by(RunFile.file_no)) if only is None else ():
        yield shapes.LeftoverOut(reason=Reason.NOT_READ, path=path)


def _overlaps(session: Session, run_id: int, only: str | None) -> Iterator[Overlap]:
    for conf_type in _conf_types(contents(session, run_id), LAYERS, only):
        configuration = load(session, run_id, Wanted(LAYERS, frozenset({conf_type})))
        yield from overlaps(configuration, conf_type)
