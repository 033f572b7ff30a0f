"""``scripts/test_worker.py`` against an API that answers as each test says; the real one is met in
``tests/integration/test_worker_script.py``."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from tests.command_line import REPOSITORY, script_module

REQUEST = "/api/packages/requests/7"
READY = "GET /ready"
LOGIN, LOGOUT = "POST /api/auth/login", "POST /api/auth/logout"
UPLOAD = "POST /api/packages/upload"
LOOK = f"GET {REQUEST}/processing-status"
RETRY, WITHDRAW = f"POST {REQUEST}/retry", f"POST {REQUEST}/withdraw"

Answer = tuple[int, Any]


def look(completed: int) -> Answer:
    package = {"name": "keel", "version": "1.0.0", "status": "Requested", "failure": None}
    return 200, {"completed_packages": completed, "total_packages": 1, "packages": [package]}


@dataclass
class Api:
    """``answers`` by operation, the last of a list again and again; ``asked`` is what came."""

    url: str
    answers: dict[str, list[Answer]]
    asked: list[str] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)
    looked: Event = field(default_factory=Event)

    def answer(self, operation: str, body: bytes) -> Answer:
        self.asked.append(operation)
        self.bodies[operation] = body
        if operation == LOOK:
            self.looked.set()
        waiting = self.answers.get(operation, [(404, {"detail": "No such thing."})])
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@pytest.fixture
def api() -> Iterator[Api]:
    """One where all goes well."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, document = made.answer(f"{self.command} {self.path}", body)
            text = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET  # noqa: N815 - the server's name for it

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Api(
            f"http://127.0.0.1:{server.server_port}",
            {
                READY: [(200, {"status": "ok", "checks": {}})],
                LOGIN: [(200, {"token": "T", "expires_in": 900})],
                UPLOAD: [(202, {"request_id": 7, "packages": 1})],
                LOOK: [look(1)],
                RETRY: [(200, {"retried": 0})],
                WITHDRAW: [(200, {"cancelled": 1})],
                LOGOUT: [(200, {})],
            },
        )
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the repository with a lock file, and with the passwords of scripts/run."""
    for name in ("scripts", "examples", ".lockkeeper"):
        (tmp_path / name).mkdir()
    script = (REPOSITORY / "scripts" / "test_worker.py").read_text()
    (tmp_path / "scripts" / "test_worker.py").write_text(script)
    (tmp_path / "examples" / "package-lock.json").write_text("{}")
    accounts = {n: {"username": n, "password": f"{n}'s"} for n in ("admin", "user")}
    (tmp_path / ".lockkeeper" / "credentials.json").write_text(json.dumps(accounts))
    return tmp_path


Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run(
    api: Api, copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run it here and now; answers its exit code, and what it said."""
    monkeypatch.delenv("LOCKKEEPER_PASSWORD", raising=False)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*arguments: str, url: str = api.url) -> tuple[int, list[str]]:
        script = script_module("test_worker")
        monkeypatch.setattr(script, "REPOSITORY", copy)
        monkeypatch.setattr(script, "PAUSE", 0.01)
        monkeypatch.setattr(sys, "argv", ["test_worker.py", "--url", url, *arguments])
        code = script.main()
        said = capsys.readouterr()
        assert said.err == ""
        return code, said.out.splitlines()

    return run


def started(copy: Path, api: Api, **streams: Any) -> subprocess.Popen[str]:
    """Run it as a process of its own."""
    script = str(copy / "scripts" / "test_worker.py")
    command = [sys.executable, "-I", "-S", script, "--url", api.url]
    return subprocess.Popen(command, env={"PATH": "/usr/bin:/bin"}, text=True, **streams)


