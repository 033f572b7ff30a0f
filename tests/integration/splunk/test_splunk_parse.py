"""From stored bytes to rows, by a worker by hand with real children."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from backend.db import Sessions
from backend.storage.encryption import MasterKey
from backend.workloads.splunk import snapshot
from tests.integration.splunk.ingesting import APP, Ingestion, tar_of, zip_of
from workers.isolation import Children


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    made = Children(1)
    yield made
    made.close()


@pytest.fixture
def ingestion(sessions: Sessions, engine: Engine, children: Children, tmp_path: Path) -> Ingestion:
    return Ingestion(sessions, engine, children, tmp_path)


def test_an_archive_becomes_files_stanzas_and_typed_columns(ingestion: Ingestion) -> None:
    files = {**APP, "etc/auth/splunk.secret": "0123456789abcdef", "../evil.conf": "[a]\nb = 1\n"}

    run_id = ingestion.parsed(files)

    run = ingestion.run(run_id)
    assert (run.status, run.error) == ("complete", None)
    assert (run.archive_kind, run.files_parsed, run.stanzas_created) == ("tar.gz", 4, 5)
    assert (run.parse_errors, run.failure) == (1, None)
    columns = "path, kind, conf_type, layer, scope, app, skip_reason"
    assert ingestion.rows("files", run_id, columns) == [
        ("etc/apps/web/default/props.conf", "conf", "props", "app", "default", "web", None),
        ("etc/apps/web/local/inputs.conf", "conf", "inputs", "app", "local", "web", None),
        ("etc/apps/web/metadata/default.meta", "meta", "meta", "app", "metadata", "web", None),
        ("etc/apps/web/bin/run.py", "other", None, None, None, None, None),
        ("etc/system/local/outputs.conf", "conf", "outputs", "system", "local", None, None),
        ("etc/auth/splunk.secret", "skipped", None, None, None, None, "secret"),
        ("../evil.conf", "skipped", None, None, None, None, "traversal"),
    ]
    columns = "conf_type, name, app, line, raw_kv, lines, history"
    stanzas = {row[:2]: row[2:] for row in ingestion.rows("stanzas", run_id, columns)}
    assert stanzas[("inputs", "monitor:///var/log/web")] == (
        "web", 1, {"index": "web2", "disabled": "0"}, {"index": 4, "disabled": 3},
        {"index": [[2, "web"]]},
    )  # fmt: skip
    assert ingestion.rows("inputs", run_id, "kind, target, disabled, index") == [
        ("monitor", "/var/log/web", False, "web2")
    ]
    assert ingestion.rows("props", run_id, "kind, truncate, tz") == [
        (None, 9, None), ("sourcetype", None, "UTC"),
    ]  # fmt: skip
    warned = "SELECT warnings FROM files WHERE conf_type = 'inputs'"
    lines = {one["code"]: one["line"] for one in ingestion.database.one(warned)}
    assert lines == {"duplicate-key": 4, "junk-line": 6}
    everything = json.dumps(list(ingestion.database.texts()))
    assert "hunter2" not in everything
    assert "0123456789abcdef" not in everything
    assert "<masked:" in everything


def test_what_is_parsed_again_replaces_and_a_failure_leaves_the_earlier_rows(
    ingestion: Ingestion,
) -> None:
    run_id = ingestion.parsed(APP)
    before = ingestion.rows("stanzas", run_id)
    ingestion.again(run_id)
    ingestion.work()

    assert ingestion.rows("stanzas", run_id) == before
    assert ingestion.run(run_id).status == "complete"

    ingestion.again(run_id)
    ingestion.database.run("UPDATE ingestion_runs SET blob_key = NULL, data_key = NULL")
    ingestion.work()

    run = ingestion.run(run_id)
    assert (run.status, run.failure, run.error) == ("failed", "permanent", snapshot.GONE)
    assert ingestion.rows("stanzas", run_id) == before
    assert run.files_parsed == 4


def test_a_broken_archive_fails_for_good_and_leaves_nothing(ingestion: Ingestion) -> None:
    run_id = ingestion.upload(tar_of(APP)[:-40])

    ingestion.work()

    run = ingestion.run(run_id)
    assert (run.status, run.failure, run.attempts) == ("failed", "permanent", 1)
    assert "truncated" in (run.error or "")
    assert ingestion.rows("files", run_id) == []


def test_a_zip_and_a_bare_conf_file_are_read_as_well(ingestion: Ingestion) -> None:
    zipped = ingestion.upload(zip_of(APP), name="etc.zip")
    bare = ingestion.upload(b"[a]\nb = 1\n", type_="single_conf", name="props.conf")
    ingestion.work()
    ingestion.work()

    assert ingestion.run(zipped).archive_kind == "zip"
    assert ingestion.run(zipped).stanzas_created == 5
    assert ingestion.run(bare).archive_kind == "conf"
    assert ingestion.rows("stanzas", bare, "conf_type, name, raw_kv") == [
        ("props", "a", {"b": "1"})
    ]


@pytest.mark.parametrize(
    ("name", "conf_type"),
    [("props", "props"), ("props.conf.bak", "props"), ("local.meta", "meta"), ("..", "unnamed")],
)
def test_a_bare_conf_file_is_read_whatever_its_name(
    ingestion: Ingestion, name: str, conf_type: str
) -> None:
    run_id = ingestion.upload(b"[a]\nb = 1\n", type_="app_bundle", name=name)
    ingestion.work()

    assert ingestion.rows("stanzas", run_id, "conf_type, layer, name") == [
        (conf_type, "system", "a")
    ]
    assert ingestion.rows("run_notices", run_id, "code") == (
        [] if conf_type == "meta" else [("name-disagrees",)]
    )


def test_a_file_that_cannot_be_read_costs_none_of_the_others(ingestion: Ingestion) -> None:
    several = "".join(f"[s{number}]\nx = 1\n" for number in range(200_000))
    files = {
        "etc/apps/a/default/inputs.conf": "[first]\nindex = a\n",
        "etc/apps/b/default/inputs.conf": several + "[a]\n" + "k = v\n" * 200_000,
        "etc/apps/c/default/inputs.conf": "x = " + "a" * (13 * 1024 * 1024),
        "etc/apps/d/default/inputs.conf": "[last]\nindex = d\n",
        "etc/auth/web.crt": "-----BEGIN PRIVATE KEY-----\n" + "A" * 64 + "\n",
        "old/etc/apps/a/local/inputs.conf": "[a]\n",
    }
    run_id = ingestion.parsed(files)

    run = ingestion.run(run_id)
    assert (run.status, run.files_parsed, run.stanzas_created, run.parse_errors) == (
        "complete", 2, 2, 2
    )  # fmt: skip
    assert ingestion.rows("stanzas", run_id, "stanza_no, name") == [(0, "first"), (1, "last")]
    assert ingestion.rows("inputs", run_id, "stanza_no, index") == [(0, "a"), (1, "d")]
    assert ingestion.rows("files", run_id, "path, skip_reason, sha256 IS NULL") == [
        ("etc/apps/a/default/inputs.conf", None, False),
        ("etc/apps/b/default/inputs.conf", "too-large", True),
        ("etc/apps/c/default/inputs.conf", "too-large", True),
        ("etc/apps/d/default/inputs.conf", None, False),
        ("etc/auth/web.crt", "secret", True),
        ("old/etc/apps/a/local/inputs.conf", None, False),
    ]
    (warnings,) = ingestion.rows("files", run_id, "warnings")[-1]
    assert [one["code"] for one in warnings] == ["outside-root"]


def test_what_the_store_cannot_give_back_is_tried_again(ingestion: Ingestion) -> None:
    altered, foreign = ingestion.upload(tar_of(APP)), ingestion.upload(tar_of(APP))
    run = ingestion.run(altered)
    assert run.blob_key is not None
    (path,) = Path(ingestion.settings.storage_dir).rglob(run.blob_key.rpartition("/")[2])
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    other = MasterKey("o" * 40).wrap(bytes(32), "elsewhere")
    ingestion.database.run(
        "UPDATE ingestion_runs SET data_key = :key WHERE id = :id", key=other, id=foreign
    )
    ingestion.work()
    ingestion.work()

    for run_id, said in ((altered, "altered"), (foreign, "SPLUNK_KEY")):
        run = ingestion.run(run_id)
        assert (run.status, run.attempts) == ("stored", 1)
        assert said in (run.error or "")
        waits = "SELECT extract(epoch FROM available_at - now()) FROM ingestion_runs WHERE id = :id"
        assert 45 < ingestion.database.one(waits, id=run_id) < 67
