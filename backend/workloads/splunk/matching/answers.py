"""What is answered about events, deployment clients and inputs, each time with its evidence."""

from collections.abc import Mapping
from typing import Final, Literal

from backend.identity.schemas import Output
from backend.workloads.splunk.matching import outputs, props, transforms
from backend.workloads.splunk.matching.filters import Reason, Verdict
from backend.workloads.splunk.matching.props import Spec
from backend.workloads.splunk.matching.routes import Route
from backend.workloads.splunk.matching.serverclass import DeployedApp, Deployment, Membership
from backend.workloads.splunk.resolution.effective import Resolved, Settings
from backend.workloads.splunk.resolution.schemas import CandidateOut, SettingOut

Answer = Literal["yes", "no", "undecided"]

ANSWERS: Final[Mapping[bool | None, Answer]] = {True: "yes", False: "no", None: "undecided"}


class EvidenceOut(CandidateOut):
    """A setting, and the file that says it."""

    key: str

    @classmethod
    def by(cls, setting: Resolved) -> "EvidenceOut":
        said = CandidateOut.of(setting.winner).model_dump()
        return cls(**said, key=setting.key)


class NotReadOut(Output):
    stanza: str
    reason: str


class MatchedStanzaOut(Output):
    """``literal``: it names the source, host or source type itself, and is no pattern."""

    stanza: str
    spec: Spec
    literal: bool
    priority: int


class AppliedOut(Output):
    """``assigned``: what gives the event its source type, where the event came without one.

    ``renamed``: what gives it another name in searches; in the app/user context alone.
    ``settings`` have all that is said on a key, over all stanzas that apply, the strongest first.
    ``not_read`` are stanzas that may apply.
    """

    sourcetype: str | None
    assigned: EvidenceOut | None
    renamed: EvidenceOut | None
    stanzas: list[MatchedStanzaOut]
    settings: list[SettingOut]
    not_read: list[NotReadOut]

    @classmethod
    def of(cls, applied: props.Applied) -> "AppliedOut":
        return cls(
            sourcetype=applied.sourcetype,
            assigned=_evidence(applied.assigned),
            renamed=_evidence(applied.renamed),
            stanzas=[MatchedStanzaOut.model_validate(one) for one in applied.matches],
            settings=_settings(applied.settings),
            not_read=[NotReadOut.model_validate(one) for one in applied.not_read],
        )


class MatchOut(AppliedOut):
    run_id: int
    disabled_apps: list[str]


class ReasonOut(Output):
    sentence: str
    evidence: EvidenceOut | None

    @classmethod
    def of(cls, reason: Reason) -> "ReasonOut":
        said = reason.setting
        return cls(
            sentence=reason.sentence, evidence=None if said is None else EvidenceOut.by(said)
        )


class VerdictOut(Output):
    answer: Answer
    reasons: list[ReasonOut]

    @classmethod
    def of(cls, verdict: Verdict) -> "VerdictOut":
        return cls(answer=ANSWERS[verdict.answer], reasons=[*map(ReasonOut.of, verdict.reasons)])


class DeployedAppOut(Output):
    """``present``: whether the upload has it among its deployment apps; null where it has none."""

    app: str
    verdict: VerdictOut
    present: bool | None
    settings: list[EvidenceOut]

    @classmethod
    def of(cls, app: DeployedApp) -> "DeployedAppOut":
        return cls(
            app=app.app, verdict=VerdictOut.of(app.verdict), present=app.present,
            settings=[*map(EvidenceOut.by, app.settings.values())],
        )  # fmt: skip


class MembershipOut(Output):
    server_class: str
    verdict: VerdictOut
    apps: list[DeployedAppOut]

    @classmethod
    def of(cls, member: Membership) -> "MembershipOut":
        return cls(
            server_class=member.server_class, verdict=VerdictOut.of(member.verdict),
            apps=[*map(DeployedAppOut.of, member.apps)],
        )  # fmt: skip


class ClientOut(Output):
    """``apps`` it gets; ``undecided`` it may get, by what nobody has told."""

    name: str
    apps: list[str]
    undecided: list[str]
    server_classes: list[MembershipOut]

    @classmethod
    def of(cls, deployment: Deployment) -> "ClientOut":
        return cls(
            name=deployment.client, apps=deployment.apps(True), undecided=deployment.apps(None),
            server_classes=[*map(MembershipOut.of, deployment.memberships)],
        )  # fmt: skip


