"""A whole vetting house for tests: a registry, the API with its people, and a worker by hand."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, text
from werkzeug.test import TestResponse

from backend.db import Sessions, make_engine, make_sessions
from backend.identity import guard, service
from backend.identity.roles import Role
from backend.queue import leases
from backend.queue.breaker import Breakers
from backend.queue.duty import Duty
from backend.queue.lifecycle import Queue
from backend.settings import Settings
from backend.web.assembly import assemble
from backend.workloads.packages.lifecycle import PUBLISHING_QUEUE, VETTING_QUEUE
from backend.workloads.packages.pipeline import pipelines
from backend.workloads.packages.schemas import RequestDetail
from tests.callers import Caller, make_settings
from tests.registry_server import RegistryServer, integrity, npm_package, tarball_path
from workers.daemon import Assignment, Daemon, Policy
from workers.database import Transactions
from workers.executor import Executor
from workers.held import Held
from workers.isolation import Children
from workers.metrics import Metrics

Lock = dict[str, Any]


def lock_of(entries: Mapping[str, Any], *, name: str = "shop", version: str = "1.2.3") -> Lock:
    """A version 3 lock; keys of ``entries`` are locations, or names below ``node_modules``."""
    located = {
        key if "node_modules/" in key else f"node_modules/{key}": entry
        for key, entry in entries.items()
    }
    root = {"name": name, "version": version}
    return {**root, "lockfileVersion": 3, "packages": {"": root, **located}}


def multipart(lock: Lock | bytes, **form: str) -> dict[str, Any]:
    """The body of an upload, encoded here: werkzeug's client leaves files open for large ones."""
    data = lock if isinstance(lock, bytes) else json.dumps(lock).encode()
    head = "Content-Disposition: form-data; name="
    parts = [f'{head}"{name}"\r\n\r\n{value}\r\n'.encode() for name, value in form.items()]
    parts.append(f'{head}"file"; filename="package-lock.json"\r\n\r\n'.encode() + data + b"\r\n")
    body = b"".join(b"--frontier\r\n" + part for part in parts) + b"--frontier--\r\n"
    return {"data": body, "content_type": "multipart/form-data; boundary=frontier"}


def wait_until(reached: Callable[[], Any], *, seconds: float, what: str) -> Any:
    """Ask until the answer is true, and return it; fails, naming ``what``, when time is up."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (found := reached()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        pause.wait(0.02)
    return found


class Database:
    """Short questions to the database of one test."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def rows(self, query: str, **values: Any) -> list[Any]:
        with self.engine.begin() as connection:
            return list(connection.execute(text(query), values).all())

    def one(self, query: str, **values: Any) -> Any:
        """The single value of a query."""
        with self.engine.begin() as connection:
            return connection.execute(text(query), values).scalar()

    def run(self, statement: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)

    def texts(self) -> Iterator[tuple[str, str]]:
        """(table.column, text) of everything stored that could hold a stranger's words."""
        columns = self.rows(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'public' AND data_type IN ('text', 'jsonb', 'bytea', 'ARRAY')"
        )
        for table, column, kind in columns:
            shown = f"convert_from({column}, 'UTF8')" if self._is_lock(column) else column
            if kind == "bytea" and not self._is_lock(column):
                continue  # digests
            for (value,) in self.rows(f'SELECT ({shown})::text FROM "{table}"'):
                yield f"{table}.{column}", value or ""

    @staticmethod
    def _is_lock(column: str) -> bool:
        return column == "lock"


