"""News for many: advisories imported, and every known package looked at, in one pass.

    python -m tests.benchmark.advisories [--packages 100000] [--records 20000]

Packages are published, each with a scan of its own; one in fifty bundles another. Of the records
half name a known package: one in five of those packages is hit, the others have a version that the
range leaves out or are repaired. The first import finds all that is new; the second one, of
the same records, finds nothing and looks at everything again.
"""

import argparse
import json
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any, Final

from backend.db import Sessions, make_engine, make_sessions
from backend.migrations.run import upgrade
from backend.workloads.packages.advisories import importing, reading
from tests.benchmark.server import Database, Server

VERSIONS: Final = 4  # of each name
TARGET_SECONDS: Final = 60

SEED: Final = (
    """
INSERT INTO packages (ecosystem, name, version, purl)
SELECT 'npm', name, version, 'pkg:npm/' || name || '@' || version
FROM (SELECT 'bench-' || n / %(versions)s AS name, 1 + n %% %(versions)s || '.2.3' AS version
      FROM generate_series(0, %(packages)s - 1) n) given
""",
    """
INSERT INTO artifacts (package_id, integrity, sha512, checked)
SELECT id, 'sha512-' || id, encode(sha512(convert_to(id::text, 'UTF8')), 'hex'), 'sha512'
FROM packages
""",
    """
INSERT INTO artifact_evidence (artifact_id, inspection)
SELECT a.id, jsonb_build_object('name', p.name, 'version', p.version,
  'licence_files', (SELECT jsonb_agg(md5(n::text)) FROM generate_series(a.id, a.id + 100) n),
  'components', CASE WHEN a.id %% 50 = 0 THEN jsonb_build_array(jsonb_build_object(
      'name', 'bench-' || a.id / 7, 'version', '1.2.3')) ELSE '[]' END)
FROM artifacts a JOIN packages p ON p.id = a.package_id
""",
    """
INSERT INTO package_status (artifact_id, status, completed_at)
SELECT id, 'Pending Approval', now() FROM artifacts
""",
    """
INSERT INTO security_scans (artifact_id, result, score, coverage, notes)
SELECT id, 'clean', 100, '[]', '{}' FROM artifacts
""",
    """
INSERT INTO findings (scan_id, advisory, aliases, kind, severity, title, fixed, source, component)
SELECT s.id, 'GHSA-known', '{}', 'vulnerability', 'low', 'known', '{}', 'osv', p.purl
FROM security_scans s JOIN artifacts a ON a.id = s.artifact_id
JOIN packages p ON p.id = a.package_id
WHERE s.id %% 10 = 0
""",
)
DECIDE: Final = """
UPDATE package_status SET status = 'Rejected', failure = 'policy', failed_from = 'Requested'
WHERE artifact_id %% 10 <> 0
"""


def lay(database: Database, packages: int) -> None:
    """One package in ten waits for a person; the rest has been decided."""
    with database.cursor() as cursor:
        for statement in (*SEED, DECIDE):
            cursor.execute(statement, {"packages": packages, "versions": VERSIONS})
        cursor.execute("VACUUM (ANALYZE)")


def record(number: int, *, names: int) -> dict[str, Any]:
    """Even ones are about known names; of those every other one repairs what is known."""
    known = number % 2 == 0
    name = f"bench-{number // 2 % names}" if known else f"strange-{number}"
    fixed = "2.0.0" if number % 4 == 0 else "1.0.0"
    return {
        "id": f"GHSA-{number:08d}",
        "modified": "2026-01-02T03:04:05Z",
        "aliases": [f"CVE-2026-{number:08d}"],
        "summary": "a benchmark's advisory",
        "database_specific": {"severity": "HIGH"},
        "affected": [
            {
                "package": {"ecosystem": "npm", "name": name},
                "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": fixed}]}],
            }
        ],
    }


def write_feed(path: Path, records: int, *, names: int) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(records):
            document = json.dumps(record(number, names=names))
            archive.writestr(f"GHSA-{number:08d}.json", document)


def timed(sessions: Sessions, feed: Path, name: str) -> dict[str, float]:
    """Seconds of reading and of the one transaction, and what it did."""
    started = time.perf_counter()
    with reading.from_path(feed) as records:
        between = time.perf_counter()
        with sessions.begin() as session:
            done = importing.store(session, records)
    ended = time.perf_counter()
    return {
        f"{name}_read_s": between - started,
        f"{name}_pass_s": ended - between,
        f"{name}_total_s": ended - started,
        f"{name}_checked": done.checked,
        f"{name}_raised": done.raised,
        f"{name}_reopened": done.reopened,
    }


def measure(database: Database, *, packages: int, records: int) -> dict[str, float]:
    """Figures by name, of a fresh, empty database."""
    upgrade(database.url)
    lay(database, packages)
    engine = make_engine(database.url, application_name="benchmark")
    sessions = make_sessions(engine)
    try:
        with tempfile.TemporaryDirectory(prefix="lockkeeper-bench-") as folder:
            feed = Path(folder, "feed.zip")
            write_feed(feed, records, names=packages // VERSIONS)
            return {**timed(sessions, feed, "first"), **timed(sessions, feed, "again")}
    finally:
        engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--packages", type=int, default=100_000)
    parser.add_argument("--records", type=int, default=20_000)
    wished = parser.parse_args()
    with Server() as server, server.empty() as database:
        figures = measure(database, packages=wished.packages, records=wished.records)
    figures["target_s"] = TARGET_SECONDS
    print(json.dumps(figures, indent=2))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