class ClientsOut(Output):
    """``disabled``: the setting that switches the deployment server off, where one does."""

    run_id: int
    disabled: EvidenceOut | None
    clients: list[ClientOut]


class OutcomeOut(Output):
    """``value``: null where only the event's text tells; ``when``: null where it always holds."""

    value: str | None
    when: str | None
    evidence: list[EvidenceOut]

    @classmethod
    def of(cls, outcome: transforms.Outcome) -> "OutcomeOut":
        return cls(
            value=outcome.value, when=outcome.when,
            evidence=[*map(EvidenceOut.by, outcome.settings)],
        )  # fmt: skip


class IndexOut(OutcomeOut):
    """``defined``: by ``indexes.conf``, null where it has no index at all.

    ``forwarded``: null where it hangs on the event, or on a filter that cannot be read.
    """

    defined: bool | None
    forwarded: bool | None
    filter: EvidenceOut | None


class DestinationOut(Output):
    """``exists``: whether ``outputs.conf`` defines the group so that Splunk takes it."""

    kind: str
    group: str
    exists: bool
    disabled: EvidenceOut | None
    servers: list[str]
    addressed: EvidenceOut | None
    routed: OutcomeOut

    @classmethod
    def of(cls, found: outputs.Destination) -> "DestinationOut":
        return cls(
            kind=found.kind, group=found.group, exists=found.exists,
            disabled=_evidence(found.disabled), servers=found.servers,
            addressed=_evidence(found.addressed), routed=OutcomeOut.of(found.routed),
        )  # fmt: skip


class TransformOut(Output):
    """``matches``: null where it hangs on the event's text."""

    name: str
    matches: bool | None
    named_by: EvidenceOut
    settings: list[EvidenceOut]

    @classmethod
    def of(cls, transform: transforms.Transform) -> "TransformOut":
        return cls(
            name=transform.name, matches=transform.matches,
            named_by=EvidenceOut.by(transform.named_by),
            settings=[EvidenceOut.by(one) for _, one in sorted(transform.settings.items())],
        )  # fmt: skip


class RouteOut(Output):
    """The way of an input's events, step by step; of each step all that may come of it.

    ``local``: whether they are indexed on the instance itself, and ``local_by`` what says so.
    """

    run_id: int
    stanza: str
    kind: str
    disabled: EvidenceOut | None
    source: OutcomeOut
    host: OutcomeOut
    sourcetype: list[OutcomeOut]
    props: AppliedOut
    transforms: list[TransformOut]
    queue: list[OutcomeOut]
    index: list[IndexOut]
    destinations: list[DestinationOut]
    local: bool
    local_by: EvidenceOut | None
    notes: list[str]

    @classmethod
    def of(cls, run_id: int, route: Route) -> "RouteOut":
        return cls(
            run_id=run_id, stanza=route.stanza, kind=route.kind,
            disabled=_evidence(route.disabled), source=OutcomeOut.of(route.source),
            host=OutcomeOut.of(route.host), sourcetype=[*map(OutcomeOut.of, route.sourcetype)],
            props=AppliedOut.of(route.applied),
            transforms=[*map(TransformOut.of, route.transforms)],
            queue=[*map(OutcomeOut.of, route.queue)], index=_indexes(route),
            destinations=[*map(DestinationOut.of, route.destinations)],
            local=route.local, local_by=_evidence(route.local_by), notes=route.notes,
        )  # fmt: skip


def _indexes(route: Route) -> list[IndexOut]:
    defined = route.index_defined or {}
    return [
        IndexOut(
            **OutcomeOut.of(outcome).model_dump(), defined=defined.get(outcome.value or ""),
            forwarded=sent.answer, filter=_evidence(sent.filter),
        )
        for outcome, sent in zip(route.index, route.forwarded, strict=True)
    ]  # fmt: skip


def _evidence(setting: Resolved | None) -> EvidenceOut | None:
    return None if setting is None else EvidenceOut.by(setting)


def _settings(settings: Settings) -> list[SettingOut]:
    return [SettingOut.of(settings[key]) for key in sorted(settings)]
