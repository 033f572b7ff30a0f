"""Which folders a context reads, the strongest first.

Splunk Enterprise Admin Manual, "Configuration file precedence": folders of apps are read in ASCII
order in the global context; in the app/user context the current app comes first, then all others,
in reverse order, each with its local before its default folder.
"""

from collections.abc import Iterable
from typing import Final

from backend.workloads.splunk.places import Layer, Place, Scope
from backend.workloads.splunk.resolution.context import Context, ContextKind

Band = tuple[Layer, Scope]

SYSTEM_LOCAL: Final = (Layer.SYSTEM, Scope.LOCAL)
SYSTEM_DEFAULT: Final = (Layer.SYSTEM, Scope.DEFAULT)
APP_LOCAL: Final = (Layer.APP, Scope.LOCAL)
APP_DEFAULT: Final = (Layer.APP, Scope.DEFAULT)

BANDS: Final[dict[ContextKind, tuple[Band, ...]]] = {
    ContextKind.GLOBAL: (SYSTEM_LOCAL, APP_LOCAL, APP_DEFAULT, SYSTEM_DEFAULT),
    ContextKind.CLUSTER_PEER: (
        (Layer.PEER_APP, Scope.LOCAL),
        SYSTEM_LOCAL,
        APP_LOCAL,
        (Layer.PEER_APP, Scope.DEFAULT),
        APP_DEFAULT,
        SYSTEM_DEFAULT,
    ),
    ContextKind.DEPLOYMENT_APP: (
        (Layer.DEPLOYMENT_APP, Scope.LOCAL),
        (Layer.DEPLOYMENT_APP, Scope.DEFAULT),
    ),
    ContextKind.MANAGER_APP: (
        (Layer.MANAGER_APP, Scope.LOCAL),
        (Layer.MANAGER_APP, Scope.DEFAULT),
    ),
}
SCOPES: Final = (Scope.LOCAL, Scope.DEFAULT)


def order(places: Iterable[Place], context: Context) -> list[Place]:
    """The places that ``context`` reads, the strongest first; all others are left out.

    Apps that are switched off are not known here: see ``disabled.py``.
    """
    if context.kind is ContextKind.APP_USER:
        return _of_app_and_user(places, context)
    bands = BANDS[context.kind]
    own = context.app
    read = [p for p in places if (p.layer, p.scope) in bands and own in {None, p.app}]
    return sorted(read, key=lambda p: (bands.index((p.layer, p.scope)), p.app or ""))


def _of_app_and_user(places: Iterable[Place], context: Context) -> list[Place]:
    known = set(places)
    apps = sorted({p.app for p in known if p.layer is Layer.APP and p.app}, reverse=True)
    others = [app for app in apps if app != context.app]
    wanted = [
        Place(Layer.USER, Scope.USERS, context.app, context.user),
        *(Place(Layer.APP, scope, context.app) for scope in SCOPES),
        *(Place(Layer.APP, scope, app) for app in others for scope in SCOPES),
        *(Place(Layer.SYSTEM, scope) for scope in SCOPES),
    ]
    return [place for place in wanted if place in known]
