"""A policy's YAML, from whoever wrote it: read safely, and every fault named with its line.

YAML 1.2's JSON-like core is enough for a policy. Anchors, aliases and tags are refused, for a few
lines of them stand for gigabytes, and so are keys that stand twice and values that YAML 1.1 would
bend (dates, octal and sexagesimal numbers): they stay text.
"""

import re
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml
from pydantic import ValidationError

from backend.problems import Malformed, TooLarge
from backend.strictjson import shown
from backend.workloads.packages.policies.document import Place, PolicyDocument, contradictions

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

MAX_BYTES: Final = 512 * 1024
MAX_DEPTH: Final = 16
MAX_FAULTS: Final = 50  # that one answer names

_TAG: Final = "tag:yaml.org,2002:"
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,8})")
_WORDS: Final = {"true": True, "false": False}

Lines = dict[Place, int]


def read_policy(source: bytes | str) -> PolicyDocument:
    """Read one policy.

    Raises:
        Malformed: code ``policy-invalid``; the sentence and ``errors`` name lines.
        TooLarge: it is longer than any policy.
    """
    text = _text(source)
    lines: Lines = {}
    plain = _plain(text, lines)
    try:
        policy = PolicyDocument.model_validate(plain)
    except ValidationError as error:
        faults = [(item["loc"], _said(item)) for item in error.errors(include_url=False)]
        raise _invalid(faults, lines) from None
    if faults := [*contradictions(policy)]:
        raise _invalid(faults, lines)
    return policy


@cache
def default_source() -> str:
    """The YAML of the policy that is shipped."""
    return files("backend.workloads.packages.policies").joinpath("default_policy.yaml").read_text()


def _text(source: bytes | str) -> str:
    if isinstance(source, str):
        source = source.encode("utf-8", "surrogatepass")
    if len(source) > MAX_BYTES:
        raise TooLarge(f"The policy is longer than {MAX_BYTES // 1024} KiB.")
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        raise _fault(line, "it is not UTF-8") from None


def _plain(text: str, lines: Lines) -> Any:
    """The document as dicts, lists and scalars; ``lines`` is told where each of them stands."""
    try:
        _refuse_strange(text)
        node = yaml.compose(text, Loader)
    except yaml.YAMLError as error:
        raise _unreadable(error) from None
    if node is None:
        raise _fault(1, "the policy is empty: it needs at least `version: 1`")
    return _value(node, (), lines)


def _refuse_strange(text: str) -> None:
    """Before anything is built: what refers to something else, and what is nested too deep."""
    depth = 0
    for event in yaml.parse(text, Loader):
        line = _line_of(event)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _fault(line, "anchors and aliases are not allowed")
        if getattr(event, "tag", None):
            raise _fault(line, "tags are not allowed")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise _fault(line, f"it is nested deeper than {MAX_DEPTH} levels")


def _line_of(part: yaml.Event | yaml.Node) -> int:
    return part.start_mark.line + 1 if part.start_mark else 1


def _value(node: yaml.Node, place: Place, lines: Lines) -> Any:
    lines[place] = _line_of(node)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, lines)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*place, index), lines) for index, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)
    return _scalar(node)


def _mapping(node: yaml.MappingNode, place: Place, lines: Lines) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.value:
        line = _line_of(key)
        if not isinstance(key, yaml.ScalarNode):
            raise _fault(line, "a key is no text")
        if key.value in found:
            raise _fault(line, f"the key {shown(key.value)} stands twice")
        found[key.value] = _value(value, (*place, key.value), lines)
        lines[(*place, key.value)] = line
    return found


def _scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    if node.style not in {None, ""}:  # quoted
        return text
    if node.tag == f"{_TAG}null":
        return None
    if node.tag == f"{_TAG}bool":
        return _WORDS.get(text.lower(), text)
    if node.tag == f"{_TAG}int" and _NUMBER.fullmatch(text):
        return int(text)
    return text


def _said(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return "there is no such key"
    if item["type"] == "missing":
        return "this key is missing"
    if item["type"] == "model_type":
        return "should be a mapping of keys to values"
    message: str = item["msg"]
    return message.removeprefix("Value error, ").removeprefix("Input ")


def _invalid(faults: list[tuple[Place, str]], lines: Lines) -> Malformed:
    placed = sorted((_line(place, lines), _dotted(place), message) for place, message in faults)
    errors = [
        {"line": line, "place": place, "message": message}
        for line, place, message in placed[:MAX_FAULTS]
    ]
    first = errors[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    place = f"{first['place']}: " if first["place"] else ""
    return Malformed(
        f"The policy is wrong in line {first['line']}: {place}{first['message']}{more}.",
        code="policy-invalid",
        errors=errors,
    )


def _line(place: Place, lines: Lines) -> int:
    """Of the innermost part that the document has: what is missing has no line of its own."""
    while place not in lines and place:
        place = place[:-1]
    return lines.get(place, 1)


def _dotted(place: Place) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part[:60]}" for part in place)
    return "".join(parts).lstrip(".")


def _unreadable(error: yaml.YAMLError) -> Malformed:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None)
    return _fault(mark.line + 1 if mark else 1, f"it is no YAML: {problem or 'unreadable'}")


def _fault(line: int, message: str) -> Malformed:
    return Malformed(
        f"The policy is wrong in line {line}: {message}.",
        code="policy-invalid",
        errors=[{"line": line, "place": "", "message": message}],
    )
