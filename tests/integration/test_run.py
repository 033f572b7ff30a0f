"""``lockkeeper up`` from end to end: real processes, a real database, a registry on 127.0.0.1."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import (
    REPOSITORY,
    Finished,
    House,
    all_gone,
    environment,
    error_line,
    errors_of,
    interrupt,
    lockkeeper,
    publish,
    starting,
    up,
    write_lock,
)
from tests.conftest import open_directory
from tests.registry_server import Answer, RegistryServer, Request, integrity, tarball_path

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
    pytest.mark.timeout(180),
]


class Noticed(list[Request]):
    """Requests that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def append(self, request: Request) -> None:
        with self._changed:
            super().append(request)
            self._changed.notify_all()

    def wait_for(self, path: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: any(r.path == path for r in self), timeout=60)


@dataclass(frozen=True)
class Place:
    """A registry, a folder for data, and one lock file: two packages, one twice, one exclusion."""

    registry: RegistryServer
    requests: Noticed
    directory: Path
    env: dict[str, str]
    lock: Path

    @property
    def data(self) -> Path:
        return self.directory / "data"


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    requests = Noticed()
    with open_directory() as directory, RegistryServer(requests=requests) as registry:
        left = publish(registry, "left-oar", "1.0.0")
        keel = publish(registry, "@boat/keel", "2.0.0", license="AGPL-3.0-only")
        entries: dict[str, dict[str, Any]] = {
            "left-oar": left,
            "@boat/keel": keel,
            "@boat/keel/node_modules/left-oar": left,
            "anchor": {"resolved": "packages/anchor", "link": True},
        }
        lock = write_lock(directory / "package-lock.json", entries)
        env = environment(directory, SOURCE_REPOSITORY_URL=registry.url, WORKER_GRACE_PERIOD="2")
        yield Place(registry, requests, directory, env, lock)


@pytest.fixture(scope="module")
def first(place: Place) -> Finished:
    return lockkeeper("up", place.lock, "--exit", "--json", "--data", place.data, env=place.env)


def result_of(finished: Finished) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(finished.stdout)
    return document


def test_every_entry_of_the_lock_is_found_once_in_the_result(first: Finished) -> None:
    result = result_of(first)
    found = [entry for package in result["packages"] for entry in package["entries"]]
    found += [exclusion["entry"] for exclusion in result["excluded"]]

    assert first.returncode == 0, first.stderr
    assert sorted(found) == [
        "node_modules/@boat/keel",
        "node_modules/@boat/keel/node_modules/left-oar",
        "node_modules/anchor",
        "node_modules/left-oar",
    ]
    assert result["entries"] == len(found)
    assert result["application"] == {"name": "boat", "version": "1.0.0"}
    assert result["seconds"] > 0


def test_the_result_tells_each_verdict(first: Finished) -> None:
    result = result_of(first)
    keel, oar = sorted(result["packages"], key=lambda package: str(package["name"]))

    assert (keel["name"], keel["status"], keel["failure"]) == ("@boat/keel", "Rejected", "policy")
    assert keel["license_identifier"] == "AGPL-3.0-only"
    assert (oar["name"], oar["status"], oar["error"]) == ("left-oar", "Pending Approval", None)
    assert oar["integrity"].startswith("sha512-")
    assert oar["findings"] == []
    assert [source["complete"] for source in oar["coverage"]] == [False]
    assert len(oar["entries"]) == 2
    assert result["counts"] == dict(Counter(p["status"] for p in result["packages"]))
    assert result["excluded"] == [{"entry": "node_modules/anchor", "reason": "link"}]


def test_progress_and_summary_are_told_on_standard_error_without_escape_sequences(
    first: Finished,
) -> None:
    assert "2/2 vetted" in first.stderr
    assert "Excluded (1)" in first.stderr
    assert "\x1b" not in first.stderr
    assert "Packages come from 127.0.0.1:" in first.stderr


@pytest.mark.parametrize("name", ["credentials.json", "jwt-secret", "splunk-key", "task-key"])
def test_secrets_are_readable_for_their_owner_alone(
    first: Finished, place: Place, name: str
) -> None:
    assert stat.S_IMODE((place.data / name).stat().st_mode) == 0o600


def test_no_secret_is_in_the_logs_or_on_standard_error(first: Finished, place: Place) -> None:
    accounts = json.loads((place.data / "credentials.json").read_text()).values()
    secrets = [account["password"] for account in accounts]
    secrets += [
        (place.data / name).read_text() for name in ("jwt-secret", "splunk-key", "task-key")
    ]
    secrets.append((place.data / "postgres.password").read_text().strip())
    said = first.stderr + first.stdout
    said += "".join(log.read_text() for log in (place.data / "log").iterdir())

    assert [secret for secret in secrets if secret in said] == []


