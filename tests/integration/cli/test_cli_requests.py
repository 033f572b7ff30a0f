"""``submit``, ``status``, ``retry`` and ``token`` against a house that is running."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import (
    Finished,
    House,
    environment,
    error_line,
    lockkeeper,
    publish,
    up,
    write_lock,
)
from tests.conftest import open_directory
from tests.registry_server import RegistryServer, integrity, npm_package, tarball_path

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
    pytest.mark.timeout(180),
]


@pytest.fixture(scope="module")
def registry() -> Iterator[RegistryServer]:
    with RegistryServer() as registry:
        yield registry


@pytest.fixture(scope="module")
def house(registry: RegistryServer) -> Iterator[House]:
    with open_directory() as directory:
        env = environment(directory, SOURCE_REPOSITORY_URL=registry.url)
        lock = write_lock(directory / "lock.json", {"oar": publish(registry, "oar", "1.0.0")})
        with up(directory / "data", lock, env=env) as house:
            yield house


@pytest.fixture(scope="module")
def token(house: House) -> str:
    return house.token()


@pytest.fixture
def good(registry: RegistryServer, tmp_path: Path) -> Path:
    return write_lock(tmp_path / "good.json", {"oar": publish(registry, "oar", "1.0.0")})


@pytest.fixture
def blocked(registry: RegistryServer, tmp_path: Path) -> Path:
    keel = publish(registry, "keel", "1.0.0", license="AGPL-3.0-only")
    return write_lock(tmp_path / "blocked.json", {"keel": keel})


def parsed(finished: Finished) -> Any:
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_a_submission_answers_at_once_with_its_request(
    house: House, token: str, good: Path
) -> None:
    answer = parsed(house.command("submit", good, "--json", token=token))

    assert answer["status"] == "queued"
    assert answer["packages"] == 1
    assert parsed(house.command("status", str(answer["request_id"]), "--json", token=token))


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ([], 0, ""),
        (["--fail-on", "rejected"], 1, "lockkeeper: 1 package rejected\n"),
        (["--fail-on", "pending"], 0, ""),
    ],
)
def test_a_refused_package_fails_a_wait_only_where_that_is_asked_for(
    house: House, token: str, blocked: Path, options: list[str], code: int, said: str
) -> None:
    finished = house.command("submit", blocked, "--wait", "--json", *options, token=token)

    assert finished.returncode == code
    assert finished.stderr.endswith(said)
    assert json.loads(finished.stdout)["counts"] == {"Rejected": 1}


def test_a_package_that_waits_for_a_person_fails_a_wait_that_forbids_it(
    house: House, token: str, good: Path
) -> None:
    finished = house.command("submit", good, "--wait", "--fail-on", "pending", token=token)

    assert finished.returncode == 1
    assert "1 Pending Approval" in finished.stdout


def test_what_failed_can_be_retried_and_watched_to_its_end(
    house: House, token: str, registry: RegistryServer, tmp_path: Path
) -> None:
    wrong = npm_package("sail", "1.0.0", license="ISC")
    registry.publish("sail", "1.0.0", wrong, license="ISC")
    right = npm_package("sail", "1.0.0", license="ISC", description="mended")
    entry = {"version": "1.0.0", "integrity": integrity(right)}
    lock = write_lock(tmp_path / "sail.json", {"sail": entry})
    failed = house.command("submit", lock, "--wait", "--json", token=token)
    request = str(json.loads(failed.stdout)["request_id"])
    assert failed.returncode == 1
    registry.publish("sail", "1.0.0", right, license="ISC")

    retried = house.command("retry", request, token=token)
    watched = house.command("status", request, "--watch", token=token)

    assert retried.stdout == "1 packages queued again.\n"
    assert watched.returncode == 0, watched.stderr
    assert "1 Pending Approval" in watched.stdout
    assert registry.requested(tarball_path("sail", "1.0.0")) == 2


def test_the_evidence_of_a_request_is_written_and_verified_where_no_server_is(
    house: House, token: str, good: Path, tmp_path: Path
) -> None:
    request = parsed(house.command("submit", good, "--wait", "--json", token=token))["request_id"]
    file = tmp_path / "evidence.zip"

    written = house.command("evidence", str(request), "-o", file, token=token)
    again = house.command("evidence", "export", str(request), "-o", file, token=token)
    whole = lockkeeper("evidence", "verify", file, env=environment(tmp_path))
    why = house.command("why", str(request), "oar", token=token)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    altered = lockkeeper("evidence", "verify", file, env=environment(tmp_path))

    assert written.returncode == 0, written.stderr
    assert (again.returncode, error_line(again)) == (2, f"cannot write {file}: File exists")
    assert whole.stdout.startswith(f"whole: evidence of request {request} (")
    assert why.stdout == "The lock names pkg:npm/oar@1.0.0, and nothing in the lock asks for it.\n"
    assert altered.returncode == 1
    assert str(file) in error_line(altered)


def test_the_newest_request_is_the_first_of_the_list(
    house: House, token: str, tmp_path: Path, registry: RegistryServer
) -> None:
    lock = write_lock(tmp_path / "l.json", {"oar": publish(registry, "oar", "1.0.0")}, name="canoe")
    house.command("submit", lock, token=token)

    listed = house.command("status", token=token)

    assert listed.returncode == 0
    assert "canoe 1.0.0" in listed.stdout.splitlines()[3]
    newest = parsed(house.command("status", "--json", token=token))["requests"][0]
    assert newest["application_name"] == "canoe"


def test_a_token_is_printed_alone_and_a_wrong_password_is_one_line(house: House) -> None:
    token = house.token("admin")
    wrong = house.command("token", "admin", input="not the password\n")

    assert parsed(house.command("status", "--json", token=token))["requests"]
    assert wrong.returncode == 1
    assert error_line(wrong) == "The username or the password is wrong."
    assert wrong.stdout == ""


def test_a_second_house_in_the_same_folder_gets_one_clear_line(house: House, good: Path) -> None:
    second = lockkeeper("up", good, "--exit", "--data", house.data, env=house.env)

    assert second.returncode == 1
    assert f"{house.data} is in use by process {house.process.pid}" in error_line(second)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status", "999999"], "There is no request 999999."),
        (["retry"], "Only an admin may retry every request: name a request_id."),
        (["submit", "/dev/null"], "is not an npm lock file: it is empty"),
    ],
)
def test_what_the_server_refuses_is_its_own_sentence(
    house: House, token: str, arguments: list[str], said: str
) -> None:
    finished = house.command(*arguments, token=token)

    assert finished.returncode == 1
    assert said in error_line(finished)


def test_a_token_that_is_not_valid_is_told_with_what_to_do(house: House) -> None:
    finished = house.command("status", token="nonsense")

    assert finished.returncode == 1
    assert error_line(finished).endswith("Get a token with `lockkeeper token NAME`.")
