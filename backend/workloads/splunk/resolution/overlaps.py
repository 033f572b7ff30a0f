"""Apps of one deployment server, or of one cluster manager, that say different things.

On a client that gets both, a local folder beats a default one, and of equals the app whose name
comes first in ASCII order wins: the other team wonders. Which clients get both is the server
classes' to say.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from backend.workloads.splunk.places import Layer
from backend.workloads.splunk.resolution.conf_types import APP_USER_ONLY
from backend.workloads.splunk.resolution.context import Context, ContextKind
from backend.workloads.splunk.resolution.effective import Candidate, Configuration, Resolved

KINDS: Final = (ContextKind.DEPLOYMENT_APP, ContextKind.MANAGER_APP)
LAYERS: Final = frozenset({Layer.DEPLOYMENT_APP, Layer.MANAGER_APP})


@dataclass(frozen=True, slots=True)
class Overlap:
    """One key of one stanza on which apps disagree.

    ``said`` has of each app what it says when alone; where all of them are, the first one wins.
    """

    kind: ContextKind
    conf_type: str
    stanza: str
    key: str
    said: tuple[Candidate, ...]


def overlaps(configuration: Configuration, conf_type: str) -> Iterator[Overlap]:
    """The keys of one conf type on which two apps disagree, by stanza and key.

    Apps that are switched off disagree with nobody.
    """
    if conf_type in APP_USER_ONLY:
        return
    for kind in KINDS:
        for stanza, settings in configuration.effective(conf_type, Context(kind)).items():
            for key in sorted(settings):
                said = tuple(_said(settings[key], stanza))
                if len({candidate.value for candidate in said}) > 1:
                    yield Overlap(kind, conf_type, stanza, key, said)


def _said(resolved: Resolved, stanza: str) -> Iterator[Candidate]:
    """The first word of each app: all local folders come before all default ones."""
    apps = set()
    for source in resolved.stanzas:
        if source.name == stanza and source.place.app not in apps:
            apps.add(source.place.app)
            yield Candidate.of(source, resolved.key)