@pytest.mark.slow
def test_a_second_run_reuses_data_and_accounts(first: Finished, place: Place) -> None:
    accounts = (place.data / "credentials.json").read_bytes()
    asked = len(place.registry.requests)

    again = lockkeeper("up", place.lock, "--exit", "--json", "--data", place.data, env=place.env)

    assert again.returncode == 0, again.stderr
    assert result_of(again)["counts"] == result_of(first)["counts"]
    assert result_of(again)["request_id"] > result_of(first)["request_id"]
    assert len(place.registry.requests) == asked
    assert (place.data / "credentials.json").read_bytes() == accounts


@pytest.mark.slow
def test_a_package_that_fails_in_processing_makes_the_exit_code_one(place: Place) -> None:
    entry = publish(place.registry, "rudder", "1.0.0") | {"integrity": integrity(b"other bytes")}
    lock = write_lock(place.directory / "other.json", {"rudder": entry})

    finished = lockkeeper("up", lock, "--exit", "--json", "--data", place.data, env=place.env)

    (package,) = result_of(finished)["packages"]
    assert finished.returncode == 1
    assert (package["status"], package["failure"]) == ("Rejected", "permanent")
    assert finished.stderr.splitlines()[-1] == "lockkeeper: 1 package failed in processing"


@pytest.mark.slow
def test_what_is_no_lock_file_is_refused_in_the_servers_words(place: Place) -> None:
    lock = place.directory / "nonsense.json"
    lock.write_text('{"lockfileVersion": 3, "lockfileVersion": 2}')

    finished = lockkeeper("up", lock, "--data", place.data, env=place.env)

    assert finished.returncode == 1
    assert "lockfileVersion" in finished.stderr.splitlines()[-1]
    assert "Traceback" not in finished.stderr


def test_a_file_that_is_missing_is_told_before_anything_starts(place: Place) -> None:
    finished = lockkeeper("up", "no-such.json", "--data", place.data, env=place.env)

    assert finished.returncode == 2
    assert error_line(finished) == "cannot read no-such.json: No such file or directory"


@pytest.fixture
def house(place: Place) -> Iterator[House]:
    with up(place.data, place.lock, env=place.env) as house:
        yield house


def test_ctrl_c_stops_everything_cleanly(house: House) -> None:
    with all_gone(house.processes()):
        assert len(house.processes()) >= 3  # database, API, worker, and children of theirs

        assert interrupt(house.process) == 0

    assert "worker.stopped" in (house.data / "log" / "worker.log").read_text()


def test_killing_it_leaves_nothing_behind(house: House) -> None:
    with all_gone(house.processes()):
        house.process.kill()


def kill_part(house: House, part: str) -> None:
    victims = (p for p, line in house.processes().items() if line.rstrip().endswith(f"cli {part}"))
    os.kill(min(victims), signal.SIGKILL)


@pytest.mark.slow
def test_an_api_that_dies_is_named_and_the_rest_is_stopped(house: House) -> None:
    with all_gone(house.processes()):
        kill_part(house, "api")

        assert house.process.wait(timeout=60) == 1

    said = errors_of(house.data).read_text()
    assert "the api was killed by signal 9" in said.splitlines()[-1]
    assert "api | " in said


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_is_started_again_and_no_package_is_lost(
    place: Place,
) -> None:
    entries = {f"rope-{n}": publish(place.registry, f"rope-{n}", "1.0.0") for n in range(12)}
    caught = tarball_path("rope-3", "1.0.0")
    place.registry.once(caught, Answer(silent=True))
    lock = write_lock(place.directory / "ropes.json", entries)
    env = {**place.env, "LEASE_TTL": "2"}
    with starting(place.data, lock, "--exit", "--json", env=env) as process:
        place.requests.wait_for(caught)
        kill_part(House(process, "", place.data, env), "worker")
        result = json.loads(process.communicate(timeout=90)[0])

    assert process.returncode == 0
    assert result["counts"] == {"Pending Approval": 12}
    assert "killed by signal 9: starting it again" in errors_of(place.data).read_text()


