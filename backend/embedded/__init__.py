"""PostgreSQL without an installation: a server of our own, as a direct child of this process.

Binaries come from a wheel or from the host; the wheel's own launcher is not used, because a server
that it started outlives an owner that was killed.
"""

from backend.embedded.errors import EmbeddedError
from backend.embedded.installation import Installation, host_installations, wheel_installations
from backend.embedded.server import EmbeddedPostgres

__all__ = [
    "EmbeddedError",
    "EmbeddedPostgres",
    "Installation",
    "host_installations",
    "wheel_installations",
]
