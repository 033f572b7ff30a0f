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


def switches(stanza: PlacedStanza) -> bool:
    """Whether it may switch an app on or off."""
    return stanza.conf_type == APP_CONF and stanza.name in STANZAS and _STATE in stanza.settings


def disabled_apps(stanzas: Iterable[PlacedStanza]) -> frozenset[AppKey]:
    """Apps whose own ``app.conf`` resolves to ``[install] state = disabled`` (app.conf.spec).

    Args:
        stanzas: of any kind; those of ``app.conf`` are looked at.
    """
    states: dict[AppKey, tuple[tuple[int, bool], str]] = {}
    for stanza in stanzas:
        if stanza.conf_type != APP_CONF or not switches(stanza):  # without a call for nearly all
            continue
        place = stanza.place
        if not place.app or place.layer is Layer.USER:
            continue
        state = stanza.settings[_STATE]
        # [install] before [default], and local before default: the smallest is the strongest.
        strength = (STANZAS.index(stanza.name), place.scope is not Scope.LOCAL)
        app = (place.layer, place.app)
        states[app] = min(states.get(app, (strength, state)), (strength, state))
    return frozenset(
        app for app, (_, state) in states.items() if state.strip().lower() == _DISABLED
    )