def test_a_proxy_sees_neither_password_nor_token(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    code, said = run()

    assert (code, said[-1]) == (0, "PASSED: the worker does its work")


def test_kept_passwords_are_for_the_named_user(api: Api, run: Run) -> None:
    code, said = run("--username", "admin")
    assert (code, said[1]) == (0, "sign in: signed in as admin")
    assert json.loads(api.bodies[LOGIN]) == {"username": "admin", "password": "admin's"}

    code, said = run("--username", "ada")
    assert (code, said) == (2, ["FAILED: LOCKKEEPER_PASSWORD is not set"])


def test_kept_passwords_stay_on_this_machine(
    api: Api, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *more: known("127.0.0.1", *more))

    said = run(url=api.url.replace("127.0.0.1", "elsewhere.example.test"))

    assert said == (2, ["FAILED: LOCKKEEPER_PASSWORD is not set"])
    assert api.asked == [READY]


def test_a_named_stack_that_is_not_ready_says_why(api: Api, run: Run) -> None:
    api.answers[READY] = [(503, {"detail": "Not ready: workers.", "checks": {"workers": "none"}})]

    assert run() == (
        3,
        [f"FAILED: {api.url} is not ready: GET /ready answered 503: Not ready: workers."],
    )


def test_without_a_worker_it_gives_up_withdraws_and_says_so(api: Api, run: Run) -> None:
    api.answers[LOOK] = [look(0)]

    code, said = run("--timeout", "0.2")

    assert code == 1
    assert said[-4:] == [
        "watch: 0 of 1 packages vetted",
        "clean up: request 7 is withdrawn",
        "clean up: signed out",
        "FAILED: 0 of 1 packages vetted within 0.2 s: is a worker for them alive?",
    ]
    assert api.asked[-2:] == [WITHDRAW, LOGOUT]


def test_a_clean_up_that_fails_is_said_and_hides_nothing(api: Api, run: Run) -> None:
    api.answers |= {LOOK: [(500, {"detail": "Broken."})], LOGOUT: [(503, {"detail": "Later."})]}

    code, said = run()

    assert code == 1
    assert said[-3:] == [
        "clean up: request 7 is withdrawn",
        "clean up: POST /api/auth/logout answered 503: Later.",
        f"FAILED: {LOOK} answered 500: Broken.",
    ]


def test_a_token_that_ends_before_the_work_does_is_renewed(api: Api, run: Run) -> None:
    api.answers[LOGIN] = [(200, {"token": "T", "expires_in": 0})]

    code, said = run()

    assert code == 0, said
    assert [api.asked[n - 1] for n, name in enumerate(api.asked) if name == LOOK] == [LOGIN]


def test_the_lock_file_goes_under_its_own_name(api: Api, copy: Path, run: Run) -> None:
    lock = copy / 'my "yarn".json'
    lock.write_text("{}")

    assert run(str(lock))[0] == 0

    assert b'filename="my %22yarn%22.json"' in api.bodies[UPLOAD]


@pytest.mark.parametrize("broken", [LOGIN, UPLOAD, LOOK, RETRY])
@pytest.mark.parametrize("document", [[], {"expires_in": 9}, b"<html>"])
def test_an_answer_that_is_not_lockkeepers_is_one_line(
    api: Api, run: Run, broken: str, document: Any
) -> None:
    api.answers[broken] = [(200, document)]

    code, said = run()

    assert code in {1, 3}
    assert [line for line in said if line.startswith("FAILED: ")] == said[-1:]
    assert not any("Traceback" in line for line in said)


@pytest.mark.parametrize("text", ["{", "{}", '{"user": 3}'])
def test_credentials_that_cannot_be_read_are_one_line(
    api: Api, copy: Path, run: Run, text: str
) -> None:
    (copy / ".lockkeeper" / "credentials.json").write_text(text)

    code, said = run()

    assert code in {1, 2}
    assert len(said) == 1
    assert said[0].startswith("FAILED: ")


@pytest.mark.slow
def test_who_reads_no_further_breaks_nothing(api: Api, copy: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = started(copy, api, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)

    _, errors = process.communicate(timeout=30)

    assert (process.returncode, errors) == (1, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_who_is_interrupted_cleans_up(api: Api, copy: Path, number: int, code: int) -> None:
    api.answers[LOOK] = [look(0)]
    process = started(copy, api, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert api.looked.wait(20)

    process.send_signal(number)

    said, _ = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert said.splitlines()[-2:] == ["clean up: request 7 is withdrawn", "clean up: signed out"]
    assert api.asked[-2:] == [WITHDRAW, LOGOUT]
