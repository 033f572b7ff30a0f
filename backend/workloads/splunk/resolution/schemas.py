"""What is asked about a run's effective configuration, and what is answered."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from backend.identity.schemas import Output
from backend.workloads.splunk.places import Layer, Scope
from backend.workloads.splunk.resolution.context import Context, ContextKind
from backend.workloads.splunk.resolution.differences import Change, KeyChange, StanzaChange
from backend.workloads.splunk.resolution.effective import Candidate, Ignored, Resolved, Settings
from backend.workloads.splunk.resolution.leftovers import Leftover, Reason
from backend.workloads.splunk.resolution.overlaps import Overlap

Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
ConfType = Annotated[str, StringConstraints(min_length=1, max_length=255, to_lower=True)]
Name = Annotated[str, StringConstraints(max_length=65_536)]
"""Of a stanza, a key, an app: longer ones fit into no URL."""

Instance = Literal["global", "cluster_peer"]

NO_APP = frozenset({ContextKind.GLOBAL, ContextKind.CLUSTER_PEER})


class RunPath(BaseModel):
    id: Id


class RunsPath(BaseModel):
    a: Id
    b: Id


class Question(BaseModel):
    """A body; members that are not known are refused."""

    model_config = ConfigDict(extra="forbid")


class PageIn(BaseModel):
    page: int = Field(1, ge=1, le=1_000_000)
    per_page: int = Field(50, ge=1, le=100)


def _checked(kind: ContextKind, app: str | None, user: str | None) -> Context:
    if kind is ContextKind.APP_USER and app is None:
        raise ValueError("context app_user needs an app")
    if kind in NO_APP and app is not None:
        raise ValueError(f"context {kind} takes no app")
    if kind is not ContextKind.APP_USER and user is not None:
        raise ValueError("only context app_user takes a user")
    return Context(kind, app, user)


class ContextIn(BaseModel):
    """``app`` is needed in the app/user context; without ``user`` nobody's own settings count.

    The apps of a deployment server or a cluster manager are resolved together where none is named.
    """

    context: ContextKind = ContextKind.GLOBAL
    app: Name | None = None
    user: Name | None = None

    @model_validator(mode="after")
    def _fits(self) -> "ContextIn":
        self.resolved()
        return self

    def resolved(self) -> Context:
        return _checked(self.context, self.app, self.user)


class EffectiveIn(ContextIn, PageIn):
    conf: ConfType
    stanza: Name | None = None


class WhyIn(ContextIn):
    conf: ConfType
    stanza: Name
    key: Name


class DiffIn(PageIn):
    """Left out, ``context`` is all that an upload says by itself: see :class:`DiffOut`."""

    context: ContextKind | None = None
    app: Name | None = None
    user: Name | None = None
    conf: ConfType | None = None

    @model_validator(mode="after")
    def _fits(self) -> "DiffIn":
        _checked(self.context or ContextKind.GLOBAL, self.app, self.user)
        return self


class LeftoversIn(PageIn):
    """Left out, ``context`` follows from the run: whether it has apps of a cluster peer."""

    context: Instance | None = None
    conf: ConfType | None = None


class OverlapsIn(PageIn):
    conf: ConfType | None = None


class PlaceOut(Output):
    """Where something is said. ``path`` is as the archive has it."""

    path: str
    line: int
    stanza: str
    layer: Layer
    scope: Scope
    app: str | None
    user: str | None


class CandidateOut(PlaceOut):
    value: str

    @classmethod
    def of(cls, said: Candidate) -> "CandidateOut":
        place = said.place
        return cls(
            path=said.path, line=said.line, stanza=said.stanza, layer=place.layer,
            scope=place.scope, app=place.app, user=place.user, value=said.value,
        )  # fmt: skip


class SettingOut(Output):
    """What holds for one key. ``winner.stanza`` is ``default`` where it is inherited."""

    key: str
    value: str
    winner: CandidateOut
    losers: list[CandidateOut]

    @classmethod
    def of(cls, resolved: Resolved) -> "SettingOut":
        winner, *losers = (CandidateOut.of(said) for said in resolved.candidates)
        return cls(key=resolved.key, value=winner.value, winner=winner, losers=losers)


class StanzaOut(Output):
    stanza: str
    settings: list[SettingOut]

    @classmethod
    def of(cls, stanza: str, settings: Settings) -> "StanzaOut":
        return cls(
            stanza=stanza, settings=[SettingOut.of(settings[key]) for key in sorted(settings)]
        )


class Paged(Output):
    """``next`` is the next page's number, null on the last page."""

    page: int
    per_page: int
    next: int | None


