"""``advisories import``, ``sync`` and ``status`` on a database."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from backend.cli import cli
from backend.cli.errors import CommandError
from tests.registry_server import Answer, RegistryServer

RECORD = {
    "id": "MAL-1",
    "modified": "2026-01-02T03:04:05Z",
    "affected": [{"package": {"ecosystem": "npm", "name": "oar"}}],
}


@pytest.fixture(autouse=True)
def _database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["advisories", *map(str, arguments)])


def refused(*arguments: str | Path) -> tuple[str, int]:
    error = run(*arguments).exception
    assert isinstance(error, CommandError), error
    return str(error), error.exit_code


def test_import_status_and_sync(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("status").output == "no advisories are imported\n"
    record = tmp_path / "record.json"
    record.write_text(json.dumps(RECORD))

    said = run("import", record).output

    assert said.startswith(f"1 record read from {record}: 1 new, 0 changed; 0 artifacts looked at")
    lines = run("status").output.splitlines()
    assert lines[0] == "1 advisory about 1 package (1 malware, 0 withdrawn), declared partial"
    assert lines[2].endswith(f" UTC from {record}")
    shown = json.loads(run("status", "--json").output)
    assert (shown["records"], shown["imports"][0]["added"]) == (1, 1)

    assert refused("sync") == ("ADVISORIES_URL is not set: name an archive of OSV records", 2)
    with RegistryServer() as feed:
        feed.answer("/all", Answer(body=json.dumps(RECORD).encode()))
        monkeypatch.setenv("ADVISORIES_URL", f"{feed.url}/all")
        done = json.loads(run("sync", "--json").output)
    assert (done["source"], done["added"], done["changed"]) == (f"{feed.url}/all", 0, 0)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM advisory_imports")) == 2


def test_what_cannot_be_imported_is_one_line_and_changes_nothing(
    engine: Engine, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")

    message, code = refused("import", tmp_path)
    assert (message, code) == (
        "nothing is imported: 1 cannot be read: broken.json: it is not JSON", 1,
    )  # fmt: skip
    assert refused("import", tmp_path / "none")[1] == 2
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM advisory_imports")) == 0
