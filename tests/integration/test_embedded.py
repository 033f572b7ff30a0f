"""The embedded server: who may use it, what survives, and what a broken directory is told."""

import os
import pwd
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from backend.embedded import (
    EmbeddedError,
    EmbeddedPostgres,
    Installation,
    account,
    host_installations,
    launch,
    wheel_installations,
)

REPOSITORY = Path(__file__).resolve().parents[2]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs pidfd_open and PDEATHSIG")

OWNER = """
import sys
from pathlib import Path
from backend.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), durable=False)
print(server.start(), server.pid, flush=True)
sys.stdin.read()
server.stop()
"""


def embedded(data_dir: Path, **options: Any) -> EmbeddedPostgres:
    return EmbeddedPostgres(data_dir, durable=False, **options)


def query(url: str, statement: str, **connection_options: Any) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url, **connection_options)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def program(name: str, data_dir: Path) -> str:
    """The wheel's, where the user of ``data_dir`` can run it."""
    user = account.account_for(data_dir)
    return str(account.reachable_installation(wheel_installations()[0], user).bin / name)


@contextmanager
def owner_process(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """Another process that owns a server: the process, the server's URL and its process id.

    It stops its server, and ends, when its standard input is closed at the end of the context.
    """
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, data_dir],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url, pid = process.stdout.readline().split()
        yield process, url, int(pid)


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that other users may enter; pytest's own are closed to them."""
    directory = Path(tempfile.mkdtemp(prefix="lockkeeper-embedded-")).resolve()
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A data directory that was made and stopped; tests copy it instead of making their own."""
    directory = Path(tempfile.mkdtemp(prefix="lockkeeper-embedded-")).resolve()
    directory.chmod(0o755)
    with embedded(directory / "data") as server:
        assert server.running
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def data_dir(made: Path, home: Path) -> Path:
    subprocess.run(["cp", "-a", f"{made}/.", home], check=True)
    return home / "data"


def test_the_wheel_brings_server_binaries_where_they_are_looked_for() -> None:
    found = wheel_installations()

    assert found
    assert found[0].major == max(installation.major for installation in found) >= 18
    for installation in found:
        assert os.access(installation.bin / "postgres", os.X_OK)
        assert os.access(installation.bin / "initdb", os.X_OK)


def test_host_binaries_that_are_on_the_path_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wheel = wheel_installations()[0]
    monkeypatch.setenv("PATH", str(wheel.bin))

    assert wheel in host_installations()


def test_a_fresh_server_is_utf8_checksummed_in_utc_and_durable_and_its_role_is_no_superuser(
    home: Path,
) -> None:
    with EmbeddedPostgres(home / "data") as server:
        shown = {
            name: query(server.url, f"SHOW {name}")[0][0]
            for name in ("server_encoding", "data_checksums", "fsync", "timezone")
        }
        role = query(server.url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        collation = query(server.url, "SELECT datcollate FROM pg_database WHERE NOT datistemplate")

    assert shown == {
        "server_encoding": "UTF8",
        "data_checksums": "on",
        "fsync": "on",
        "timezone": "UTC",
    }
    assert role == [(False,)]
    assert set(collation) == {("C.UTF-8",)}
    assert not server.running


def test_data_survive_a_restart(data_dir: Path) -> None:
    server = embedded(data_dir)
    with server:
        query(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")

    with server:
        assert query(server.url, "SELECT answer FROM kept") == [(42,)]


def test_stopping_twice_or_before_a_start_does_no_harm(data_dir: Path) -> None:
    server = embedded(data_dir)
    server.stop()
    server.start()
    server.stop()
    server.stop()

    assert not server.running


def test_a_stop_does_not_wait_for_clients_that_are_connected(data_dir: Path) -> None:
    server = embedded(data_dir)
    with closing(psycopg2.connect(server.start())) as client, client.cursor() as cursor:
        cursor.execute("SELECT 1")
        server.stop()

        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT 1")


@pytest.mark.parametrize("way", ["tcp", "socket"])
@pytest.mark.parametrize("password", [None, "wrong"])
@pytest.mark.parametrize("user", ["lockkeeper", "postgres"])
def test_nobody_connects_without_the_password(
    running: tuple[str, Path], way: str, password: str | None, user: str
) -> None:
    url, data_dir = running
    host = "127.0.0.1" if way == "tcp" else f"{data_dir}.socket"

    with pytest.raises(psycopg2.OperationalError, match=r"password|fe_sendauth"):
        psycopg2.connect(
            host=host,
            port=urlsplit(url).port,
            user=user,
            dbname="lockkeeper",
            password=password,
            passfile=os.devnull,
        )


def test_the_password_opens_the_unix_socket_too(running: tuple[str, Path]) -> None:
    url, data_dir = running

    assert query(url, "SELECT inet_client_addr()", host=f"{data_dir}.socket") == [(None,)]


@pytest.fixture(scope="module")
def running(made: Path) -> Iterator[tuple[str, Path]]:
    home = Path(tempfile.mkdtemp(prefix="lockkeeper-embedded-")).resolve()
    home.chmod(0o755)
    subprocess.run(["cp", "-a", f"{made}/.", home], check=True)
    server = embedded(home / "data")
    yield server.start(), home / "data"
    server.stop()
    shutil.rmtree(home)


def test_password_data_log_and_socket_are_closed_to_other_users(running: tuple[str, Path]) -> None:
    _, data_dir = running
    modes = {
        suffix: stat.S_IMODE(Path(f"{data_dir}{suffix}").stat().st_mode)
        for suffix in (".password", ".log", ".lock", ".socket", "")
    }

    assert modes == {".password": 0o600, ".log": 0o600, ".lock": 0o600, ".socket": 0o700, "": 0o700}


@as_root
def test_another_local_user_is_refused(running: tuple[str, Path]) -> None:
    url, data_dir = running
    other = pwd.getpwnam("daemon").pw_uid
    assert other != data_dir.stat().st_uid

    def as_other(script: str, *arguments: object) -> int:
        command = ["/bin/sh", "-c", script, "sh", *map(str, arguments)]
        return subprocess.run(
            command,
            user=other,
            group=other,
            extra_groups=[],
            stderr=subprocess.DEVNULL,
            check=False,
        ).returncode

    psql = program("psql", data_dir)
    ask = f"{psql} -w -h $1 -p {urlsplit(url).port} -U lockkeeper -c 'SELECT 1'"
    assert as_other('cat "$1"', f"{data_dir}.password") != 0
    assert as_other('ls "$1"', data_dir) != 0
    assert as_other('ls "$1"', f"{data_dir}.socket") != 0
    assert as_other(f"{psql} --version") == 0, "the refusals below must be the server's"
    assert as_other(ask, "127.0.0.1") != 0
    assert as_other(ask, f"{data_dir}.socket") != 0
    assert as_other(f"PGPASSWORD=guess {ask}", "127.0.0.1") != 0


@on_linux
def test_a_killed_owner_takes_its_server_along_and_the_next_start_finds_the_data(
    data_dir: Path,
) -> None:
    with owner_process(data_dir) as (owner, url, pid):
        query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        server = os.pidfd_open(pid)
        owner.send_signal(signal.SIGKILL)
        gone, _, _ = select.select([server], [], [], 2.0)
        os.close(server)

    assert gone, "the server outlived its owner by two seconds"
    with embedded(data_dir) as restarted:
        assert query(restarted.url, "SELECT answer FROM kept") == [(42,)]


@on_linux
def test_a_server_left_behind_is_stopped_by_the_next_start(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        f"import sys\nsys.platform = 'other'\n{OWNER}"  # where the kernel offers no such signal
    )
    monkeypatch.setitem(globals(), "OWNER", script)
    with owner_process(data_dir) as (owner, url, pid):
        owner.kill()
        owner.wait()
        assert query(url, "SELECT 1") == [(1,)]
        server = os.pidfd_open(pid)

        with embedded(data_dir) as successor:
            gone, _, _ = select.select([server], [], [], 0)
            assert successor.running
    os.close(server)

    assert gone


def test_a_second_owner_is_told_which_process_owns_which_directory(data_dir: Path) -> None:
    with owner_process(data_dir) as (owner, url, _):
        with pytest.raises(EmbeddedError) as refusal:
            embedded(data_dir).start()

        assert str(data_dir) in str(refusal.value)
        assert f"process {owner.pid}" in str(refusal.value)
        assert "\n" not in str(refusal.value)
        assert query(url, "SELECT 1") == [(1,)], "the first one is not disturbed"


@pytest.mark.slow
@pytest.mark.parametrize("process_id", ["999999999", "another program's"])
def test_a_stale_pid_file_is_no_obstacle(data_dir: Path, process_id: str) -> None:
    user = data_dir.stat().st_uid
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, user=user) as other:
        pid = process_id if process_id.isdecimal() else str(other.pid)
        stale = [pid, str(data_dir), "1", "5432", "", "127.0.0.1", "0 0", "ready"]
        (data_dir / "postmaster.pid").write_text("\n".join(stale) + "\n")

        with embedded(data_dir) as server:
            assert server.running


@pytest.mark.slow
@on_linux
def test_a_server_that_somebody_started_by_hand_is_left_alone(data_dir: Path) -> None:
    found = data_dir.stat()
    postgres = program("postgres", data_dir)
    settings = ["--listen_addresses=", f"--unix_socket_directories={data_dir}"]
    with subprocess.Popen(
        [postgres, "-D", str(data_dir), *settings],
        user=found.st_uid,
        group=found.st_gid,
        extra_groups=[],
        stderr=subprocess.PIPE,
        text=True,
    ) as by_hand:
        assert by_hand.stderr is not None
        assert any("ready to accept" in line for line in by_hand.stderr), "it did not start"

        with pytest.raises(EmbeddedError, match=r"postmaster\.pid"):
            embedded(data_dir).start()

        assert by_hand.poll() is None
        by_hand.send_signal(signal.SIGINT)


@pytest.mark.slow
def test_a_port_that_was_taken_meanwhile_is_replaced(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = launch._free_port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        offered = iter([taken.getsockname()[1], free()])
        monkeypatch.setattr(launch, "_free_port", lambda: next(offered))
        with embedded(data_dir) as server:
            assert server.running

    assert next(offered, None) is None


@pytest.mark.slow
def test_a_port_that_was_asked_for_and_is_taken_is_named(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError, match=rf"port {port} is taken"):
            embedded(data_dir, port=port).start()


def test_a_port_that_was_asked_for_is_used(data_dir: Path) -> None:
    port = launch._free_port()
    with embedded(data_dir, port=port) as server:
        assert urlsplit(server.url).port == port


@pytest.mark.slow
@pytest.mark.parametrize("name", ["with spaces, a comma and a \"quote'", "deep" * 30])
def test_any_path_will_do(made: Path, home: Path, name: str) -> None:
    place = home / name
    place.mkdir()
    subprocess.run(["cp", "-a", f"{made}/.", place], check=True)
    with embedded(place / "data") as server:
        sockets = Path((place / "data" / "postmaster.pid").read_text().splitlines()[4])
        assert query(server.url, "SELECT inet_client_addr()", host=str(sockets)) == [(None,)]
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert len(os.fsencode(sockets / ".s.PGSQL.65535")) < 108

    assert not sockets.exists()


@pytest.mark.slow
def test_a_start_that_was_killed_half_way_is_begun_anew(home: Path) -> None:
    draft = home / "data.new"
    draft.mkdir()
    (draft / "PG_VERSION").write_text("18\n")
    (home / "data.password").write_text("of-the-start-that-was-killed\n")
    (home / "data.password").chmod(0o600)

    with embedded(home / "data") as server:
        assert urlsplit(server.url).password == "of-the-start-that-was-killed"
    assert not draft.exists()


@pytest.mark.slow
def test_data_of_another_major_version_are_served_by_the_binaries_of_that_version(
    home: Path,
) -> None:
    newest, *older = wheel_installations()
    if not older:
        pytest.skip("the wheel brings one version only")
    with embedded(home / "data", installations=older):
        pass
    with embedded(home / "data", installations=[newest, *older]) as server:
        shown = query(server.url, "SHOW server_version")[0][0]

    assert shown.startswith(f"{older[0].major}.")


@pytest.mark.slow
def test_data_of_a_version_that_is_not_at_hand_are_refused(data_dir: Path) -> None:
    (data_dir / "PG_VERSION").write_text("14\n")

    with pytest.raises(EmbeddedError, match=r"was made by PostgreSQL 14, and at hand is: 18"):
        embedded(data_dir).start()


def test_without_any_binaries_the_way_out_is_named(home: Path) -> None:
    with pytest.raises(EmbeddedError, match="'embedded' extra or set DATABASE_URL"):
        embedded(home / "data", installations=[]).start()


def _foreign(data_dir: Path) -> None:
    (data_dir / "PG_VERSION").unlink()


def _open_to_others(data_dir: Path) -> None:
    data_dir.chmod(0o755)


def _without_password(data_dir: Path) -> None:
    Path(f"{data_dir}.password").unlink()


def _password_open(data_dir: Path) -> None:
    Path(f"{data_dir}.password").chmod(0o644)


def _password_empty(data_dir: Path) -> None:
    Path(f"{data_dir}.password").write_text("")


def _password_wrong(data_dir: Path) -> None:
    Path(f"{data_dir}.password").write_text("wrong\n")


def _broken_configuration(data_dir: Path) -> None:
    (data_dir / "postgresql.conf").write_text("max_connections = many\n")


def _version_garbled(data_dir: Path) -> None:
    (data_dir / "PG_VERSION").write_text("eighteen\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "explanation"),
    [
        (_foreign, "is not a PostgreSQL data directory"),
        (_open_to_others, "chmod 700"),
        (_without_password, r"data\.password is gone"),
        (_password_open, "chmod 600"),
        (_password_empty, "is empty"),
        (_password_wrong, "password authentication failed"),
        (_broken_configuration, r"PostgreSQL did not start in .*data: .*its log is .*data\.log"),
        (_version_garbled, "does not name a major version"),
    ],
)
def test_what_is_wrong_with_a_directory_is_said_in_one_line(
    data_dir: Path, damage: Any, explanation: str
) -> None:
    damage(data_dir)
    server = embedded(data_dir)

    with pytest.raises(EmbeddedError, match=explanation) as refusal:
        server.start()

    assert "\n" not in str(refusal.value)
    assert not server.running


@pytest.mark.slow
def test_after_the_cause_is_removed_the_same_object_starts(data_dir: Path) -> None:
    server = embedded(data_dir)
    _open_to_others(data_dir)
    with pytest.raises(EmbeddedError):
        server.start()
    data_dir.chmod(0o700)

    server.start()
    assert server.running
    server.stop()


def test_a_file_in_the_way_is_named(home: Path) -> None:
    (home / "file").write_text("")

    with pytest.raises(EmbeddedError, match="file"):
        embedded(home / "file" / "data").start()


def test_a_running_server_cannot_be_started_again(data_dir: Path) -> None:
    with embedded(data_dir) as server, pytest.raises(RuntimeError, match="started already"):
        server.start()


@as_root
def test_as_root_the_server_runs_as_somebody_else_without_our_environment(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_SECRET", "not for the server")
    with embedded(data_dir) as server:
        process = Path(f"/proc/{server.pid}")
        assert process.stat().st_uid == data_dir.stat().st_uid != 0
        assert b"not for the server" not in (process / "environ").read_bytes()
        assert "Groups:\t \n" in (process / "status").read_text()


@pytest.fixture
def system_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(account, "SYSTEM_HOME", home / "var" / "lib" / "lockkeeper")
    return home / "var" / "lib" / "lockkeeper"


@pytest.mark.slow
@as_root
def test_data_below_a_closed_home_are_kept_where_the_server_can_go(
    home: Path, system_home: Path
) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    server = embedded(closed / "state" / "data")
    with server:
        query(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")

    assert (closed / "state" / "data").resolve().is_relative_to(system_home)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    with server:
        assert query(server.url, "SELECT answer FROM kept") == [(42,)]


@pytest.mark.slow
@as_root
def test_binaries_below_a_closed_home_are_copied_once_and_their_parents_stay_closed(
    home: Path, system_home: Path, data_dir: Path
) -> None:
    root = wheel_installations()[0].bin.parent
    package, libraries = root.parent, root.parent.with_name(f"{root.parent.name}.libs")
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(root, closed / package.name / root.name)
    if libraries.is_dir():
        shutil.copytree(libraries, closed / libraries.name)
    installation = Installation(
        closed / package.name / root.name / "bin", wheel_installations()[0].major
    )

    for _ in range(2):
        with embedded(data_dir, installations=[installation]) as server:
            executable = Path(f"/proc/{server.pid}/exe").readlink()

    assert executable.is_relative_to(system_home)
    assert len(list(system_home.iterdir())) == 1
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.slow
@as_root
def test_data_of_an_ordinary_user_are_served_as_that_user(home: Path, data_dir: Path) -> None:
    other = pwd.getpwnam("daemon")
    subprocess.run(["chown", "-R", f"{other.pw_uid}:{other.pw_gid}", data_dir], check=True)

    with embedded(data_dir) as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == other.pw_uid


@as_root
def test_an_ordinary_user_runs_the_server_as_itself(home: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    python = _interpreter_for(nobody)
    own = home / "own"
    own.mkdir()
    os.chown(own, nobody.pw_uid, nobody.pw_gid)
    script = OWNER.replace("sys.stdin.read()", "import os; print(os.stat(sys.argv[1]).st_uid)")

    done = _run_as(nobody, [*python, "-c", script, str(own / "data")])

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(nobody.pw_uid)


def _run_as(user: pwd.struct_passwd, command: list[str]) -> subprocess.CompletedProcess[str]:
    packages = {str(Path(psycopg2.__file__).parents[1]), str(REPOSITORY)}
    return subprocess.run(
        command,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        cwd="/",
        env={"PYTHONPATH": os.pathsep.join(packages), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def _interpreter_for(user: pwd.struct_passwd) -> list[str]:
    """One that ``user`` can run with our packages; root's own often lies in a closed home."""
    same = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(same, path="/usr/local/bin:/usr/bin")):
        if candidate is not None:
            try:
                done = _run_as(user, [candidate, "-c", "import backend.embedded"])
            except PermissionError:
                continue
            if done.returncode == 0:
                return [candidate]
    pytest.skip(f"{user.pw_name} can run no {same} with the packages that are tested")
