"""The imported advisories as a source of a scan: read with the package, not asked for again."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from backend.workloads.packages.advisories.stored import restored
from backend.workloads.packages.scanning.findings import Component
from backend.workloads.packages.scanning.osv_record import finding, repairs
from backend.workloads.packages.scanning.sources import Coverage, SourceResult

SOURCE: Final = "imported"


def about(names: str) -> str:
    """A value in SQL: what is known about packages by name as JSON; null before any import.

    Args:
        names: what follows ``name =`` in SQL: an array's ANY, say.
    """
    return f"""(
  SELECT json_build_object('records', i.records, 'newest', i.newest, 'digest', (
      SELECT max(c.id) FROM advisory_imports c WHERE c.added + c.changed > 0),
    'advisories', (
      SELECT json_agg(json_build_object('package', n.name, 'id', v.id, 'aliases', v.aliases,
        'title', v.title, 'severity', v.severity, 'affected', n.affected))
      FROM advisory_packages n JOIN advisories v ON v.id = n.advisory_id
      WHERE n.name = {names} AND NOT v.withdrawn))
  FROM advisory_imports i ORDER BY i.id DESC LIMIT 1)"""  # noqa: S608 - put together from constants


class ImportedAdvisories:
    """What :func:`about` answered, as a :class:`Source`; of other names it knows nothing."""

    def __init__(self, known: Mapping[str, Any], *, complete: bool) -> None:
        newest = known["newest"]
        self._coverage = Coverage(
            source=SOURCE,
            as_of=datetime.fromisoformat(newest) if newest else None,
            records=known["records"],
            complete=complete,
            digest=str(known["digest"]),
        )
        self._advisories = [
            (record["package"], restored(record["package"], record))
            for record in known["advisories"] or ()
        ]

    @property
    def name(self) -> str:
        return SOURCE

    def scan(self, components: Sequence[Component], directory: Path | None) -> SourceResult:  # noqa: ARG002 - it needs no files
        """See :class:`Source`. Never transient: everything is in memory."""
        distinct = {(component.name, component.version): component for component in components}
        return SourceResult(
            source=SOURCE,
            findings=tuple(
                found
                for component in distinct.values()
                for package, advisory in self._advisories
                if package == component.name and (found := finding(advisory, component, SOURCE))
            ),
            coverage=self._coverage,
            repairs=self._repaired(components[0]) if components else (),
        )

    def _repaired(self, component: Component) -> tuple[str, ...]:
        return tuple(
            advisory.id
            for package, advisory in self._advisories
            if package == component.name and repairs(advisory, component)
        )
