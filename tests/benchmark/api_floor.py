"""The floor of the API: a bare Flask view with one raw psycopg2 statement, on the same server.

No authentication, no validation, no log, no metrics; a connection for each thread, kept open.
"""

import threading
from typing import Final

import psycopg2
from flask import Flask, Response

from backend.settings import Settings
from backend.web.serve import server_of

TABLES: Final = """
CREATE TABLE floor_writes (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE floor_reads (id bigint PRIMARY KEY, name text NOT NULL, status text NOT NULL);
INSERT INTO floor_reads SELECT n, 'name ' || n, 'ready' FROM generate_series(1, 1000) n;
"""

INSERT: Final = "INSERT INTO floor_writes (name) VALUES (%s) RETURNING id"
SELECT: Final = "SELECT name, status FROM floor_reads WHERE id = %s"


def application() -> Flask:
    """The two views, on the database that the environment names."""
    app = Flask(__name__, static_folder=None)
    url = Settings.load().require_database_url().replace("+psycopg2", "", 1)
    local = threading.local()

    def connection(*, autocommit: bool) -> psycopg2.extensions.connection:
        if not hasattr(local, "connection"):
            local.connection = psycopg2.connect(url)
            local.connection.autocommit = autocommit
        found: psycopg2.extensions.connection = local.connection
        if found.autocommit is not autocommit:
            found.autocommit = autocommit
        return found

    @app.post("/write")
    def write() -> tuple[dict[str, int], int]:
        with connection(autocommit=False) as link, link.cursor() as cursor:
            cursor.execute(INSERT, ("name",))
            ((number,),) = cursor.fetchall()
        return {"id": number}, 202

    @app.get("/read/<int:number>")
    def read(number: int) -> Response | dict[str, str]:
        with connection(autocommit=True).cursor() as cursor:
            cursor.execute(SELECT, (number,))
            ((name, status),) = cursor.fetchall()
        return {"name": name, "status": status}

    return app


def main() -> None:
    """Serve it as the product is served, on API_PORT."""
    settings = Settings.load()
    server_of("tests.benchmark.api_floor:application", settings, settings.api_port).serve()


if __name__ == "__main__":
    main()
