"""Ingestion for tests: archives made here, runs in a real database and store, a worker by hand."""

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Engine, insert, select
from sqlalchemy.orm import Session

from backend.db import Sessions
from backend.identity.model import User
from backend.queue import leases
from backend.queue.leases import Lease
from backend.storage.configured import blobs_of
from backend.storage.encryption import encrypted, new_key
from backend.workloads.splunk.keys import folder_of, master_key
from backend.workloads.splunk.lifecycle import SPLUNK_QUEUE
from backend.workloads.splunk.model import IngestionRun
from backend.workloads.splunk.pipeline import pipelines
from tests.callers import make_settings
from tests.integration.packages.house import Database
from workers.database import Transactions
from workers.executor import Executor
from workers.held import Held
from workers.isolation import Children
from workers.metrics import Metrics

Files = Mapping[str, str | bytes]

APP: Files = {
    "etc/apps/web/default/props.conf": "[default]\nTRUNCATE = 9\n[weblog]\nTZ = UTC\n",
    "etc/apps/web/local/inputs.conf": (
        "[monitor:///var/log/web]\nindex = web\ndisabled = 0\nindex = web2\n\nnonsense\n"
    ),
    "etc/apps/web/metadata/default.meta": "[props/weblog]\nexport = system\n",
    "etc/apps/web/bin/run.py": "print(1)\n",
    "etc/system/local/outputs.conf": "[tcpout:main]\nserver = a:9997\nsslPassword = hunter2\n",
}


def tar_of(files: Files) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def zip_of(files: Files) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return packed.getvalue()


def add_user(session: Session, name: str = "ada") -> int:
    values = {"username": name, "password_hash": "x", "role": "user"}
    return int(session.scalar(insert(User).values(values).returning(User.id)) or 0)


class Ingestion:
    """A user, a store and a worker that parses what is due."""

    def __init__(
        self, sessions: Sessions, engine: Engine, children: Children, folder: Path
    ) -> None:
        self.sessions = sessions
        self.database = Database(engine)
        self.settings = make_settings(SPLUNK_KEY="k" * 40, STORAGE_DIR=folder / "store")
        self.blobs, self.key = blobs_of(self.settings), master_key(self.settings)
        (self.pipeline,) = pipelines(self.settings)
        self.children = children
        self._held = Held()
        self._transactions = Transactions(sessions, threading.Event())
        with sessions.begin() as session:
            self.user_id = add_user(session)

    def executor(self) -> Executor:
        return Executor(
            self.pipeline, transactions=self._transactions, held=self._held,
            children=self.children, metrics=Metrics([], version="0"),
        )  # fmt: skip

    def upload(self, data: bytes, *, type_: str = "instance_etc", name: str = "etc.tgz") -> int:
        """A run whose bytes are stored, as an upload leaves it."""
        data_key, blob_key = new_key(), f"{folder_of(self.key)}/{uuid4().hex}"
        self.blobs.put(blob_key, encrypted([data], data_key))
        run = {
            "status": "stored", "type": type_, "filename": name, "uploaded_by": self.user_id,
            "fairness_key": str(self.user_id), "size_bytes": len(data), "blob_key": blob_key,
            "data_key": self.key.wrap(data_key, blob_key),
            "sha256": hashlib.sha256(data).hexdigest(),
        }  # fmt: skip
        with self.sessions.begin() as session:
            return int(
                session.scalar(insert(IngestionRun).values(run).returning(IngestionRun.id)) or 0
            )

    def claim(self) -> Lease:
        claimed = self._transactions.once(
            lambda s: leases.claim(s, SPLUNK_QUEUE, worker="by-hand", limit=1)
        )
        self._held.add(claimed)
        (lease,) = claimed
        return lease

    def work(self, lease: Lease | None = None) -> None:
        """Parse one run to its end."""
        lease = lease or self.claim()
        ended = self.executor().run(lease)
        if ended is not None:
            self._transactions.once(lambda s: leases.settle(s, SPLUNK_QUEUE, [ended.settlement]))
            self._held.drop(lease)

    def parsed(self, files: Files, **upload: Any) -> int:
        run_id = self.upload(tar_of(files), **upload)
        self.work()
        return run_id

    def again(self, run_id: int) -> None:
        """As a person asks for a run that has ended to be parsed again."""
        self.database.run(
            "UPDATE ingestion_runs SET status = 'stored', completed_at = NULL, failure = NULL,"
            " failed_from = NULL, step = NULL, attempts = 0 WHERE id = :id",
            id=run_id,
        )

    def run(self, run_id: int) -> IngestionRun:
        with self.sessions.begin() as session:
            return session.scalars(select(IngestionRun).where(IngestionRun.id == run_id)).one()

    def rows(self, table: str, run_id: int, columns: str = "*") -> list[tuple[Any, ...]]:
        order = {"files": "file_no", "run_notices": "notice_no"}.get(table, "stanza_no")
        query = f"SELECT {columns} FROM {table} WHERE run_id = :id ORDER BY {order}"
        return [tuple(row) for row in self.database.rows(query, id=run_id)]
