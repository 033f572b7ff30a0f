"""What docs/scaling.md says of our SQL is what there is: its table names each feature, no other.

Words are looked for in string literals, docstrings left out, and in the names by which SQLAlchemy
calls them. The list of words is longer than what is used: one that comes into use, or goes out of
it, makes the table wrong.
"""

import ast
import re
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "scaling.md"
SECTION: Final = "## Every kind of statement"
COLUMNS: Final = 5  # what it is, then three databases, then what would change

WORDS: Final = (
    # locks
    "FOR UPDATE", "FOR NO KEY UPDATE", "FOR SHARE", "FOR KEY SHARE", "SKIP LOCKED", "NOWAIT",
    "LOCK TABLE", "pg_advisory_xact_lock", "pg_advisory_xact_lock_shared",
    "pg_try_advisory_xact_lock", "pg_advisory_lock", "pg_try_advisory_lock",
    # messages
    "LISTEN", "UNLISTEN", "NOTIFY", "pg_notify",
    # forms of statements
    "MATERIALIZED", "WITH RECURSIVE", "LATERAL", "unnest", "ON CONFLICT", "DISTINCT ON",
    "MERGE INTO", "TABLESAMPLE", "GROUPING SETS", "WITH TIES", "COPY", "CURSOR FOR", "WITH HOLD",
    "SAVEPOINT", "TEMPORARY TABLE", "TRUNCATE", "PREPARE", "clock_timestamp",
    "REPEATABLE READ", "PREPARE TRANSACTION", "data-modifying CTE", "gen_random_uuid",
    # what a row or a transaction says of itself
    "xmin", "xmax", "cmin", "ctid", "tableoid", "pg_current_xact_id", "pg_current_snapshot",
    "txid_current",
    # settings of a transaction
    "SET LOCAL", "set_config", "statement_timeout", "idle_in_transaction_session_timeout",
    "lock_timeout", "synchronous_commit", "plan_cache_mode", "enable_seqscan",
    # schema
    "CREATE TRIGGER", "CREATE CONSTRAINT TRIGGER", "FOR EACH STATEMENT", "REFERENCING",
    "UPDATE OF", "INITIALLY DEFERRED", "ENABLE ALWAYS TRIGGER", "plpgsql", "SECURITY DEFINER",
    "PARTITION BY", "PARTITION OF", "ATTACH PARTITION", "DETACH PARTITION", "EXCLUDE USING",
    "NULLS NOT DISTINCT", "partial index", "expression index", "gin", "gist", "brin", "fillfactor",
    "GENERATED ALWAYS", "Identity", "CREATE SEQUENCE", "UNLOGGED", "CREATE EXTENSION",
    "ROW LEVEL SECURITY", "CREATE DOMAIN", "CREATE TYPE", "MATERIALIZED VIEW", "CREATE VIEW",
    "tsvector", "tstzrange", "jsonb", "CONCURRENTLY", "NOT VALID", "INHERITS",
    # upkeep, roles, the server about itself
    "VACUUM", "ANALYZE", "REINDEX", "pgstattuple_approx", "GRANT", "CREATE ROLE",
    "pg_stat_activity", "pg_postmaster_start_time", "pg_locks", "pg_prepared_xacts",
    "pg_replication_slots",
)  # fmt: skip

CALLED: Final = {
    "skip_locked": "SKIP LOCKED", "nowait": "NOWAIT", "lateral": "LATERAL",
    "recursive": "WITH RECURSIVE", "on_conflict_do_update": "ON CONFLICT",
    "on_conflict_do_nothing": "ON CONFLICT", "begin_nested": "SAVEPOINT",
    "clock_timestamp": "clock_timestamp", "unnest": "unnest", "Identity": "Identity",
    "pg_try_advisory_xact_lock": "pg_try_advisory_xact_lock",
    "pg_advisory_xact_lock": "pg_advisory_xact_lock", "JSONB": "jsonb",
    "postgresql_partition_by": "PARTITION BY", "postgresql_where": "partial index",
    "postgresql_nulls_not_distinct": "NULLS NOT DISTINCT", "__fillfactor__": "fillfactor",
    "postgresql_concurrently": "CONCURRENTLY",
    "add_cte": "data-modifying CTE", "postgresql_not_valid": "NOT VALID",
    "ExcludeConstraint": "EXCLUDE USING", "Computed": "GENERATED ALWAYS", "TSVECTOR": "tsvector",
    "tablesample": "TABLESAMPLE", "pg_postmaster_start_time": "pg_postmaster_start_time",
}  # fmt: skip
"""SQLAlchemy's names for them."""


