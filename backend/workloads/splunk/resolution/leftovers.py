"""Settings that do nothing: what could go, and what somebody may believe to be in force."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from backend.workloads.splunk.places import Layer, Place, PlacedStanza, Scope
from backend.workloads.splunk.resolution.conf_types import APP_USER_ONLY, GLOBAL_ONLY
from backend.workloads.splunk.resolution.context import Context
from backend.workloads.splunk.resolution.disabled import switches
from backend.workloads.splunk.resolution.effective import Candidate, Configuration, Resolved


class Reason(StrEnum):
    REPEATS = "repeats"
    """A local value that is the one beneath it: without it the same would hold."""
    SHADOWED = "shadowed"
    """Another app, or the system's own folder, overrules it wherever it is read."""
    APP_DISABLED = "app-disabled"
    """Its app is switched off."""
    APP_MISSING = "app-missing"
    """It is a user's, for an app that is not there."""
    NOT_READ = "not-read"
    """A conf file that stands where no instance looks for one."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A key of a stanza, or with ``key`` None all of one; ``instead`` is what holds without it."""

    reason: Reason
    stanza: PlacedStanza
    key: str | None = None
    instead: Candidate | None = None


def leftovers(configuration: Configuration, conf_type: str, context: Context) -> Iterator[Leftover]:
    """What does nothing among the stanzas of one conf type.

    Only of what is certain: a value counts as shadowed where its conf type is read in the global
    context alone, since another app's searches may see it in another order.

    Args:
        context: the instance's own: ``GLOBAL``, or ``CLUSTER_PEER``.
    """
    yield from _homeless(configuration, conf_type)
    if conf_type in APP_USER_ONLY:
        yield from _repeating_own(configuration, conf_type)
        return
    chains = list(_chains(configuration, conf_type, context))
    if conf_type in GLOBAL_ONLY:
        for chain in chains:
            yield from _repeating_next(chain)
            yield from _shadowed(chain)
        return
    # Read in both contexts: it must be idle in both.
    idle = {(id(it.stanza), it.key) for chain in chains for it in _repeating_next(chain)}
    for leftover in _repeating_own(configuration, conf_type):
        private = leftover.stanza.place.layer is Layer.USER
        if private or (id(leftover.stanza), leftover.key) in idle:
            yield leftover


def _homeless(configuration: Configuration, conf_type: str) -> Iterator[Leftover]:
    """Stanzas that nobody reads, whatever they say."""
    apps = {p.app for p in configuration.places if p.layer in {Layer.APP, Layer.PEER_APP}}
    for stanza in configuration.stanzas(conf_type):
        if configuration.off(stanza.place):
            if not switches(stanza):  # that one does: without it the app might be on
                yield Leftover(Reason.APP_DISABLED, stanza)
        elif stanza.place.layer is Layer.USER and stanza.place.app not in apps:
            yield Leftover(Reason.APP_MISSING, stanza)


def _chains(
    configuration: Configuration, conf_type: str, context: Context
) -> Iterator[tuple[str, Resolved]]:
    """Each key of each stanza that says something of its own, with the stanza's name."""
    for name, settings in configuration.effective(conf_type, context).items():
        for key in sorted(settings):
            if settings[key].stanzas[0].name == name:
                yield name, settings[key]


def _repeating_next(chain: tuple[str, Resolved]) -> Iterator[Leftover]:
    name, resolved = chain
    for stanza, beneath in pairwise(resolved.stanzas):
        instead = Candidate.of(beneath, resolved.key)
        repeats = stanza.settings[resolved.key] == instead.value
        if repeats and stanza.name == name and stanza.place.scope is Scope.LOCAL:
            yield Leftover(Reason.REPEATS, stanza, resolved.key, instead)


def _shadowed(chain: tuple[str, Resolved]) -> Iterator[Leftover]:
    """Defaults are there to be overruled by the same app's local folder, or by the system's."""
    name, resolved = chain
    winner = resolved.winner
    for stanza in resolved.stanzas[1:]:
        place = stanza.place
        meant = place.scope is Scope.DEFAULT and winner.place.app in {place.app, None}
        repeats = stanza.settings[resolved.key] == winner.value
        if stanza.name == name and place.layer is not Layer.SYSTEM and not (meant or repeats):
            yield Leftover(Reason.SHADOWED, stanza, resolved.key, winner)


def _repeating_own(configuration: Configuration, conf_type: str) -> Iterator[Leftover]:
    """What repeats the folder beneath it in the same app, between which nothing ever stands."""
    stanzas = configuration.stanzas(conf_type)
    known = {(stanza.place, stanza.name): stanza for stanza in stanzas}
    for stanza in stanzas:
        if configuration.off(stanza.place):
            continue
        found = [known.get((place, stanza.name)) for place in _beneath(stanza.place)]
        below = [it for it in found if it is not None]
        for key, value in sorted(stanza.settings.items()):
            instead = next((it for it in below if key in it.settings), None)
            if instead is not None and instead.settings[key] == value:
                yield Leftover(Reason.REPEATS, stanza, key, Candidate.of(instead, key))


def _beneath(place: Place) -> list[Place]:
    """The folders of the same app that a folder overrules, the strongest first."""
    if place.scope is Scope.DEFAULT:
        return []
    layer = Layer.APP if place.layer is Layer.USER else place.layer
    scopes = [Scope.LOCAL, Scope.DEFAULT][place.scope is Scope.LOCAL :]
    return [Place(layer, scope, place.app) for scope in scopes]
