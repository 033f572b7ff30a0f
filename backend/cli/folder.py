"""The folder of one ``lockkeeper up``: database, cache, logs and secrets; one owner at a time."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backend.cli.errors import CommandError

_MIN_SECRET = 32  # characters; the API refuses a shorter one


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of one of our own accounts. ``password`` is what we made it with."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class Folder:
    """``path`` is absolute; all else lies below it. Files with secrets are for the owner alone."""

    path: Path

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def storage(self) -> Path:
        return self.path / "storage"

    @property
    def trivy(self) -> Path:
        return self.path / "trivy"

    def log(self, name: str) -> Path:
        """The log of part ``name``; that of the run before is kept beside it as ``.old``."""
        return self.path / "log" / f"{name}.log"

    def signing_secret(self) -> str:
        """What signs access tokens; made once."""
        return self._secret("jwt-secret")

    def webhook_key(self) -> str:
        """What the secrets of webhooks follow from; made once."""
        return self._secret("webhook-key")

    def splunk_key(self) -> str:
        """What archives are encrypted by; made once."""
        return self._secret("splunk-key")

    def task_key(self) -> str:
        """The key that seals the parameters of tasks."""
        return self._secret("task-key")

    def _secret(self, name: str) -> str:
        file = self.path / name
        known = file.read_text().strip() if file.exists() else ""
        if len(known) >= _MIN_SECRET:
            return known
        made = secrets.token_hex(32)
        _write_private(file, made)
        return made

    def audit_key(self) -> Path:
        """The private key that signs the audit log's seals; made once."""
        from backend.audit import signing

        file = self.path / "audit-key.pem"
        if not file.exists():
            _write_private(file, signing.new_key())
        return file

    def credentials(self) -> dict[str, Credentials]:
        """Our accounts by role; empty the first time.

        Raises:
            CommandError: the file was edited into something else.
        """
        if not self.credentials_file.exists():
            return {}
        try:
            kept = json.loads(self.credentials_file.read_text())
            return {
                role: Credentials(str(account["username"]), str(account["password"]))
                for role, account in kept.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CommandError(f"{self.credentials_file} is damaged: remove it") from None

    def keep_database_url(self, url: str) -> None:
        """Of the embedded database in this run: for `lockkeeper doctor`, and for psql."""
        _write_private(self.path / "database-url", f"{url}\n")

    def keep_credentials(self, accounts: dict[str, Credentials]) -> None:
        document = {
            role: {"username": account.username, "password": account.password}
            for role, account in accounts.items()
        }
        _write_private(self.credentials_file, json.dumps(document, indent=2) + "\n")

    @property
    def credentials_file(self) -> Path:
        return self.path / "credentials.json"


@contextmanager
def owned_folder(path: Path) -> Iterator[Folder]:
    """Make the folder where it is missing, and own it until the end of the block.

    Raises:
        CommandError: another process owns it.
    """
    path = path.absolute()
    (path / "log").mkdir(parents=True, exist_ok=True)
    ignore = path / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")  # the lock file's own repository is no place for any of this
    lock = os.open(path / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _own(lock, path)
        yield Folder(path)
    finally:
        os.close(lock)


def _own(lock: int, path: Path) -> None:
    """The kernel lets go of it when we die, however we die."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 20, 0).decode(errors="replace").strip()
        who = f"process {owner}" if owner else "another process"
        raise CommandError(
            f"{path} is in use by {who}: stop it first, or name another folder with --data"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _write_private(file: Path, text: str) -> None:
    """Replace ``file`` whole, readable for its owner alone from its first moment."""
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(file)
