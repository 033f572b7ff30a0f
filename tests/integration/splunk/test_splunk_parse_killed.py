"""A worker that is killed in the middle of a parse: nothing of it is seen, the next finishes."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from backend.db import Sessions
from tests.integration.packages.house import wait_until
from tests.integration.splunk.ingesting import Ingestion, tar_of
from tests.worker_process import worker_process
from workers.isolation import Children

SECONDS = 120
STANZAS = 8_000
LARGE = {
    f"etc/apps/app{app}/local/props.conf": "".join(
        f"[source::/var/log/{app}/{n}]\nTZ = UTC\nTRUNCATE = {n}\n" for n in range(STANZAS // 10)
    )
    for app in range(10)
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def ingestion(sessions: Sessions, engine: Engine, tmp_path: Path) -> Iterator[Ingestion]:
    children = Children(1)
    yield Ingestion(sessions, engine, children, tmp_path)
    children.close()


def worker(ingestion: Ingestion, url: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    assert ingestion.settings.splunk_key is not None
    environment = {
        "DATABASE_URL": url, "WORKER_TYPE": "splunk", "LEASE_TTL": "3",
        "WORKER_SLEEP_INTERVAL": "1", "STORAGE_DIR": str(ingestion.settings.storage_dir),
        "SPLUNK_KEY": ingestion.settings.splunk_key.get_secret_value(),
    }  # fmt: skip
    return worker_process(ingestion.settings.storage_dir.parent, {**os.environ, **environment})


def status(ingestion: Ingestion, run_id: int) -> str:
    return ingestion.run(run_id).status


def stalls_at_copy(ingestion: Ingestion) -> bool:
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND query LIKE 'COPY stanzas%'"
    )
    return bool(ingestion.database.one(waiting))


def test_a_killed_worker_leaves_nothing_and_the_next_one_finishes(
    ingestion: Ingestion, engine: Engine, database_url: str
) -> None:
    run_id = ingestion.upload(tar_of(LARGE))
    ingestion.database.run(
        "INSERT INTO run_notices (run_id, notice_no, code, message) VALUES (:id, 7, 'earlier', '')",
        id=run_id,
    )

    with worker(ingestion, database_url):
        wait_until(
            lambda: status(ingestion, run_id) == "parsing", seconds=SECONDS, what="it is parsed"
        )
    with engine.begin() as reader:
        reader.execute(text("LOCK TABLE stanzas IN SHARE MODE"))
        with worker(ingestion, database_url):
            wait_until(lambda: stalls_at_copy(ingestion), seconds=SECONDS, what="it is stored")
        assert ingestion.rows("run_notices", run_id, "code") == [("earlier",)]
        assert ingestion.rows("files", run_id) == []
    with worker(ingestion, database_url):
        wait_until(
            lambda: status(ingestion, run_id) == "complete", seconds=SECONDS, what="it is complete"
        )

    assert ingestion.rows("run_notices", run_id) == []
    assert len(ingestion.rows("files", run_id, "file_no")) == len(LARGE)
    numbers = [number for (number,) in ingestion.rows("stanzas", run_id, "stanza_no")]
    assert numbers == list(range(STANZAS))
    assert [number for (number,) in ingestion.rows("props", run_id, "stanza_no")] == numbers
    outcomes = ingestion.database.rows("SELECT outcome FROM attempts ORDER BY id")
    assert [outcome for (outcome,) in outcomes] == ["stalled", "stalled", "done"]
