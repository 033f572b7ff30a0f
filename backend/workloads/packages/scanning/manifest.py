"""Reading a package.json as it is found in the wild."""

import json
from dataclasses import dataclass, field
from typing import Any

from backend.workloads.packages.scanning.inspection import printable

_INSTALL_SCRIPTS = ("preinstall", "install", "postinstall")
_MAX_ENTRIES = 5_000
_BOM = b"\xef\xbb\xbf"


class ManifestError(Exception):
    """The bytes are not a JSON object that npm could read; the message says why."""


@dataclass(frozen=True)
class Manifest:
    """The fields of one package.json that vetting needs; wrong types count as absent.

    Attributes:
        licence: expression text, see :func:`licence_text`.
        install_scripts: those declared, of ``preinstall``, ``install``, ``postinstall``.
        gyp: False when ``gypfile`` switches the implicit node-gyp build off.
        odd: codes of what is tolerated, but worth a notice.
    """

    name: str | None
    version: str | None
    licence: str | None
    install_scripts: dict[str, str] = field(default_factory=dict)
    dependencies: dict[str, str] = field(default_factory=dict)
    optional_dependencies: dict[str, str] = field(default_factory=dict)
    bin: dict[str, str] = field(default_factory=dict)
    gyp: bool = True
    odd: tuple[str, ...] = ()


def parse(raw: bytes) -> Manifest:
    """Read one manifest; duplicate keys (the last wins, as in npm) and a BOM are tolerated.

    Raises:
        ManifestError: not UTF-8, not JSON, not an object, or nested too deeply.
    """
    odd: set[str] = set()
    document = _load(raw, odd)
    return Manifest(
        name=_text(document.get("name")),
        version=_text(document.get("version")),
        licence=licence_text(document, odd),
        install_scripts=_scripts(document),
        dependencies=_pairs(document.get("dependencies"), odd),
        optional_dependencies=_pairs(document.get("optionalDependencies"), odd),
        bin=_bin(document, odd),
        gyp=document.get("gypfile") is not False,
        odd=tuple(sorted(odd)),
    )


def document(raw: bytes) -> dict[str, Any]:
    """The whole object; raises as :func:`parse` does."""
    return _load(raw, set())


def _load(raw: bytes, odd: set[str]) -> dict[str, Any]:
    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        merged = dict(pairs)
        if len(merged) < len(pairs):
            odd.add("manifest-duplicate-keys")
        return merged

    try:
        document = json.loads(raw.removeprefix(_BOM).decode(), object_pairs_hook=keep)
    except UnicodeDecodeError:
        raise ManifestError("it is not UTF-8") from None
    except RecursionError:
        raise ManifestError("it is nested too deeply") from None
    except ValueError:
        raise ManifestError("it is not JSON") from None
    if not isinstance(document, dict):
        raise ManifestError("it is not a JSON object")
    return document


def licence_text(document: dict[str, Any], odd: set[str]) -> str | None:
    """The licence a manifest names, as expression text that still has to be judged.

    ``license`` may be a string, a legacy object or a list; ``licenses`` a legacy list, which npm's
    old documentation meant as a choice (OR). Where both are given and differ, both apply (AND).
    """
    first = _licence_value(document.get("license", document.get("licence")))
    second = _licence_value(document.get("licenses"))
    if first and second and first != second:
        odd.add("manifest-two-licences")
        return f"{_grouped(first)} AND {_grouped(second)}"
    return first or second


def _licence_value(value: Any) -> str | None:
    if isinstance(value, str):
        return printable(value.strip()) or None
    if isinstance(value, dict):
        return _licence_value(value.get("type", value.get("name")))
    if isinstance(value, list):
        names = dict.fromkeys(_licence_value(item) for item in value if not isinstance(item, list))
        if None in names:
            return None
        return " OR ".join(_grouped(name) for name in names if name) or None
    return None


def _grouped(expression: str) -> str:
    return f"({expression})" if " " in expression else expression


def _scripts(document: dict[str, Any]) -> dict[str, str]:
    scripts = document.get("scripts")
    if not isinstance(scripts, dict):
        return {}
    return {
        name: printable(scripts[name])
        for name in _INSTALL_SCRIPTS
        if isinstance(scripts.get(name), str) and scripts[name].strip()
    }


def _bin(document: dict[str, Any], odd: set[str]) -> dict[str, str]:
    value = document.get("bin")
    name = _text(document.get("name"))
    if isinstance(value, str) and name:
        return {name.rpartition("/")[2]: printable(value)}
    return _pairs(value, odd)


def _pairs(value: Any, odd: set[str]) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    if len(value) > _MAX_ENTRIES:
        odd.add("manifest-entries-cut")
    return {
        printable(key): printable(item)
        for key, item in list(value.items())[:_MAX_ENTRIES]
        if isinstance(item, str)
    }


def _text(value: Any) -> str | None:
    return printable(value.strip()) or None if isinstance(value, str) else None
