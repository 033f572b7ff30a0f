"""Apps that are switched off: Splunk ignores all that they say."""

from collections.abc import Iterable
from typing import Final

from backend.workloads.splunk.conf.stanza import DEFAULT
from backend.workloads.splunk.places import Layer, PlacedStanza, Scope

AppKey = tuple[Layer, str]
"""An app, and among whose apps it is: one name may stand in ``apps`` and ``deployment-apps``."""

APP_CONF: Final = "app"
INSTALL: Final = "install"
STANZAS: Final = (INSTALL, DEFAULT)
_STATE, _DISABLED = "state", "disabled"


def disabled_apps(stanzas: Iterable[PlacedStanza]) -> frozenset[AppKey]:
    """Apps whose own ``app.conf`` resolves to ``[install] state = disabled`` (app.conf.spec).

    Args:
        stanzas: of any kind; those of ``app.conf`` are looked at.
    """
    states: dict[AppKey, tuple[tuple[int, bool], str]] = {}
    for stanza in stanzas:
        place = stanza.place
        if stanza.conf_type != APP_CONF or stanza.name not in STANZAS or not place.app:
            continue
        state = stanza.settings.get(_STATE)
        if state is None or place.layer is Layer.USER:
            continue
        # [install] before [default], and local before default: the smallest is the strongest.
        strength = (STANZAS.index(stanza.name), place.scope is not Scope.LOCAL)
        app = (place.layer, place.app)
        states[app] = min(states.get(app, (strength, state)), (strength, state))
    return frozenset(
        app for app, (_, state) in states.items() if state.strip().lower() == _DISABLED
    )
