"""Rows as PostgreSQL's COPY reads them (its manual: COPY, "Text Format").

The one encoder: whatever a stranger wrote comes out as one line with as many columns as it had
values. Rows are written without their run, which whoever stores them puts before each: a bare line
feed ends a row and nothing else does, so that no row can name another run.
"""

import json
from collections.abc import Iterable
from typing import Any, Final

from backend.workloads.splunk.projections import PROJECTIONS

RUN: Final = "run_id"

_FILES: Final = (
    "file_no", "path", "kind", "sha256", "size_bytes", "encoding", "conf_type", "layer", "scope",
    "app", "user_name", "warnings", "skip_reason",
)  # fmt: skip
_STANZAS: Final = (
    "stanza_no", "file_no", "order_in_file", "line", "conf_type", "name", "layer", "scope", "app",
    "user_name", "raw_kv", "lines", "history",
)  # fmt: skip
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "run_notices": ("notice_no", "code", "message"),
    "files": _FILES,
    "stanzas": _STANZAS,
    **{one.table: ("stanza_no", *(name for name, _ in one.columns)) for one in PROJECTIONS},
}
"""What a run's rows consist of, but for the run itself; a table stands after those it refers to."""

NULL: Final = "\\N"
_NUL: Final = {0: "\ufffd"}
_ESCAPES: Final = _NUL | str.maketrans(
    {"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
)
_dumps: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode


def line(values: Iterable[Any]) -> bytes:
    """One row: None, texts, booleans, integers, and lists and dicts as JSON.

    What PostgreSQL's text cannot hold (NUL, lone surrogates) becomes U+FFFD.
    """
    # Most values are nothing, ordinary text or a number: these cost no call of our own.
    fields = [
        NULL if value is None
        else value if type(value) is str and value.isprintable() and "\\" not in value
        else str(value) if type(value) is int
        else _field(value)
        for value in values
    ]  # fmt: skip
    text = "\t".join(fields) + "\n"
    try:
        return text.encode()
    except UnicodeEncodeError:
        return storable(text).encode()


def statement(table: str) -> str:
    """The COPY that reads rows of ``table``, each with its run before it."""
    columns = ", ".join((RUN, *COLUMNS[table]))
    return f"COPY {table} ({columns}) FROM STDIN WITH (FORMAT text, ENCODING 'UTF8')"


def storable(text: str) -> str:
    """``text`` without what PostgreSQL refuses."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").translate(_NUL)


def _field(value: Any) -> str:
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, int):
        return str(value)
    document = _dumps(value)
    if "\\u0000" in document:  # jsonb refuses it; it may also be a backslash and five characters
        document = _dumps(_storable(value))
    return document.replace("\\", "\\\\")


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.translate(_NUL)
    if isinstance(value, dict):
        return {_storable(key): _storable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(one) for one in value]
    return value