class HandWorker:
    """The daemon's executor without its threads: :meth:`run` returns when nothing is due."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        breakers: Breakers,
        queue: Queue = VETTING_QUEUE,
    ) -> None:
        made = pipelines(settings, breakers)
        (self.pipeline,) = [pipeline for pipeline in made if pipeline.queue is queue]
        self._origins = [made[0].tools.origin, *(p.tools.target.origin for p in made[1:])]
        self._queue = queue
        self._transactions = Transactions(sessions, threading.Event())
        self._held = Held()
        self._children = Children(2)
        self._executor = Executor(
            self.pipeline, transactions=self._transactions, held=self._held,
            children=self._children, metrics=Metrics([], version="0"),
        )  # fmt: skip

    def close(self) -> None:
        self._children.close()
        for origin in self._origins:
            origin.close()

    def claim(self, limit: int = 100) -> list[leases.Lease]:
        claimed = self._transactions.once(
            lambda s: leases.claim(s, self._queue, worker="by-hand", limit=limit)
        )
        self._held.add(claimed)
        return claimed

    def finish(self, lease: leases.Lease) -> None:
        ended = self._executor.run(lease)
        if ended is not None:
            self._transactions.once(lambda s: leases.settle(s, self._queue, [ended.settlement]))
            self._held.drop(lease)

    def release(self, lease: leases.Lease) -> None:
        """Hand a row back as if nothing had been done."""
        self._transactions.once(lambda s: leases.settle(s, self._queue, [leases.released(lease)]))
        self._held.drop(lease)

    def cycle(self, limit: int = 100) -> int:
        """Claim once and finish what was claimed; answers how many that were."""
        claimed = self.claim(limit)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self.finish, claimed))
        return len(claimed)

    def run(self) -> None:
        while self.cycle():
            pass


@dataclass
class People:
    """Callers by name, signed in when first asked for, without the cost of a password."""

    app: Flask
    client: FlaskClient
    sessions: Sessions
    known: dict[str, Caller] = field(default_factory=dict)

    def __call__(self, username: str, role: Role = Role.USER) -> Caller:
        if username not in self.known:
            self.known[username] = self._enter(username, role)
        return self.known[username]

    def _enter(self, username: str, role: Role) -> Caller:
        with self.sessions.begin() as session:
            user = service.user_named(session, username) or service.create_user(
                session, "test", username=username, password_hash="unused", role=role
            )
            grant = service.open_login(session, user.id, "unused", timedelta(hours=1))
            assert grant is not None
        with self.app.app_context():
            return Caller(self.client, guard.access_token(grant), id=user.id)

    @property
    def user(self) -> Caller:
        return self("ada")

    @property
    def other(self) -> Caller:
        return self("bob")

    @property
    def approver(self) -> Caller:
        return self("carol", Role.APPROVER)

    @property
    def admin(self) -> Caller:
        return self("root", Role.ADMIN)


@dataclass
class House:
    """Everything one test needs.

    ``changes`` of settings, and ``breakers``, are for before app or worker are used.
    """

    registry: RegistryServer
    database_url: str
    engine: Engine
    folder: Path
    changes: dict[str, Any] = field(default_factory=dict)
    breakers: Breakers = field(default_factory=Breakers)
    closing: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def settings(self) -> Settings:
        return make_settings(
            **{
                "DATABASE_URL": self.database_url,
                "SOURCE_REPOSITORY_URL": self.registry.url,
                "PACKAGE_CACHE_DIR": self.folder / "cache",
                "DOWNLOAD_TIMEOUT": 5,
                "UPLOAD_RATE_PER_MINUTE": 1000,
                **self.changes,
            }
        )

    @cached_property
    def sessions(self) -> Sessions:
        return make_sessions(self.engine)

    @cached_property
    def database(self) -> Database:
        return Database(self.engine)

    @cached_property
    def app(self) -> Flask:
        app = assemble(self.settings, self.engine)
        # Its notifier keeps a connection for as long as the process lives: here, for a test.
        self.closing.callback(app.extensions["lockkeeper"].ready.__self__.close)
        return app

    @cached_property
    def people(self) -> People:
        return People(self.app, self.app.test_client(), self.sessions)

    @cached_property
    def worker(self) -> HandWorker:
        worker = HandWorker(self.settings, self.sessions, self.breakers)
        return self.closing.enter_context(closing(worker))

    @cached_property
    def publisher(self) -> HandWorker:
        """Publishes what was approved; ``TARGET_REPOSITORY_URL`` is among the changes."""
        worker = HandWorker(self.settings, self.sessions, self.breakers, PUBLISHING_QUEUE)
        return self.closing.enter_context(closing(worker))

    @contextmanager
    def daemon(self, *, duties: Sequence[Duty] = ()) -> Iterator[Daemon]:
        """The worker's own daemon in this process, with a short lease."""
        (pipeline,) = pipelines(self.settings, self.breakers)
        listening = make_engine(self.database_url, pool_size=1)
        policy = Policy(interval=timedelta(seconds=1), ttl=timedelta(seconds=2))
        running = Daemon(self.engine, listening, [Assignment(pipeline)], policy, duties=duties)
        running.start()
        try:
            yield running
        finally:
            assert running.drain() == 0
            listening.dispose()
            pipeline.tools.origin.close()

    def reopened(self, **changes: Any) -> "House":
        """The same database and registry under other settings: another API, another worker."""
        return replace(self, changes={**self.changes, **changes})

    # What the registry has, and locks that ask for it

    def publish(
        self,
        name: str = "left",
        version: str = "1.0.0",
        files: Mapping[str, str | bytes] = {},
        *,
        licence: Any = "MIT",
        said: Any = None,
        tarball: bytes | None = None,
        **manifest: Any,
    ) -> bytes:
        """Publish a package; ``said`` is the registry's own word for the licence."""
        packed = tarball or npm_package(name, version, files, license=licence, **manifest)
        return self.registry.publish(name, version, packed, license=said or licence)

    def entry(
        self, name: str, version: str = "1.0.0", tarball: bytes | None = None, **fields: Any
    ) -> dict[str, Any]:
        """A lock's entry that was resolved at the registry, pinned where bytes are given."""
        pinned = {"integrity": integrity(tarball)} if tarball is not None else {}
        resolved = f"{self.registry.url}{tarball_path(name, version)}"
        return {"version": version, "resolved": resolved, **pinned, **fields}

    def lock(self, *names: str, licence: str = "MIT") -> Lock:
        """A lock of freshly published packages, all ``1.0.0``."""
        return lock_of(
            {name: self.entry(name, tarball=self.publish(name, licence=licence)) for name in names}
        )

    def advise(self, name: str, *, advisory: str = "GHSA-test", severity: str = "HIGH") -> None:
        """Add an advisory against every version below 2.0.0; before the worker is first used."""
        folder = self.folder / "advisories"
        folder.mkdir(exist_ok=True)
        events = [{"introduced": "0"}, {"fixed": "2.0.0"}]
        record = {
            "id": advisory,
            "modified": datetime.now(UTC).isoformat(),
            "summary": f"{name} is broken",
            "database_specific": {"severity": severity},
            "affected": [
                {
                    "package": {"ecosystem": "npm", "name": name},
                    "ranges": [{"type": "SEMVER", "events": events}],
                }
            ],
        }
        (folder / f"{advisory}.json").write_text(json.dumps(record))
        self.changes["OSV_PATH"] = folder

    # The API

    def upload(self, lock: Lock | bytes, *, by: Caller | None = None, **form: str) -> TestResponse:
        return (by or self.people.user)("POST", "/api/packages/upload", **multipart(lock, **form))

    def submit(self, lock: Lock, *, by: Caller | None = None, **form: str) -> int:
        """Upload a lock that is accepted; answers the request's id."""
        answer = self.upload(lock, by=by, **form)
        assert answer.status_code == 202, answer.text
        request_id: int = answer.get_json()["request_id"]
        return request_id

    def vet(self, lock: Lock, *, by: Caller | None = None) -> dict[str, Any]:
        """Upload, work until nothing is due, answer the request's detail."""
        request_id = self.submit(lock, by=by)
        self.worker.run()
        return self.detail(request_id)

    def detail(self, request_id: int) -> dict[str, Any]:
        answer = self.people.admin("GET", f"/api/packages/requests/{request_id}")
        assert answer.status_code == 200, answer.text
        # The database writes parts of it: every test that reads one sees that it fits its schema.
        RequestDetail.model_validate_json(answer.data, strict=True, extra="forbid")
        document: dict[str, Any] = answer.get_json()
        return document

    def package(self, request_id: int) -> dict[str, Any]:
        """The one package of a request."""
        (package,) = self.detail(request_id)["packages"]
        found: dict[str, Any] = package
        return found

    def hurry(self) -> None:
        """What backs off is due now."""
        self.database.run(
            "UPDATE package_status SET available_at = now() WHERE status = 'Requested'"
        )

    def vet_one(self, lock: Lock, *, by: Caller | None = None) -> dict[str, Any]:
        """Vet a lock of one package; answers that package."""
        (package,) = self.vet(lock, by=by)["packages"]
        found: dict[str, Any] = package
        return found
