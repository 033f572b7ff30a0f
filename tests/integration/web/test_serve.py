import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from backend.settings import PortTaken
from backend.web import serve
from backend.web.serve import free_port
from tests.callers import SIGNING_KEY

TOKEN = "a-token-of-the-scraper"
SCRAPER = {"Authorization": f"Bearer {TOKEN}"}


def command(**environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "backend.web.serve"],
        env={"PATH": os.environ["PATH"], **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def serving(port: int, engine: Engine, **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = command(
        DATABASE_URL=engine.url.render_as_string(hide_password=False),
        JWT_SECRET=SIGNING_KEY,
        API_PORT=str(port),
        **environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def get(process: subprocess.Popen[str], url: str) -> dict[str, object]:
    """Ask until it answers; its end is the only reason to give up before the test's time limit."""
    while process.poll() is None:
        try:
            with urlopen(url, timeout=5) as answer:
                document: dict[str, object] = json.load(answer)
                return document
        except (URLError, ConnectionError):
            continue
    pytest.fail(f"the server ended with {process.returncode}")


@pytest.mark.parametrize("processes", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_the_server_answers_and_ends_cleanly_on_sigterm(engine: Engine, processes: str) -> None:
    port = free_port("127.0.0.1", 0)
    with serving(port, engine, API_PROCESSES=processes) as process:
        assert get(process, f"http://127.0.0.1:{port}/health") == {"status": "ok"}

        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=20) == 0


@pytest.mark.parametrize(
    ("secret", "complaint"), [("", "JWT_SECRET is not set"), ("change-me" * 5, "example")]
)
def test_a_server_without_a_real_secret_refuses_to_start(
    engine: Engine, secret: str, complaint: str
) -> None:
    url = engine.url.render_as_string(hide_password=False)
    process = command(DATABASE_URL=url, JWT_SECRET=secret)

    _, errors = process.communicate(timeout=30)

    assert process.returncode == 2
    assert complaint in errors
    assert len(errors.splitlines()) == 1
    assert secret == "" or secret not in errors


def test_workers_end_when_their_server_is_killed(engine: Engine) -> None:
    port = free_port("127.0.0.1", 0)
    with serving(port, engine) as process:
        get(process, f"http://127.0.0.1:{port}/health")

        process.kill()

        assert process.stderr
        process.stderr.read()  # ends when nobody holds the other end any more
    assert free_port("127.0.0.1", port) == port


def counted(port: int) -> tuple[float, float]:
    """Requests of /health, by their counter and by their histogram."""
    request = Request(f"http://127.0.0.1:{port}/metrics", headers=SCRAPER)
    with urlopen(request, timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    values = {
        sample.name: sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("route") == "/health" and "le" not in sample.labels
    }
    return (
        values["lockkeeper_http_requests_total"],
        values["lockkeeper_http_request_duration_seconds_count"],
    )


def processes_that_counted(directory: Path) -> int:
    return len(list(directory.glob("lockkeeper-metrics-*/counter_*.db")))


def test_requests_are_counted_over_all_processes_and_nothing_is_left_behind(
    engine: Engine, tmp_path: Path
) -> None:
    port = free_port("127.0.0.1", 0)
    environment = {"METRICS_TOKEN": TOKEN, "TMPDIR": str(tmp_path)}
    with serving(port, engine, API_PROCESSES="2", **environment) as process:
        asked = 0
        while asked < 20 or processes_that_counted(tmp_path) < 2:
            get(process, f"http://127.0.0.1:{port}/health")
            asked += 1

        assert {counted(port) for _ in range(5)} == {(asked, asked)}

        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no such claim")
def test_of_two_that_found_the_same_port_free_one_alone_serves() -> None:
    with serve.claimed("127.0.0.1", 8000):
        with pytest.raises(PortTaken, match="API_PORT"), serve.claimed("127.0.0.1", 8000):
            pass
        with serve.claimed("127.0.0.1", 8001), serve.claimed("127.0.0.2", 8000):
            pass
    with serve.claimed("127.0.0.1", 8000):
        pass


def test_a_port_that_is_taken_has_an_exit_code_of_its_own(engine: Engine) -> None:
    """It may be taken for a moment only: who chose the port tries another one."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        serving(taken.getsockname()[1], engine) as process,
    ):
        _, errors = process.communicate(timeout=30)

    assert process.returncode == PortTaken.exit_code
    assert errors.startswith("lockkeeper: API_HOST, API_PORT: 127.0.0.1:")
    assert len(errors.splitlines()) == 1


def test_a_worker_that_is_killed_is_replaced_and_the_server_answers_on(
    engine: Engine, tmp_path: Path
) -> None:
    port = free_port("127.0.0.1", 0)
    environment = {"METRICS_TOKEN": TOKEN, "TMPDIR": str(tmp_path), "LOG_LEVEL": "WARNING"}
    with serving(port, engine, API_PROCESSES="2", **environment) as process:

        def get_from(processes: int) -> None:
            while processes_that_counted(tmp_path) < processes:
                assert get(process, f"http://127.0.0.1:{port}/health") == {"status": "ok"}

        get_from(processes=2)
        (counts, _) = tmp_path.glob("lockkeeper-metrics-*/counter_*.db")

        os.kill(int(counts.stem.removeprefix("counter_")), signal.SIGKILL)

        get_from(processes=3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
