"""The lock as uploaded, so that it installs what was vetted, from the internal registry.

Only entries that were vetted are changed. Everything else, such as a folder of the project or a git
repository, stays as it is: the request names each of those as an exclusion.
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from backend.workloads.packages.evidence.stored_lock import PREFIX, StoredLock
from backend.workloads.packages.lockfile import redact_url
from backend.workloads.packages.lockfile.coordinates import tarball_path
from backend.workloads.packages.lockfile.sections import RawEntry


class Vetted(NamedTuple):
    """The bytes behind an entry. ``sha512`` (hex) is None where nobody has seen them."""

    name: str
    version: str
    sha512: str | None


def rewritten(lock: StoredLock, vetted: Mapping[str, Vetted], *, registry: str) -> bytes:
    """The lock's text, indented as npm does it; changes ``lock``'s own document.

    Each vetted entry is resolved at ``registry`` and pinned to the sha512 of the bytes that were
    vetted, also where the upload named a weak hash or none: an install gets those or fails.

    Args:
        vetted: by entry, as the request's packages name theirs.
        registry: the base URL; user-info, query and fragment are left out.
    """
    base = redact_url(registry).rstrip("/")
    _rewrite(lock.main, vetted, base)
    # Where the sections of a version 2 lock differ, the older one's entry was vetted by itself.
    own = {e.removeprefix(PREFIX): it for e, it in vetted.items() if e.startswith(PREFIX)}
    _rewrite(lock.older, {**vetted, **own}, base)
    return json.dumps(lock.document, indent=2, ensure_ascii=False).encode() + b"\n"


def _rewrite(raws: Iterable[RawEntry], vetted: Mapping[str, Vetted], base: str) -> None:
    for raw in raws:
        package = vetted.get(raw.location)
        if package is None:
            continue
        fields, url = raw.fields, f"{base}/{tarball_path(package.name, package.version)}"
        if str(fields.get("version")).lower().startswith("http"):
            fields["version"] = url
        fields["resolved"] = url
        if package.sha512 is not None:
            digest = b64encode(bytes.fromhex(package.sha512)).decode()
            fields["integrity"] = f"sha512-{digest}"