@pytest.mark.slow
def test_a_signal_in_the_middle_of_vetting_stops_everything(place: Place) -> None:
    entry = publish(place.registry, "mast", "1.0.0")
    path = tarball_path("mast", "1.0.0")
    place.registry.answer(path, Answer(silent=True))
    lock = write_lock(place.directory / "slow.json", {"mast": entry})
    with starting(place.data, lock, "--json", env=place.env) as process:
        place.requests.wait_for(path)
        house = House(process, "", place.data, place.env)
        with all_gone(house.processes()):
            assert interrupt(process, signal.SIGTERM) == 128 + signal.SIGTERM

        assert process.stdout is not None
        assert process.stdout.read() == ""


@pytest.mark.slow
def test_two_that_start_at_once_in_two_folders_do_not_take_each_others_port(
    place: Place, first: Finished
) -> None:
    other = place.directory / "other"
    with (
        starting(place.data, place.lock, "--exit", "--json", env=place.env) as one,
        starting(other, place.lock, "--exit", "--json", env=place.env) as two,
    ):
        told = [process.communicate()[0] for process in (one, two)]

        assert [one.returncode, two.returncode] == [0, 0], errors_of(other).read_text()
    assert [json.loads(said)["counts"] for said in told] == [result_of(first)["counts"]] * 2


@pytest.mark.slow
def test_a_setting_that_a_part_refuses_is_wrong_usage_and_shown_with_its_reason(
    place: Place,
) -> None:
    env = place.env | {"SOURCE_REPOSITORY_URL": "nonsense"}
    entry = publish(place.registry, "never-vetted", "1.0.0")
    lock = write_lock(place.directory / "new.json", {"never-vetted": entry})

    finished = lockkeeper("up", lock, "--exit", "--data", place.data, env=env)

    assert finished.returncode == 2
    assert "worker | " in finished.stderr
    assert "it is not an http or https URL" in finished.stderr
    assert finished.stderr.splitlines()[-1].startswith("lockkeeper: the worker ended with code 2")


@pytest.mark.slow
def test_a_port_that_is_taken_is_told(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        finished = lockkeeper("up", place.lock, "--port", port, "--data", place.data, env=place.env)

    assert finished.returncode == 2
    said = finished.stderr.splitlines()[-1]
    assert said == f"lockkeeper: port {port} is taken: name another one with --port"


@pytest.mark.slow
def test_a_second_ctrl_c_stops_at_once(place: Place) -> None:
    entry = publish(place.registry, "boom", "1.0.0")
    path = tarball_path("boom", "1.0.0")
    place.registry.answer(path, Answer(silent=True))
    lock = write_lock(place.directory / "boom.json", {"boom": entry})
    with starting(place.data, lock, env=place.env | {"WORKER_GRACE_PERIOD": "100"}) as process:
        place.requests.wait_for(path)
        with all_gone(House(process, "", place.data, place.env).processes()):
            process.send_signal(signal.SIGINT)
            await_words(errors_of(place.data), "Stopping")

            assert interrupt(process) == 128 + signal.SIGINT


def await_words(file: Path, words: str) -> None:
    """Return once the file holds them; the test's time limit is the only reason to give up."""
    while words not in file.read_text():
        pass


@pytest.mark.slow
def test_another_database_is_used_where_one_is_named(place: Place, database_url: str) -> None:
    env = place.env | {"DATABASE_URL": database_url.replace("+psycopg2", "")}
    data = place.directory / "elsewhere"

    finished = lockkeeper("up", place.lock, "--exit", "--json", "--data", data, env=env)

    assert finished.returncode == 0, finished.stderr
    assert result_of(finished)["request_id"] == 1
    assert not (data / "postgres").exists()


def test_the_script_starts_up_in_the_callers_folder_with_data_beside_itself(
    tmp_path: Path,
) -> None:
    repository, elsewhere = tmp_path / "a repository", tmp_path / "elsewhere"
    for folder in (repository / "scripts", repository / ".venv" / "bin", elsewhere):
        folder.mkdir(parents=True)
    script = repository / "scripts" / "run"
    programs = {
        script: (REPOSITORY / "scripts" / "run").read_text(),
        repository / "scripts" / "bootstrap": "#!/bin/sh\n",
        repository / ".venv" / "bin" / "lockkeeper": '#!/bin/sh\npwd -P\nprintf "%s\\n" "$@"\n',
    }
    for program, text in programs.items():
        program.write_text(text)
        program.chmod(0o755)

    answer = subprocess.run(
        [script, "my lock.json", "--exit"],
        cwd=elsewhere, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert answer.stdout.splitlines() == [
        str(elsewhere), "up", "--data", f"{repository}/.lockkeeper", "my lock.json", "--exit",
    ]  # fmt: skip
