"""The runbook of backups, carried out: its own commands, on a house that is at work.

``scripts/backup-drill`` runs it by hand; one test runs it in continuous integration.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import psycopg2

from backend.embedded import EmbeddedPostgres, wheel_installations
from backend.workloads.packages.cache import ContentStore
from tests.command_line import House, environment, publish, up, write_lock
from tests.conftest import REPOSITORY, open_directory
from tests.registry_server import RegistryServer

RUNBOOK: Final = REPOSITORY / "docs" / "runbooks" / "backup.md"
STEP: Final = re.compile(
    r"^## ([^\n]+)\n(?:(?!^## ).)*?^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
KEPT: Final = (
    "users", "requests", "packages", "artifacts", "package_status", "request_packages",
    "security_scans", "findings", "artifact_evidence", "attempts", "audit_log", "audit_seals",
)  # fmt: skip
SECRETS: Final = ("jwt-secret", "*-key", "audit-key.pem", "credentials.json")


def steps() -> dict[str, str]:
    """The commands of the runbook, by their headings."""
    return dict(STEP.findall(RUNBOOK.read_text()))


def carry_out(step: str, variables: Mapping[str, str]) -> str:
    """Run one step of the runbook as it stands there; answers what it printed."""
    binaries = wheel_installations()[0].bin
    path = f"{Path(sys.executable).parent}:{binaries}:{os.environ['PATH']}"
    env = {**variables, "PATH": path}
    done = subprocess.run(
        ["sh", "-eu", "-c", steps()[step]],
        env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{step}: {done.stdout}{done.stderr}"
    return done.stdout


def counts(url: str) -> dict[str, int]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        found = {}
        for table in KEPT:
            cursor.execute(f"SELECT count(*) FROM {table}")
            ((found[table],),) = cursor.fetchall()
        return found


def read_back(url: str, cache: Path) -> int:
    """Every artifact whose bytes the database knows, read and hashed; answers how many."""
    store = ContentStore(cache)
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT sha512 FROM artifacts WHERE sha512 IS NOT NULL")
        known = [sha512 for (sha512,) in cursor]
    for sha512 in known:
        store.open_verified(sha512)
    return len(known)


def where(url: str, folder: Path, backup: Path, home: Path) -> dict[str, str]:
    return environment(
        home, DATABASE_URL=url, STORAGE_DIR=str(folder / "storage"),
        PACKAGE_CACHE_DIR=str(folder / "cache"), BACKUP=str(backup),
    )  # fmt: skip


def submitted(house: House, lock: Path) -> dict[str, int]:
    """Upload a lock and wait; answers how many packages stand where."""
    done = house.command("submit", lock, "--wait", "--json", token=house.token())
    assert done.returncode == 0, done.stderr
    told: dict[str, int] = json.loads(done.stdout)["counts"]
    return told


def drill(folder: Path) -> list[str]:
    """Back up a house at work, restore it elsewhere, and work on there; answers what was seen."""
    seen = []
    with RegistryServer() as registry, open_directory() as servers:
        entries = {name: publish(registry, name, "1.0.0") for name in ("hull", "mast", "sail")}
        env = environment(folder, SOURCE_REPOSITORY_URL=registry.url)
        before, after, backup = folder / "before", folder / "after", folder / "backup"
        with up(before, write_lock(folder / "package-lock.json", entries), env=env):
            old = (before / "database-url").read_text().strip()
            (before / "storage").mkdir(exist_ok=True)
            carry_out("Back up", where(old, before, backup, folder))
            there = counts(old)
        seen += [
            f"backed up: {file.name}, {file.stat().st_size} bytes" for file in backup.iterdir()
        ]
        with EmbeddedPostgres(servers / "data", installations=wheel_installations()) as server:
            carry_out("Restore", where(server.url, after, backup, folder))
            looked = carry_out(
                "Look before anybody works", where(server.url, after, backup, folder)
            )
            seen += [f"looked: {line}" for line in looked.splitlines()]
            here = counts(server.url)
            assert here == there, (there, here)
            seen += [f"restored: {table}, {rows} rows" for table, rows in here.items()]
            seen.append(f"read back: {read_back(server.url, after / 'cache')} artifacts")
            for secret in SECRETS:
                for file in before.glob(secret):
                    shutil.copy2(file, after / file.name)
            entries["oar"] = publish(registry, "oar", "1.0.0")
            lock = write_lock(folder / "again-lock.json", entries)
            with up(after, lock, env={**env, "DATABASE_URL": server.url}) as house:
                seen.append(f"worked on: {submitted(house, lock)}")
    return seen


def main() -> int:
    with open_directory() as folder:
        print("\n".join(drill(folder)))  # noqa: T201 - what it is for
    return 0


if __name__ == "__main__":
    sys.exit(main())
