"""The encoder of COPY rows: one line each, and nothing that PostgreSQL refuses."""

import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from backend.workloads.splunk.copying import COLUMNS, line, statement, storable

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
VALUES = st.none() | st.booleans() | st.integers() | ANY_TEXT | st.dictionaries(ANY_TEXT, ANY_TEXT)


def decoded(row: bytes) -> list[str | None]:
    """As the manual says that COPY reads a row."""
    names = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

    def value(field: str) -> str | None:
        if field == "\\N":
            return None
        return re.sub(r"\\(.)", lambda found: names.get(found[1], found[1]), field)

    return [value(field) for field in row.decode().removesuffix("\n").split("\t")]


@given(st.lists(VALUES, min_size=1, max_size=5))
@settings(max_examples=200)
def test_a_row_is_one_line_with_as_many_fields_as_values(values: list[Any]) -> None:
    row = line(values)

    assert row.endswith(b"\n")
    assert row.count(b"\n") == 1
    assert row.count(b"\t") == len(values) - 1
    assert b"\0" not in row


@given(st.lists(ANY_TEXT, min_size=1, max_size=5))
@settings(max_examples=200)
def test_texts_come_back_but_for_what_cannot_be_stored(values: list[str]) -> None:
    assert decoded(line(values)) == [storable(value) for value in values]


@given(st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=4))
@settings(max_examples=200)
def test_documents_are_json_that_can_be_stored(document: dict[str, str]) -> None:
    text = decoded(line([document]))[0]

    assert text is not None
    assert json.loads(text) == {storable(key): storable(one) for key, one in document.items()}
    assert "\\u0000" not in text.replace("\\\\", "")


def test_null_is_told_from_a_text_that_looks_like_it() -> None:
    assert line([None, "\\N", "", "\\."]) == b"\\N\t\\\\N\t\t\\\\.\n"


def test_a_backslash_before_u0000_in_a_value_is_no_nul() -> None:
    assert json.loads(decoded(line([{"a": "\\u0000", "b": "\0"}]))[0] or "") == {
        "a": "\\u0000",
        "b": "\ufffd",
    }


def test_booleans_are_no_numbers() -> None:
    assert line([True, False, 1, -(2**63)]) == b"t\tf\t1\t-9223372036854775808\n"


def test_every_table_is_read_with_its_run_first() -> None:
    assert list(COLUMNS)[:3] == ["run_notices", "files", "stanzas"]
    assert all(statement(table).startswith(f"COPY {table} (run_id, ") for table in COLUMNS)