def features(code: str) -> set[str]:
    """The words that a module uses."""
    nodes = list(ast.walk(ast.parse(code)))
    text = "\n".join(literals(nodes))
    plain = {word for word in PLAIN if word in text and PLAIN[word].search(text)}
    written = {word for word, pattern in WRITTEN.items() if pattern.search(text)}
    return {*plain, *written, *called(nodes)}


def literals(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Every string that is not a docstring, the constant parts of f-strings among them."""
    strings: dict[int, str] = {}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings.setdefault(id(node), node.value)
        elif isinstance(node, ast.Expr):
            strings[id(node.value)] = ""
    return filter(None, strings.values())


def called(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """By the names that SQLAlchemy has for them."""
    for node in nodes:
        match node:
            case ast.Call(func=ast.Attribute(attr="with_for_update"), keywords=given):
                yield lock({keyword.arg for keyword in given})
            case ast.Call(func=ast.Name(id="Index"), args=[_, *columns]):
                if any(isinstance(column, ast.Call) for column in columns):
                    yield "expression index"
            case ast.keyword(arg="with_for_update"):
                yield "FOR UPDATE"
            case ast.keyword(arg="postgresql_using", value=ast.Constant(value=str(method))):
                yield method
            case ast.Attribute(attr=name) | ast.Name(id=name) | ast.keyword(arg=str(name)):
                if name in CALLED:
                    yield CALLED[name]


def lock(given: Collection[str | None]) -> str:
    """What ``with_for_update`` with these arguments comes to."""
    if "read" in given:
        return "FOR KEY SHARE" if "key_share" in given else "FOR SHARE"
    return "FOR NO KEY UPDATE" if "key_share" in given else "FOR UPDATE"


WRITTEN: Final = {
    "TEMPORARY TABLE": re.compile(r"\bTEMP(?:ORARY)? TABLE\b"),
    "data-modifying CTE": re.compile(
        r"\bAS (?:NOT )?(?:MATERIALIZED )?\(\s*(?:INSERT|UPDATE|DELETE)\b"
    ),
    **{method: re.compile(rf"\bUSING {method}\b") for method in ("gin", "gist", "brin")},
}
"""Those that are not written as they are called here."""
PLAIN: Final = {
    word: re.compile(rf"(?<![\w.]){word}(?!\w)") for word in WORDS if word not in WRITTEN
}
HINTS: Final = (
    *PLAIN, *CALLED, "with_for_update", "Index(", "postgresql_using", "USING ", "TEMP TABLE",
    "INSERT", "UPDATE", "DELETE",
)  # fmt: skip
"""To parse a module that has none of them would only take its time."""


@cache
def used() -> frozenset[str]:
    paths = (path for folder in ("backend", "workers") for path in (ROOT / folder).rglob("*.py"))
    sources = (path.read_text() for path in paths)
    speaking = (code for code in sources if any(hint in code for hint in HINTS))
    return frozenset(word for code in speaking for word in features(code))


def rows() -> list[list[str]]:
    """The cells of the section's first table, its head left out."""
    section = PAGE.read_text().partition(f"\n{SECTION}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def told() -> list[str]:
    return [word for row in rows() for word in re.findall(r"`([^`]+)`", row[0])]


def test_the_table_names_every_feature_of_sql_that_is_used_and_no_other() -> None:
    assert set(told()) == used()


def test_the_table_names_each_feature_once() -> None:
    assert len(told()) == len(set(told()))


def test_each_row_says_something_of_each_database_and_of_what_would_change() -> None:
    found = rows()
    assert found
    assert [row for row in found if len(row) != COLUMNS or not all(row)] == []


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("LOCK = 'SELECT id FROM t FOR UPDATE SKIP LOCKED'", "SKIP LOCKED"),
        ("q = select(t).with_for_update(key_share=True)", "FOR NO KEY UPDATE"),
        ("q = select(t).with_for_update()", "FOR UPDATE"),
        ("q = session.get(User, 1, with_for_update=True)", "FOR UPDATE"),
        ("q = 'WITH gone AS (\\n DELETE FROM t RETURNING id) SELECT id'", "data-modifying CTE"),
        ("i = Index('uq_name', text('lower(name)'), unique=True)", "expression index"),
        ("i = Index('ix', 'xid', postgresql_using='brin')", "brin"),
        ("q = f'CREATE TEMP TABLE {name} (id int)'", "TEMPORARY TABLE"),
    ],
)
def test_a_feature_is_found_however_it_is_written(code: str, word: str) -> None:
    assert word in features(code)


def test_what_is_only_spoken_of_does_not_count() -> None:
    assert features('"""Rows are taken FOR UPDATE."""\n# and SKIP LOCKED\nx = 1') == set()
