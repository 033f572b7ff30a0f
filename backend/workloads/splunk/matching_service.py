"""What follows from a run's configuration for an event, for deployment clients, for an input.

Each takes a session whose transaction has not begun: an answer rests on what is seen at one moment.
"""

from collections.abc import Collection
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.identity.roles import Principal
from backend.problems import NotFound
from backend.strictjson import shown
from backend.workloads.splunk.conf.stanza import DEFAULT
from backend.workloads.splunk.matching import answers, props, questions, routes, serverclass
from backend.workloads.splunk.matching.automaton import Work
from backend.workloads.splunk.model import RunFile
from backend.workloads.splunk.places import Layer
from backend.workloads.splunk.resolution.context import GLOBAL, ContextKind
from backend.workloads.splunk.resolution.disabled import APP_CONF
from backend.workloads.splunk.resolution.effective import Configuration
from backend.workloads.splunk.resolution.loading import (
    Wanted,
    load,
    one_moment,
    parsed_run,
    wanted,
)

PROPS = "props"


def match(
    session: Session, run_id: int, asked: questions.MatchIn, by: Principal
) -> answers.MatchOut:
    """Which settings of ``props.conf`` apply to an event.

    Raises:
        NotFound: there is no such run, or it is somebody else's; or no such deployment app.
        Conflict: it is not parsed.
        TooLarge, Unsupported: it is more than one question may take.
    """
    one_moment(session)
    parsed_run(session, run_id, by)
    configuration = _configuration(session, run_id, asked, (PROPS,))
    context = asked.resolved()
    found = configuration.effective(PROPS, context)
    searching = context.kind is ContextKind.APP_USER
    applied = answers.AppliedOut.of(props.apply(found, asked.event, Work(), searching=searching))
    return answers.MatchOut(
        run_id=run_id,
        disabled_apps=sorted({app for _, app in configuration.disabled}),
        **dict(applied),
    )


def clients(
    session: Session, run_id: int, asked: questions.ClientsIn, by: Principal
) -> answers.ClientsOut:
    """Which deployment client gets which apps. Raises as :func:`match` does."""
    one_moment(session)
    parsed_run(session, run_id, by)
    kind = serverclass.SERVERCLASS
    configuration = load(session, run_id, wanted(GLOBAL, kind))
    conf = configuration.effective(kind, GLOBAL)
    if not conf:
        raise NotFound(f"Run {run_id} has no serverclass.conf.", code="no-serverclass")
    server = serverclass.DeploymentServer(
        conf,
        serverclass.defined(
            one for one in configuration.stanzas(kind) if not configuration.off(one.place)
        ),
        repository=_deployment_apps(session, run_id) or None,
        files=asked.files,
        work=Work(),
    )
    deployments = (server.deployment(one, explain=asked.explain) for one in asked.clients)
    return answers.ClientsOut(
        run_id=run_id,
        disabled=answers.EvidenceOut.by(server.disabled) if server.disabled else None,
        clients=[*map(answers.ClientOut.of, deployments)],
    )


def route(
    session: Session, run_id: int, asked: questions.RoutesIn, by: Principal
) -> answers.RouteOut:
    """The index, the source type and the outputs of an input. Raises as :func:`match` does.

    Raises:
        NotFound: code ``no-such-input``, too.
    """
    one_moment(session)
    parsed_run(session, run_id, by)
    configuration = _configuration(session, run_id, asked, routes.CONF_TYPES)
    context = asked.resolved()
    confs = {kind: configuration.effective(kind, context) for kind in routes.CONF_TYPES}
    if asked.stanza == DEFAULT or asked.stanza not in confs["inputs"]:
        raise NotFound(
            f"Run {run_id} has no input [{shown(asked.stanza)}] in this context.",
            code="no-such-input",
        )
    return answers.RouteOut.of(run_id, routes.route(confs, asked.stanza, asked.event, Work()))


def _configuration(
    session: Session, run_id: int, asked: questions.InstanceIn, conf_types: Collection[str]
) -> Configuration:
    if not asked.deployed:
        return load(session, run_id, wanted(asked.resolved(), *conf_types))
    missing = sorted(set(asked.deployed) - set(_deployment_apps(session, run_id)))
    if missing:
        raise NotFound(
            f"Run {run_id} has no deployment app {shown(missing[0])}.", code="no-such-app"
        )
    there = load(session, run_id, Wanted(frozenset({Layer.DEPLOYMENT_APP}), frozenset(conf_types)))
    return _installed(there, frozenset(asked.deployed), {*conf_types, APP_CONF})


def _installed(
    there: Configuration, apps: Collection[str], conf_types: Collection[str]
) -> Configuration:
    """What a client has that was sent these apps: on it they are apps like any others."""
    return Configuration(
        replace(stanza, place=replace(stanza.place, layer=Layer.APP))
        for conf_type in conf_types
        for stanza in there.stanzas(conf_type)
        if stanza.place.app in apps
    )


def _deployment_apps(session: Session, run_id: int) -> list[str]:
    found = session.scalars(
        select(RunFile.app)
        .where(RunFile.run_id == run_id, RunFile.layer == Layer.DEPLOYMENT_APP)
        .distinct()
    )
    return sorted(app for app in found if app is not None)
