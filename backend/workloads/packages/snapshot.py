"""What a step is given: plain values read in one statement, no session, no ORM."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from backend.autocommit import Autocommit, Statement
from backend.workloads.packages.advisories import known
from backend.workloads.packages.denied_versions import COPY_DENIALS, DENIALS, WAIT, denial_of
from backend.workloads.packages.heuristics.resemblance import NAMES
from backend.workloads.packages.policy import MARK, PolicyInForce, policy_in_force
from backend.workloads.packages.scanning.inspection import Inspection
from backend.workloads.packages.waivers.applying import Waiver, of_version
from backend.workloads.packages.waivers.in_force import WAIVERS


class PackageSnapshot(BaseModel):
    """One artifact as it stands now.

    ``integrity`` is what the lock declares (SRI text, several separated by spaces, None for
    nothing); ``sha512`` (hex) is set once the bytes are known. What is left out of its JSON is not
    for a child process.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    artifact_id: int
    name: str
    version: str
    integrity: str | None
    sha512: str | None
    registry_record: dict[str, Any] | None = Field(exclude=True)
    inspection: SkipValidation[Inspection | dict[str, Any] | None] = Field(exclude=True)
    """What the tarball says of itself, as found or as stored; not for a child process."""
    policy: SkipValidation[PolicyInForce] = Field(exclude=True)
    """The licence tiers in force."""
    imported: SkipValidation[dict[str, Any] | None] = Field(None, exclude=True)
    """What imported advisories say of its name, and of those it bundles; None before any import."""
    denied: str | None = Field(None, exclude=True)
    """Why nobody gets this version, or one that it bundles, by a person's word; mostly None."""
    names: SkipValidation[dict[str, Any] | None] = Field(None, exclude=True)
    """Those that its own is compared with; see ``heuristics.resemblance``."""
    waivers: SkipValidation[tuple[Waiver, ...]] = Field((), exclude=True)
    """Those in force for this version; that others begin or end meanwhile is seen to later."""


_NAMES: Final = """ANY(array_prepend(p.name, ARRAY(
  SELECT c ->> 'name' FROM jsonb_array_elements(e.inspection -> 'components') c)))"""

READ: Final = Statement(f"""
SELECT a.id, p.name, p.version, a.integrity, a.sha512, e.registry_record, e.inspection,
  {MARK} AS policy_mark, {DENIALS} AS denials, {COPY_DENIALS} AS copy_denials,
  {WAIVERS} AS waivers,
  {known.about(_NAMES)} AS imported, {NAMES} AS names
FROM package_status s
JOIN artifacts a ON a.id = s.artifact_id
JOIN packages p ON p.id = a.package_id
LEFT JOIN artifact_evidence e ON e.artifact_id = a.id
WHERE s.id = %(row_id)s
""")  # noqa: S608 - put together from constants

_SETTLED: Final = Statement(WAIT)


def read(statements: Autocommit, row_id: int) -> PackageSnapshot | None:
    """The artifact of a row of ``package_status``; None where the row is gone."""
    rows = statements.together((_SETTLED, READ), {"row_id": row_id})
    if not rows:
        return None
    found = rows[0]
    return PackageSnapshot(
        artifact_id=found.id,
        name=found.name,
        version=found.version,
        integrity=found.integrity or None,
        sha512=found.sha512,
        registry_record=found.registry_record,
        inspection=found.inspection,
        policy=policy_in_force(statements, found.policy_mark),
        imported=found.imported,
        denied=denial_of(found.version, found.denials, found.copy_denials),
        names=found.names,
        waivers=of_version(found.version, found.waivers),
    )
