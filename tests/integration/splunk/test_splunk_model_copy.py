"""What the encoder writes is what PostgreSQL reads."""

import io
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from backend.workloads.splunk.copying import line, storable

TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=12) | st.sampled_from(
    [
        "\\N",
        "\\.",
        "\\",
        "\t",
        "\n",
        "\r\n",
        "\0",
        "\ud800",
        "\\u0000",
        "a\\tb",
        "\x7f\x80",
        "\u2028",
    ]
)
ROW = st.tuples(
    st.none() | TEXT,
    st.none() | st.dictionaries(TEXT, TEXT | st.lists(TEXT, max_size=2), max_size=3),
    st.none() | st.booleans(),
    st.none() | st.integers(-(2**63), 2**63 - 1),
)


def stored(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(key): stored(one) for key, one in value.items()}
    return [stored(one) for one in value] if isinstance(value, list) else value


def test_postgresql_reads_what_was_meant(engine: Engine) -> None:
    connection = engine.raw_connection()
    cursor = connection.cursor()
    cursor.execute(
        "CREATE TEMP TABLE copied (n int GENERATED ALWAYS AS IDENTITY,"
        " a text, b jsonb, c boolean, d bigint)"
    )

    @given(st.lists(ROW, max_size=20))
    @settings(
        max_examples=60, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def compare(rows: list[tuple[Any, ...]]) -> None:
        cursor.execute("TRUNCATE copied")
        cursor.copy_expert(
            "COPY copied (a, b, c, d) FROM STDIN WITH (FORMAT text, ENCODING 'UTF8')",
            io.BytesIO(b"".join(map(line, rows))),
        )
        cursor.execute("SELECT a, b, c, d FROM copied ORDER BY n")
        assert cursor.fetchall() == [tuple(map(stored, row)) for row in rows]

    compare()
    connection.close()
