"""Compose files as an engine reads them: variables put in, and one laid over the other.

Rules: the Compose Specification, "Interpolation" and "Merge and override".
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

REPOSITORY: Final = Path(__file__).resolve().parents[1]
BASE: Final = REPOSITORY / "docker-compose.base.yml"
DEV: Final = REPOSITORY / "docker-compose.dev.yml"

VARIABLE: Final = re.compile(r"\$\{(?P<name>\w+)(?:(?P<kind>:?[-?])(?P<rest>[^}]*))?\}")
NUMBERS: Final = {"replicas"}
REPLACED: Final = {"command", "entrypoint", "test"}  # lists that are not added to


class Wanting(Exception):
    """A variable without which the file says that it cannot be used."""


def resolved(*files: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """The files, each laid over those before it, with ``environment`` put in.

    Raises:
        Wanting: a variable that the file calls necessary is missing or empty.
    """
    document: dict[str, Any] = {}
    for file in files:
        document = _over(document, _put_in(yaml.safe_load(file.read_text()), environment))
    return {key: value for key, value in document.items() if not key.startswith("x-")}


def defaults(file: Path) -> dict[str, str]:
    """The variables that a file reads, each with what it takes instead, "" for nothing."""
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    return {
        found["name"]: found["rest"] if found["kind"] in {"-", ":-"} else ""
        for found in VARIABLE.finditer("\n".join(lines))
    }


def _put_in(part: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(part, dict):
        put_in = {key: _put_in(value, environment) for key, value in part.items()}
        return put_in | {key: int(put_in[key]) for key in NUMBERS & put_in.keys()}
    if isinstance(part, list):
        return [_put_in(value, environment) for value in part]
    if isinstance(part, str):
        return VARIABLE.sub(lambda found: _value(found, environment), part)
    return part


def _value(found: re.Match[str], environment: Mapping[str, str]) -> str:
    value, kind = environment.get(found["name"]), found["kind"] or ""
    missing = value is None or (kind.startswith(":") and not value)
    if missing and kind.endswith("?"):
        raise Wanting(f"{found['name']}: {found['rest']}")
    return found["rest"] or "" if missing else str(value)


def _over(below: Any, above: Any, key: str = "") -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {name: _over(below.get(name), above[name], name) for name in above}
    if isinstance(below, list) and isinstance(above, list) and key not in REPLACED:
        return below + [one for one in above if one not in below]
    return above
