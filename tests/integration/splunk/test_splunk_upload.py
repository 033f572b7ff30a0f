"""Uploads against a real database and a real directory, and what becomes of those that die."""

import hashlib
import io
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from werkzeug.test import TestResponse

from backend.autocommit import Autocommit
from backend.db import Sessions, make_engine, make_sessions
from backend.storage.blobs import StorageUnavailable
from backend.storage.configured import blobs_of
from backend.storage.encryption import decrypted
from backend.web.assembly import assemble
from backend.workloads.splunk import housekeeping
from backend.workloads.splunk.keys import folder_of, master_key
from tests.callers import make_settings
from tests.conftest import CreateDatabase
from tests.integration.packages.house import Database, People

ARCHIVE = b"\x1f\x8b any bytes: nobody opens them here " * 5000
LIMIT = 1_000_000


class Place:
    """An API with its people, its database and its store."""

    def __init__(self, engine: Engine, sessions: Sessions, folder: Path, **changes: Any) -> None:
        self.settings = make_settings(**{
            "SPLUNK_KEY": "k" * 32,
            "STORAGE_DIR": folder / "store",
            "SPLUNK_MAX_UPLOAD_BYTES": LIMIT,
            "MAX_CONTENT_LENGTH": 1024,
            "UPLOAD_RATE_PER_MINUTE": 100,
            **changes,
        })  # fmt: skip
        self.app = assemble(self.settings, engine)
        self.people = People(self.app, self.app.test_client(), sessions)
        self.database = Database(engine)
        self.statements = Autocommit(engine)
        self.blobs = blobs_of(self.settings)
        self.store = folder / "store"

    def upload(
        self,
        data: bytes = ARCHIVE,
        *,
        by: str = "ada",
        cut: int | None = None,
        filename: str = "etc.tgz",
        **fields: str,
    ) -> TestResponse:
        """The file first, as ``curl -F file=@etc.tgz -F type=ds_etc`` sends it."""
        head = f'form-data; name="file"; filename="{filename}"'
        parts = [f"Content-Disposition: {head}\r\n\r\n".encode() + data]
        parts += [
            f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()
            for name, value in ({"type": "ds_etc"} | fields).items()
        ]
        body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
        return self.people(by)(
            "POST", "/v1/uploads", input_stream=io.BytesIO(body[:cut]),
            content_type="multipart/form-data; boundary=b", content_length=len(body),
        )  # fmt: skip

    def files(self) -> list[Path]:
        return [path for path in self.store.rglob("*") if path.is_file()]

    def runs(self) -> list[Any]:
        return self.database.rows("SELECT * FROM ingestion_runs ORDER BY id")

    def keep(self, days: float = 30) -> housekeeping.Tidied:
        return housekeeping.keep(self.statements, self.blobs, retention=timedelta(days=days))

    def sweep(self) -> int:
        folder = folder_of(master_key(self.settings))
        return housekeeping.sweep(self.statements, self.blobs, folder)

    def on_duty(self) -> None:
        """What a worker does by the clock, once."""
        for duty in housekeeping.duties(self.settings):
            assert tuple(duty.run(self.people.sessions, self.statements)) == ()


@pytest.fixture(scope="module")
def engine(create_database: CreateDatabase, migrated: str) -> Iterator[Engine]:
    """One database for all tests here; :func:`place` empties it."""
    with create_database(migrated) as url:
        engine = make_engine(url, application_name="lockkeeper-tests")
        yield engine
        engine.dispose()


@pytest.fixture(scope="module")
def open_place(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Place]]:
    """Makes a place with changed settings; all of them share the database and the store."""
    folder = tmp_path_factory.mktemp("splunk")
    with ExitStack() as closing:

        def make(**changes: Any) -> Place:
            made = Place(engine, make_sessions(engine), folder, **changes)
            closing.callback(made.app.extensions["lockkeeper"].ready.__self__.close)
            return made

        yield make


@pytest.fixture(scope="module")
def kept_place(open_place: Callable[..., Place]) -> Place:
    return open_place()


@pytest.fixture
def place(kept_place: Place) -> Place:
    kept_place.database.run("DELETE FROM ingestion_runs")
    shutil.rmtree(kept_place.store, ignore_errors=True)
    return kept_place


