"""For whom a configuration is resolved."""

from dataclasses import dataclass
from enum import StrEnum


class ContextKind(StrEnum):
    """Splunk's two contexts, a cluster peer's own order, and apps that other instances will run."""

    GLOBAL = "global"
    """What the instance itself does: inputs, indexing, forwarding."""
    CLUSTER_PEER = "cluster_peer"
    """The same on an indexer of a cluster, with what its manager sent it."""
    APP_USER = "app_user"
    """What somebody sees who works in one app: searches and knowledge objects."""
    DEPLOYMENT_APP = "deployment_app"
    """One app of a deployment server, by itself: it runs on others."""
    MANAGER_APP = "manager_app"
    """One app of a cluster manager, by itself: it runs on the peers."""


@dataclass(frozen=True, slots=True)
class Context:
    """``app`` is set in all but the first two kinds; ``user`` may be, in the app/user context."""

    kind: ContextKind = ContextKind.GLOBAL
    app: str | None = None
    user: str | None = None


GLOBAL = Context()
