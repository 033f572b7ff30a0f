"""Uploads over a real connection to the real server."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from backend.db import Sessions
from backend.identity import passwords, service
from backend.identity.roles import Role
from backend.web.serve import free_port
from tests.callers import PASSWORD, SIGNING_KEY
from tests.command_line import environment, error_line, lockkeeper
from tests.integration.packages.house import wait_until

LIMIT = 40_000_000


@pytest.fixture
def url(engine: Engine, sessions: Sessions, tmp_path: Path) -> Iterator[str]:
    with sessions.begin() as session:
        service.create_user(
            session, "test", username="ada", role=Role.USER,
            password_hash=passwords.hashed(PASSWORD),
        )  # fmt: skip
    port = free_port("127.0.0.1", 0)
    process = subprocess.Popen(
        [sys.executable, "-m", "backend.web.serve"],
        env={
            "PATH": os.environ["PATH"],
            "DATABASE_URL": engine.url.render_as_string(hide_password=False),
            "JWT_SECRET": SIGNING_KEY,
            "API_PORT": str(port),
            "SPLUNK_KEY": "k" * 32,
            "STORAGE_DIR": str(tmp_path / "store"),
            "SPLUNK_MAX_UPLOAD_BYTES": str(LIMIT),
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def runs(engine: Engine) -> list[Any]:
    with engine.begin() as connection:
        return list(connection.execute(text("SELECT * FROM ingestion_runs ORDER BY id")).all())


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_the_command_uploads_and_a_connection_that_breaks_leaves_a_pending_run(
    engine: Engine, url: str, tmp_path: Path
) -> None:
    env = environment(tmp_path, LOCKKEEPER_URL=url)

    def signed_in() -> str:
        return lockkeeper("token", "ada", env=env, input=PASSWORD).stdout.strip()

    token = wait_until(signed_in, seconds=60, what="a token of the server, which is starting")
    env["LOCKKEEPER_TOKEN"] = token
    archive = tmp_path / 'été "1".tgz'
    archive.write_bytes(os.urandom(LIMIT))

    sent = lockkeeper("splunk", "upload", archive, "--type", "app_bundle", "--json", env=env)
    again = lockkeeper("splunk", "upload", archive, "--type", "app_bundle", env=env)
    assert sent.returncode == again.returncode == 0, sent.stderr + again.stderr
    run = json.loads(sent.stdout)
    assert (run["size_bytes"], run["filename"], run["type"]) == (LIMIT, archive.name, "app_bundle")
    assert f"the same bytes as run {run['id']}" in again.stdout

    archive.write_bytes(os.urandom(LIMIT + 1))
    large = lockkeeper("splunk", "upload", archive, "--type", "app_bundle", env=env)
    assert large.returncode == 1
    assert error_line(large) == f"The archive is larger than the {LIMIT} bytes allowed here."
    missing = lockkeeper("splunk", "upload", tmp_path / "none", "--type", "ds_etc", env=env)
    assert missing.returncode == 2
    assert error_line(missing).startswith("cannot read ")

    store = tmp_path / "store"
    assert len(files(store)) == 2
    half = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + b"x" * 5000
    head = (
        f"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=30) as caller:
        caller.sendall(head.encode() + half * 200)
        wait_until(lambda: len(files(store)) == 3, seconds=30, what="bytes in the store")
        assert [row.status for row in runs(engine)] == ["stored", "stored", "pending"]
    wait_until(lambda: len(files(store)) == 2, seconds=30, what="the end of the broken upload")
    assert [row.status for row in runs(engine)] == ["stored", "stored", "pending"]
