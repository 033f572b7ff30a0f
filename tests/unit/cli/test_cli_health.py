"""``lockkeeper health`` against servers that answer as the parts do, or otherwise."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from backend import cli

WELL = {"database": "ok", "schema": "ok", "workers": "ok"}
PORTS = {"api": "API_PORT", "worker": "WORKER_METRICS_PORT"}


@contextmanager
def answering(status: int, body: bytes) -> Iterator[int]:
    """A server on 127.0.0.1 for GET /ready; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/ready" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_what: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    # Where a container's parts listen; and no proxy is asked, whatever the environment names.
    for name in ("API_HOST", "WORKER_METRICS_HOST"):
        monkeypatch.setenv(name, "0.0.0.0")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")


def health(part: str, port: int, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setenv(PORTS[part], str(port))
    return cli.main(["health", part, *options])


@pytest.mark.parametrize(
    ("part", "checks", "code"),
    [
        ("api", WELL, 0),
        ("api", WELL | {"workers": "failed"}, 0),  # to start the API again would mend nothing
        ("api", WELL | {"schema": "failed"}, 1),
        ("api", {"database": "failed: OperationalError", "schema": "not asked: no database"}, 1),
        ("worker", {"threads": "ok", "database": "ok", "claiming": "ok"}, 0),
        ("worker", {"threads": "ok", "database": "not reached for 20 s", "claiming": "ok"}, 1),
        ("worker", {"threads": "a thread died", "database": "ok", "claiming": "ok"}, 1),
        ("worker", {"threads": "ok", "database": "ok", "claiming": "draining"}, 1),
    ],
)
def test_it_says_every_check_and_fails_for_those_of_the_part_itself(
    part: str,
    checks: dict[str, str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = 200 if set(checks.values()) == {"ok"} else 503
    with answering(status, json.dumps({"checks": checks}).encode()) as port:
        assert health(part, port, monkeypatch) == code
        said = capsys.readouterr()
        assert health(part, port, monkeypatch, "--json") == code

    assert json.loads(capsys.readouterr().out) == checks
    for name, word in checks.items():
        assert word == "ok" or f"{name}: {word}" in (said.err if code else said.out)


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"[]", b'"checks"', b"{}", b'{"checks": null}', b'{"checks": {}}']
)
def test_another_server_on_the_port_is_not_the_part(
    body: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(200, body) as port:
        assert health("api", port, monkeypatch) == 1

    assert "answers somebody else" in capsys.readouterr().err


@pytest.mark.parametrize("part", PORTS)
def test_nobody_there_is_exit_code_three(
    part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(200, b"") as port:
        pass

    assert health(part, port, monkeypatch) == 3
    assert f"the {part} does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(("part", "port"), [("worker", ""), ("worker", "0"), ("api", "0")])
def test_a_part_without_a_port_cannot_be_asked(
    part: str, port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PORTS[part], port)

    assert cli.main(["health", part]) == 2
    assert PORTS[part] in capsys.readouterr().err


def test_a_probe_costs_a_container_little() -> None:
    """It is a new process every few seconds: SQLAlchemy alone would be a third of it."""
    with answering(200, json.dumps({"checks": WELL}).encode()) as port:
        program = (
            "import sys; from backend.cli import main; code = main(['health', 'api']);"
            "print('sqlalchemy' in sys.modules, code)"
        )
        said = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True,
            env={**os.environ, "API_PORT": str(port)},
        ).stdout  # fmt: skip
    assert said.splitlines()[-1] == "False 0"
