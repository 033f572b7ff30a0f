"""The unprivileged user that the server runs as when we are root, and the places it can reach.

PostgreSQL refuses to run as root. Nobody's directory is ever opened up for the dropped user:
what lies behind a closed directory is kept, or copied, below ``SYSTEM_HOME`` instead.
"""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.embedded.errors import EmbeddedError
from backend.embedded.installation import Installation

SYSTEM_HOME = Path("/var/lib/lockkeeper")

_PREFERRED_USERS = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """A user by number: a data directory may belong to one that has no name any more."""

    uid: int
    gid: int

    def can_enter(self, directory: Path) -> bool:
        return self._succeeds("/bin/sh", "-c", 'cd -- "$1"', "sh", str(directory))

    def can_execute(self, program: Path) -> bool:
        return self._succeeds(str(program), "--version")

    def take(self, path: Path) -> None:
        os.chown(path, self.uid, self.gid)

    def _succeeds(self, *command: str) -> bool:
        try:
            done = subprocess.run(command, check=False, **process_arguments(self))
        except PermissionError:
            return False
        return done.returncode == 0


def process_arguments(account: Account | None) -> dict[str, Any]:
    """Arguments for ``subprocess`` that run a program quietly as ``account`` (None: as ourselves).

    The environment is built by us: no secret of the owner and no ``PG*`` variable reaches it.
    """
    arguments: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "cwd": "/",  # the present one may be closed to the account
        "env": {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
    }
    if account:
        arguments |= {"user": account.uid, "group": account.gid, "extra_groups": []}
    return arguments


def account_for(data_dir: Path) -> Account | None:
    """Who runs the server of ``data_dir``: ourselves (None), or as root an unprivileged user.

    Raises:
        EmbeddedError: we are root and the host has no user to drop to.
    """
    if os.geteuid() != 0:
        return None
    with suppress(FileNotFoundError):
        found = data_dir.stat()
        if found.st_uid != 0:
            return Account(found.st_uid, found.st_gid)
    for name in _PREFERRED_USERS:
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            return Account(user.pw_uid, user.pw_gid)
    raise EmbeddedError(
        "PostgreSQL refuses to run as root, and there is no user 'postgres' or 'nobody':"
        " create one, or run as an ordinary user"
    )


def reachable_data_dir(data_dir: Path, account: Account | None) -> Path:
    """Where the data really lives: ``data_dir``, or a directory that the account can enter.

    In the second case ``data_dir`` becomes a symbolic link to it, so that the next start finds it.
    """
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        data_dir.rmdir()  # an empty one holds no place that was chosen for its data
    if data_dir.exists() or account is None or account.can_enter(data_dir.parent):
        return data_dir.resolve()
    SYSTEM_HOME.mkdir(parents=True, exist_ok=True)
    SYSTEM_HOME.chmod(0o711)
    home = Path(tempfile.mkdtemp(prefix=f"{data_dir.name}-", dir=SYSTEM_HOME))
    home.chmod(0o711)
    data_dir.unlink(missing_ok=True)  # a link whose target is gone
    data_dir.symlink_to(home / "data")
    return home / "data"


def reachable_installation(installation: Installation, account: Account | None) -> Installation:
    """The installation itself, or a copy below ``SYSTEM_HOME`` that the account may execute."""
    postgres = installation.bin / "postgres"
    if account is None or account.can_execute(postgres):
        return installation
    root = installation.bin.parent
    state = postgres.stat()
    identity = f"{root}:{state.st_size}:{state.st_mtime_ns}".encode()
    digest = hashlib.sha256(identity).hexdigest()[:16]
    copy = SYSTEM_HOME / f"server-{installation.major}-{digest}"
    if not copy.exists():
        _copy_installation(root, copy)
    binaries = copy / root.parent.name / root.name / "bin"
    return Installation(binaries, installation.major)


def _copy_installation(root: Path, copy: Path) -> None:
    """Copy ``root`` and the shared libraries that a wheel keeps in ``<package>.libs`` beside it."""
    package = root.parent
    SYSTEM_HOME.mkdir(parents=True, exist_ok=True)
    SYSTEM_HOME.chmod(0o711)
    draft = Path(tempfile.mkdtemp(prefix=f"{copy.name}.", dir=SYSTEM_HOME))
    try:
        shutil.copytree(
            root,
            draft / package.name / root.name,
            ignore=shutil.ignore_patterns("*.a", "include"),
        )
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, draft / libraries.name)
        for path in (draft, *draft.rglob("*")):
            _open_to_readers(path)
        with suppress(OSError):  # another start has made the same copy meanwhile
            draft.rename(copy)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _open_to_readers(path: Path) -> None:
    """Give everybody the owner's right to read and execute, whatever the umask took away."""
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)
