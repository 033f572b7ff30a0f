"""What people ask about advisories and flags: reads only."""

from typing import Any, Final

from backend.autocommit import Autocommit, Statement
from backend.workloads.packages.advisories.flagging import STANDING

STATUS: Final = Statement(f"""
SELECT count(*) FILTER (WHERE NOT withdrawn) AS records,
  count(*) FILTER (WHERE withdrawn) AS withdrawn,
  count(*) FILTER (WHERE NOT withdrawn AND starts_with(id, 'MAL-')) AS malware,
  (SELECT count(DISTINCT name) FROM advisory_packages) AS packages,
  (SELECT newest FROM advisory_imports ORDER BY id DESC LIMIT 1) AS newest,
  (SELECT count(*) FROM artifacts WHERE merged_into IS NULL) AS artifacts,
  (SELECT count(*) FROM artifacts WHERE merged_into IS NULL AND created_at > (
    SELECT imported_at FROM advisory_imports ORDER BY id DESC LIMIT 1)) AS unchecked,
  (SELECT count(DISTINCT g.artifact_id)
    FROM advisory_flags g JOIN advisories a ON a.id = g.advisory_id
    WHERE {STANDING}) AS flagged,
  now() AS at
FROM advisories
""")  # noqa: S608 - put together from constants

IMPORTS: Final = Statement("""
SELECT id, source, digest, read, added, changed, records, newest, checked, raised, lifted, reopened,
  imported_at
FROM advisory_imports ORDER BY id DESC LIMIT 10
""")

_FLAG: Final = """
SELECT g.id, s.id AS package_id, p.name, p.version, s.status, g.advisory_id AS advisory, a.aliases,
  g.kind, g.severity, a.title, g.fixed, g.component, a.source, g.since, g.lifted_at,
  g.lifted_because,
  (SELECT count(DISTINCT w.request_id) FROM request_packages w
    WHERE w.artifact_id = g.artifact_id) AS requests
FROM advisory_flags g
JOIN advisories a ON a.id = g.advisory_id
JOIN artifacts f ON f.id = g.artifact_id
JOIN packages p ON p.id = f.package_id
JOIN package_status s ON s.artifact_id = f.id
WHERE g.id < %(before)s AND
"""

_PAGE: Final = "ORDER BY g.id DESC LIMIT %(limit)s"

TODAY: Final = Statement(f"{_FLAG} {STANDING} {_PAGE}")

ALL: Final = Statement(f"{_FLAG} true {_PAGE}")

OF_PACKAGE: Final = Statement(f"{_FLAG} s.id = %(package_id)s {_PAGE}")


def status(statements: Autocommit) -> tuple[Any, list[Any]]:
    """What is known, and the last imports, newest first."""
    (known,) = statements.rows(STATUS, {})
    return known, statements.rows(IMPORTS, {})


def flags(
    statements: Autocommit, *, before: int, limit: int, package_id: int | None, lifted: bool
) -> list[Any]:
    """Flags newest first, those with ids under ``before``.

    Args:
        package_id: those of one package alone, whether lifted or not.
        lifted: also those that were lifted.
    """
    page = {"before": before, "limit": limit}
    if package_id is not None:
        return statements.rows(OF_PACKAGE, {**page, "package_id": package_id})
    return statements.rows(ALL if lifted else TODAY, page)