def test_an_archive_is_stored_encrypted_and_waits_to_be_parsed(place: Place) -> None:
    answer = place.upload(label=" Ulm ", notes="the old one", filename="../été.tgz")

    run = answer.get_json()
    assert (answer.status_code, run["status"]) == (201, "stored"), answer.text
    assert run | {
        "type": "ds_etc", "label": "Ulm", "notes": "the old one", "filename": "../été.tgz",
        "sha256": hashlib.sha256(ARCHIVE).hexdigest(), "size_bytes": len(ARCHIVE),
        "duplicate_of": None, "uploaded_by": place.people.user.id, "retry_count": 0,
        "error_message": None, "error_traceback": None, "started_at": None,
    } == run  # fmt: skip
    assert run["metrics"] == {
        "files_parsed": None, "stanzas_created": None, "duration_seconds": None,
        "parse_errors": None, "retry_count": 0, "error_type": None,
    }  # fmt: skip
    (row,) = place.runs()
    assert row.fairness_key == str(row.uploaded_by)
    (file,) = place.files()
    assert b"any bytes" not in file.read_bytes()
    key = master_key(place.settings).unwrap(bytes(row.data_key), row.blob_key)
    with decrypted(place.blobs.open(row.blob_key), key) as stream:
        assert stream.read() == ARCHIVE
    (noted,) = place.database.rows(
        "SELECT actor_id, detail FROM audit_log WHERE action = 'run.uploaded' AND subject = :run",
        run=f"run:{row.id}",
    )
    assert (noted.actor_id, noted.detail["sha256"]) == (row.uploaded_by, row.sha256)
    assert place.keep(days=0).deleted == 0  # it waits: its bytes are needed


def test_the_same_bytes_again_are_recognised_as_ones_own(place: Place) -> None:
    first = place.upload().get_json()["id"]
    again = place.upload(type="instance_etc").get_json()
    third = place.upload().get_json()
    others = place.upload(by="bob").get_json()
    different = place.upload(ARCHIVE + b"!").get_json()

    assert [again["duplicate_of"], third["duplicate_of"]] == [first, first]
    assert [others["duplicate_of"], different["duplicate_of"]] == [None, None]
    assert len(place.files()) == 5
    assert len({row.data_key for row in place.runs()}) == 5


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "an unknown type": ({"type": "tarball"}, 400, "invalid"),
    "a label that is too long": ({"label": "x" * 201}, 400, "invalid"),
    "a NUL in the notes": ({"notes": "\0"}, 400, "malformed"),
    "an archive that is too large": ({"data": b"x" * (LIMIT + 1)}, 413, "too-large"),
    "one that is far too large": ({"data": b"x" * (4 * LIMIT)}, 413, "too-large"),
}


def test_what_is_refused_leaves_neither_a_run_nor_bytes(place: Place) -> None:
    for name, (given, status, code) in REFUSED.items():
        answer = place.upload(**given)
        assert (name, answer.status_code, answer.get_json()["code"]) == (name, status, code)
    as_json = place.people.user("POST", "/v1/uploads", json={"type": "ds_etc"})
    without = place.people.user("POST", "/v1/uploads", data=b"", content_type="multipart/form-data")
    assert [as_json.status_code, without.status_code] == [400, 400]
    anonymous = place.app.test_client().post("/v1/uploads", data=b"x" * 100)
    assert anonymous.status_code == 401

    assert place.runs() == []
    assert place.files() == []
    assert place.upload(b"x" * LIMIT).status_code == 201  # as large as may be
    assert place.upload(b"").status_code == 201  # what is wrong with it the parser says


def test_an_upload_that_died_stays_pending_and_fails_after_a_quarter_of_an_hour(
    place: Place,
) -> None:
    answer = place.upload(cut=90_000)
    assert (answer.status_code, answer.get_json()["code"]) == (408, "upload-died")
    (pending,) = place.runs()
    assert (pending.status, pending.type, pending.sha256) == ("pending", None, None)
    # As after a kill between the last byte and the commit, these were all stored.
    place.blobs.put(pending.blob_key, [b"ciphertext"])
    alive = place.upload().get_json()["id"]
    place.database.run("UPDATE ingestion_runs SET status = 'pending' WHERE id = :id", id=alive)
    age = "UPDATE ingestion_runs SET created_at = now() - interval :age WHERE id = :id"

    place.database.run(age, age="14 minutes", id=pending.id)
    assert place.keep() == housekeeping.Tidied(died=0, deleted=0)
    place.database.run(age, age="16 minutes", id=pending.id)
    assert place.keep() == housekeeping.Tidied(died=1, deleted=1)
    assert place.keep() == housekeeping.Tidied(died=0, deleted=0)

    dead, living = place.runs()
    assert (dead.status, dead.failure, dead.failed_from) == ("failed", "timeout", "stored")
    assert "15 minutes" in dead.error
    assert (dead.blob_key, dead.data_key, dead.pruned_at) == (None, None, None)
    assert dead.completed_at is not None
    assert living.status == "pending"
    assert [path.name for path in place.files()] == [living.blob_key.rpartition("/")[2]]


