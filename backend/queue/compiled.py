"""The engine's statements as text for the driver, and lists as text for the server."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import CompoundSelect, Select
from sqlalchemy.dialects.postgresql import psycopg2
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate, Update

from backend.autocommit import Statement

Query = Select[Any] | CompoundSelect[*tuple[Any, ...]]
Written = ReturningInsert[Any] | ReturningUpdate[Any] | Update


def compiled(query: Query | Written, *, kind: str) -> Statement:
    """``query`` in psycopg2's words, its own constants among them; ``kind`` stands in its name.

    What has no value yet is a parameter. A constant that travelled with each execution would cost
    Python and the server a microsecond each.
    """
    dialect = psycopg2.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy's
    found = query.compile(dialect=dialect)
    free = [name for name, parameter in found.binds.items() if parameter.required]
    if isinstance(query, Select | CompoundSelect):  # what is literal in it needs all parameters
        filled = query.params(dict.fromkeys(free))
        found = filled.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    text = str(found)
    for name in found.binds.keys() - free:
        if (place := f"%({name})s") in text:  # words stand there already
            bind = found.binds[name]
            constant = found.render_literal_value(bind.effective_value, bind.type)
            text = text.replace(place, constant)
    return Statement(text, kind=kind)


def literals(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The same with each list as one literal."""
    return {
        name: array_literal(value) if isinstance(value, list) else value
        for name, value in parameters.items()
    }


def array_literal(values: Iterable[Any]) -> str:
    """PostgreSQL's text form of a one-dimensional array."""
    values = list(values)
    texts: Iterable[str]
    if values and values.count(values[0]) == len(values):  # as in most columns of a batch
        texts = [element(values[0])] * len(values)
    elif {*map(type, values)} == {int}:
        texts = map(str, values)
    else:
        elements = {value: element(value) for value in {*values}}
        texts = [elements[value] for value in values]
    return "{" + ",".join(texts) + "}"


def element(value: Any) -> str:
    """One value within it: a number, a duration, bytes, a list again, or what its text says."""
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        text = value
    elif isinstance(value, timedelta):
        text = f"{value.days} days {value.seconds}.{value.microseconds:06} seconds"
    elif isinstance(value, bytes | bytearray | memoryview):
        text = f"\\x{value.hex()}"
    elif isinstance(value, list | tuple):
        text = _nested(value)
    else:
        text = str(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _nested(values: Iterable[Any]) -> str:
    inner = [_nested(one) if isinstance(one, list | tuple) else element(one) for one in values]
    return "{" + ",".join(inner) + "}"
