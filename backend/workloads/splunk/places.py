"""Where a conf file stands in a Splunk installation, and what one of its stanzas says there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class UploadType(StrEnum):
    """What somebody says that an upload is: it decides how a bare tree is read."""

    DS_ETC = "ds_etc"
    """``$SPLUNK_HOME/etc`` of a deployment server, or its ``deployment-apps``."""
    INSTANCE_ETC = "instance_etc"
    """``$SPLUNK_HOME/etc`` of any other instance."""
    APP_BUNDLE = "app_bundle"
    """One app or several."""
    SINGLE_CONF = "single_conf"
    """One conf file, or a few, of which only the names are known."""


class Layer(StrEnum):
    SYSTEM = "system"
    APP = "app"
    DEPLOYMENT_APP = "deployment-app"
    MANAGER_APP = "manager-app"
    PEER_APP = "peer-app"
    USER = "user"


class Scope(StrEnum):
    DEFAULT = "default"
    LOCAL = "local"
    USERS = "users"
    METADATA = "metadata"


@dataclass(frozen=True, slots=True)
class Place:
    """``app`` is None in the system's folders; ``user`` is set in a user's alone."""

    layer: Layer
    scope: Scope
    app: str | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class PlacedStanza:
    """One stanza of one file, with where it stands.

    Attributes:
        place: where its file stands.
        conf_type: the file's name without ``.conf``, in lower case: ``props``; ``meta`` for both
            ``default.meta`` and ``local.meta``, which ``path`` tells apart.
        name: as the header has it; ``default`` for what stands above the first header.
        path: of its file, below ``etc/``.
        line: of its first header, counted from 1; 1 for what stands above the first header.
        settings: key → value, the file's last word on each key.
        lines: key → the line on which that value begins, counted from 1.
    """

    place: Place
    conf_type: str
    name: str
    path: str
    line: int
    settings: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)