def test_an_upload_that_was_given_up_meanwhile_is_not_accepted(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = place.blobs.put

    def slow(key: str, chunks: Any) -> int:
        size = put(key, chunks)
        place.database.run("UPDATE ingestion_runs SET created_at = now() - interval '1 hour'")
        assert place.keep().died == 1
        return size

    monkeypatch.setattr(place.blobs, "put", slow)
    answer = place.upload()

    assert (answer.status_code, answer.get_json()["code"]) == (408, "upload-died")
    assert [row.status for row in place.runs()] == ["failed"]
    assert place.files() == []


def test_a_store_that_fails_is_told_and_forgotten(place: Place) -> None:
    place.store.write_bytes(b"a file where the directory should be")

    answer = place.upload()

    assert (answer.status_code, answer.get_json()["code"]) == (503, "storage-unavailable")
    assert "Retry-After" in answer.headers
    assert [row.status for row in place.runs()] == ["pending"]  # its bytes could not be deleted
    place.store.unlink()
    place.database.run("UPDATE ingestion_runs SET created_at = now() - interval '1 hour'")
    place.on_duty()
    assert [(row.status, row.blob_key) for row in place.runs()] == [("failed", None)]


def test_archives_are_pruned_once_they_are_old_and_nobody_waits_for_them(place: Place) -> None:
    ids = [place.upload(ARCHIVE + bytes([n])).get_json()["id"] for n in range(4)]
    old, waiting, failed, young = ids
    ended = "completed_at = now(), failure = 'permanent', failed_from = 'stored', status = 'failed'"
    place.database.run(f"UPDATE ingestion_runs SET {ended} WHERE id = ANY (:ids)",
                       ids=[old, failed, young])  # fmt: skip
    place.database.run(
        "UPDATE ingestion_runs SET stored_at = now() - interval '31 days' WHERE id <> :id", id=young
    )

    assert place.keep() == housekeeping.Tidied(died=0, deleted=2)

    rows = {row.id: row for row in place.runs()}
    assert [rows[n].pruned_at is not None for n in ids] == [True, False, True, False]
    assert [rows[n].blob_key is None for n in ids] == [True, False, True, False]
    assert rows[old].sha256 is not None
    kept = {rows[n].blob_key.rpartition("/")[2] for n in (waiting, young)}
    assert {path.name for path in place.files()} == kept


def test_bytes_that_cannot_be_deleted_hold_up_no_others_and_are_swept(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(2):
        place.upload(ARCHIVE + bytes([n]))
    place.database.run(
        "UPDATE ingestion_runs SET status = 'failed', completed_at = now(), failure = 'permanent',"
        " failed_from = 'stored', stored_at = now() - interval '31 days'"
    )
    first, second = (row.blob_key for row in place.runs())
    delete = place.blobs.delete

    def refusing(key: str) -> None:
        if key == first:
            # Its run may be asked for again meanwhile: it says already that there is nothing.
            assert [row.blob_key for row in place.runs()] == [None, None]
            raise StorageUnavailable("the disk is broken")
        delete(key)

    monkeypatch.setattr(place.blobs, "delete", refusing)
    with pytest.raises(StorageUnavailable):
        place.keep()
    assert [(row.blob_key, row.data_key) for row in place.runs()] == [(None, None)] * 2
    assert place.keep() == housekeeping.Tidied(died=0, deleted=0)

    monkeypatch.undo()
    monkeypatch.setattr(housekeeping, "ORPHANED", timedelta(0))
    assert place.sweep() == len({first, second})
    assert place.files() == []


def test_bytes_without_a_run_are_deleted_once_they_are_a_day_old(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.upload()
    place.upload(ARCHIVE + b"!")
    place.database.run("DELETE FROM ingestion_runs WHERE id = (SELECT max(id) FROM ingestion_runs)")
    place.blobs.put(f"splunk-{'0' * 16}/{'a' * 32}", [b"of another house"])

    assert place.sweep() == 0
    monkeypatch.setattr(housekeeping, "ORPHANED", timedelta(0))
    place.on_duty()
    assert place.sweep() == 0

    (row,) = place.runs()
    assert {path.name for path in place.files()} == {row.blob_key.rpartition("/")[2], "a" * 32}


def test_two_uploads_of_the_same_bytes_at_one_moment_are_told_apart(place: Place) -> None:
    place.people.user  # noqa: B018 - signed in before the threads
    barrier = threading.Barrier(3)
    answers: list[Any] = []

    def send() -> None:
        barrier.wait()
        answers.append(place.upload().get_json())

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (first,) = [run["id"] for run in answers if run["duplicate_of"] is None]
    assert [run["duplicate_of"] for run in answers if run["id"] != first] == [first, first]


def test_uploads_are_refused_without_a_key_and_beyond_the_rate(
    place: Place, open_place: Callable[..., Place]
) -> None:
    keyless = open_place(SPLUNK_KEY=None)
    assert housekeeping.duties(keyless.settings) == []
    answer = keyless.upload()
    assert (answer.status_code, answer.get_json()["code"]) == (503, "splunk-key-missing")
    assert "SPLUNK_KEY" in answer.get_json()["error"]

    slow = open_place(UPLOAD_RATE_PER_MINUTE=1)
    assert [slow.upload(by="carol").status_code for _ in range(2)] == [201, 429]
    assert len(place.runs()) == 1
