"""What an app lets other apps see: its ``metadata/default.meta`` and ``metadata/local.meta``.

Without a word about it an app keeps its settings to itself. The most specific stanza with an
``export`` decides: ``[props/name/key]``, ``[props/name]``, ``[props]``, ``[]``; of one stanza
``local.meta`` before ``default.meta`` (default.meta.spec).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import unquote

from backend.workloads.splunk.places import Layer, PlacedStanza

META: Final = "meta"
_EXPORT, _SYSTEM, _LOCAL = "export", "system", "local.meta"

Object = tuple[str, str, str | None]
"""App, kind (a conf type; empty for all of the app), name (None for all of the kind)."""


class Exports:
    """What each app of one installation exports.

    Args:
        stanzas: of any kind; those of metadata files in ``apps`` are looked at.
    """

    def __init__(self, stanzas: Iterable[PlacedStanza]) -> None:
        self._objects: dict[Object, bool] = {}
        self._keys: dict[Object, dict[str, bool]] = {}
        metadata = [s for s in stanzas if s.conf_type == META and s.place.layer is Layer.APP]
        # The strongest is read last, and stays.
        for stanza in sorted(metadata, key=lambda s: s.path.endswith(_LOCAL)):
            self._read(stanza)

    def visible(self, stanza: PlacedStanza) -> PlacedStanza | None:
        """What other apps see of a stanza of an app; None where that is nothing."""
        exported = self._exported(stanza)
        keys = self._keys.get(_object(stanza))
        if not keys:
            return stanza if exported else None
        settings = {k: v for k, v in stanza.settings.items() if keys.get(k, exported)}
        return replace(stanza, settings=settings) if settings or exported else None

    def _exported(self, stanza: PlacedStanza) -> bool:
        app, kind, name = _object(stanza)
        said: Mapping[Object, bool] = self._objects
        for thing in ((app, kind, name), (app, kind, None), (app, "", None)):
            if thing in said:
                return said[thing]
        return False

    def _read(self, stanza: PlacedStanza) -> None:
        export = stanza.settings.get(_EXPORT)
        if export is None:
            return
        seen = export.strip().lower() == _SYSTEM
        app = stanza.place.app or ""
        kind, slash, rest = stanza.name.partition("/")
        self._objects[app, unquote(kind), unquote(rest) if slash else None] = seen
        name, slash, key = rest.rpartition("/")
        if slash:
            # A stanza's name may hold a bare slash: the header is read in both ways.
            self._keys.setdefault((app, unquote(kind), unquote(name)), {})[unquote(key)] = seen


def _object(stanza: PlacedStanza) -> Object:
    return stanza.place.app or "", stanza.conf_type, stanza.name
