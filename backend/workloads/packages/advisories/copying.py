"""COPY: how many rows come to PostgreSQL."""

from typing import TextIO

from sqlalchemy import Connection

from backend import driver


def copy_in(connection: Connection, statement: str, lines: TextIO) -> None:
    """Send ``lines`` from their beginning, in the connection's transaction."""
    lines.seek(0)
    link = connection.connection.driver_connection
    assert isinstance(link, driver.Connection)
    with link.cursor() as cursor:
        cursor.copy_expert(statement, lines)