class Asked(Output):
    context: ContextKind
    app: str | None
    user: str | None


class EffectiveOut(Paged, Asked):
    """``disabled_apps`` were left out."""

    run_id: int
    conf: str
    total: int
    disabled_apps: list[str]
    stanzas: list[StanzaOut]


class IgnoredOut(CandidateOut):
    """Somebody says it where this context does not look."""

    reason: Ignored

    @classmethod
    def because(cls, reason: Ignored, said: Candidate) -> "IgnoredOut":
        return cls(**CandidateOut.of(said).model_dump(), reason=reason)


class WhyOut(Asked):
    """``setting`` is null where the key is said, but nowhere that counts: see ``ignored``."""

    run_id: int
    conf: str
    stanza: str
    key: str
    setting: SettingOut | None
    ignored: list[IgnoredOut]


class KeyChangeOut(Output):
    key: str
    change: Change
    before: CandidateOut | None
    after: CandidateOut | None

    @classmethod
    def of(cls, change: KeyChange) -> "KeyChangeOut":
        sides = (
            None if side is None else CandidateOut.of(side.winner)
            for side in (change.before, change.after)
        )  # fmt: skip
        return cls(key=change.key, change=change.change, before=next(sides), after=next(sides))


class StanzaChangeOut(Asked):
    """``inherited_by``: how many other stanzas change with what ``[default]`` says."""

    conf: str
    stanza: str
    change: Change
    keys: list[KeyChangeOut]
    inherited_by: int

    @classmethod
    def of(cls, changed: StanzaChange) -> "StanzaChangeOut":
        context = changed.context
        return cls(
            context=context.kind, app=context.app, user=context.user, conf=changed.conf_type,
            stanza=changed.stanza, change=changed.change,
            keys=[*map(KeyChangeOut.of, changed.keys)], inherited_by=changed.inherited_by,
        )  # fmt: skip


class DiffOut(Paged):
    """From the first run to the second.

    Without a context: what the instance itself does, then each app of the deployment server, then
    each of the cluster manager, the apps each by itself.
    """

    before: int
    after: int
    changes: list[StanzaChangeOut]


class LeftoverOut(Output):
    """A setting; where ``key`` is null, a stanza; where ``stanza`` is null, a file.

    ``instead`` is what holds there, or would without it.
    """

    reason: Reason
    path: str
    line: int | None = None
    conf: str | None = None
    stanza: str | None = None
    layer: Layer | None = None
    scope: Scope | None = None
    app: str | None = None
    user: str | None = None
    key: str | None = None
    value: str | None = None
    instead: CandidateOut | None = None

    @classmethod
    def of(cls, found: Leftover) -> "LeftoverOut":
        stanza, key = found.stanza, found.key
        place = stanza.place
        return cls(
            reason=found.reason, path=stanza.path, line=stanza.lines.get(key or "", stanza.line),
            conf=stanza.conf_type, stanza=stanza.name, layer=place.layer, scope=place.scope,
            app=place.app, user=place.user, key=key,
            value=None if key is None else stanza.settings[key],
            instead=None if found.instead is None else CandidateOut.of(found.instead),
        )  # fmt: skip


class LeftoversOut(Paged):
    run_id: int
    context: ContextKind
    leftovers: list[LeftoverOut]


class OverlapOut(Output):
    """``said`` has one word of each app; a client that gets them all uses the first."""

    context: ContextKind
    conf: str
    stanza: str
    key: str
    said: list[CandidateOut]

    @classmethod
    def of(cls, overlap: Overlap) -> "OverlapOut":
        return cls(
            context=overlap.kind, conf=overlap.conf_type, stanza=overlap.stanza, key=overlap.key,
            said=[*map(CandidateOut.of, overlap.said)],
        )  # fmt: skip


class OverlapsOut(Paged):
    run_id: int
    overlaps: list[OverlapOut]
