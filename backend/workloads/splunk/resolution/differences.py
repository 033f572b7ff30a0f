"""What changed between two installations, as far as it has an effect.

Two files may differ while all that holds is the same, and the other way round: a setting moves to
another app, an app is switched off. Compared is what holds, key by key, in one context.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from backend.workloads.splunk.conf.stanza import DEFAULT
from backend.workloads.splunk.resolution.context import Context, ContextKind
from backend.workloads.splunk.resolution.disabled import APP_CONF
from backend.workloads.splunk.resolution.effective import Configuration, Resolved, Settings
from backend.workloads.splunk.resolution.precedence import BANDS

if TYPE_CHECKING:
    from backend.workloads.splunk.places import PlacedStanza

Change = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class KeyChange:
    """``before`` is None for what is added, ``after`` for what is removed."""

    key: str
    before: Resolved | None
    after: Resolved | None

    @property
    def change(self) -> Change:
        return _change(self.before, self.after)


@dataclass(frozen=True, slots=True)
class StanzaChange:
    """What became of one stanza; ``keys`` is empty for one that comes or goes without settings.

    What ``[default]`` says anew is listed there, once, and not again with each stanza that
    inherits it: ``inherited_by`` counts those whose settings change in that way.
    """

    context: Context
    conf_type: str
    stanza: str
    change: Change
    keys: tuple[KeyChange, ...]
    inherited_by: int = 0


def differences(
    before: Configuration, after: Configuration, conf_type: str, context: Context
) -> Iterator[StanzaChange]:
    """The stanzas of one conf type that differ, in ASCII order of their names."""
    old, new = (side.effective(conf_type, context) for side in (before, after))
    inheriting = _inheriting(old, new)
    for name in sorted(old.keys() | new.keys()):
        keys = tuple(_keys(name, old.get(name), new.get(name)))
        change = _change(old.get(name), new.get(name))
        if keys or change != "changed":
            heirs = inheriting if name == DEFAULT else 0
            yield StanzaChange(context, conf_type, name, change, keys, heirs)


def differences_by_app(
    before: Configuration, after: Configuration, conf_type: str, kind: ContextKind
) -> Iterator[StanzaChange]:
    """The same for each app of a deployment server or a cluster manager by itself."""
    old, new = (_by_app(side, conf_type, kind) for side in (before, after))
    nothing = Configuration(())
    for app in sorted(old.keys() | new.keys()):
        sides = old.get(app, nothing), new.get(app, nothing)
        yield from differences(*sides, conf_type, Context(kind, app))


def _by_app(
    configuration: Configuration, conf_type: str, kind: ContextKind
) -> dict[str, Configuration]:
    layers = {layer for layer, _ in BANDS[kind]}
    apps: dict[str, list[PlacedStanza]] = {}
    for name in {conf_type, APP_CONF}:
        for stanza in configuration.stanzas(name):
            if stanza.place.layer in layers and stanza.place.app:
                apps.setdefault(stanza.place.app, []).append(stanza)
    return {app: Configuration(stanzas) for app, stanzas in apps.items()}


def _keys(stanza: str, old: Settings | None, new: Settings | None) -> Iterator[KeyChange]:
    old, new = old or {}, new or {}
    for key in sorted(old.keys() | new.keys()):
        change = KeyChange(key, old.get(key), new.get(key))
        if _differs(change) and not (stanza != DEFAULT and _inherited(change)):
            yield change


def _inheriting(old: Mapping[str, Settings], new: Mapping[str, Settings]) -> int:
    """How many stanzas of both sides change by what ``[default]`` says."""
    unchanged = Settings()
    before, after = old.get(DEFAULT, unchanged), new.get(DEFAULT, unchanged)
    altered = [
        key for key in before.keys() | after.keys()
        if _differs(KeyChange(key, before.get(key), after.get(key)))
    ]  # fmt: skip
    return sum(
        any(_inherited(KeyChange(key, old[name].get(key), new[name].get(key))) for key in altered)
        for name in old.keys() & new.keys()
        if name != DEFAULT
    )


def _differs(change: KeyChange) -> bool:
    if change.before is None or change.after is None:
        return True
    return change.before.value != change.after.value


def _inherited(change: KeyChange) -> bool:
    """Whether ``[default]`` says it on each side that says it at all."""
    sides = [side for side in (change.before, change.after) if side is not None]
    return all(side.stanzas[0].name == DEFAULT for side in sides)


def _change(before: object | None, after: object | None) -> Change:
    if before is None:
        return "added"
    return "removed" if after is None else "changed"
