"""A dry run: what another policy would make of everything that was judged so far. Reads only.

Judged are the stored evidence and findings, under the policy in force and under the other one; so
what differs is the policies' doing alone, and no scanner is asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from types import SimpleNamespace
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.workloads.packages.licences import (
    LicencePolicy,
    LicenceVerdict,
    differ,
    member_of,
    stricter,
)
from backend.workloads.packages.policies.current import in_force, tiers_of
from backend.workloads.packages.policies.document import PolicyDocument
from backend.workloads.packages.policies.loosening import effective_tiers
from backend.workloads.packages.policies.rules import Case, Judgement, Rulebook
from backend.workloads.packages.waivers.applying import Waived, of_version, waive
from backend.workloads.packages.waivers.in_force import WAIVERS

# The columns of evidence that a judgement needs; licence texts themselves stay where they are.
_EVIDENCE: Final = f"""
SELECT s.id, s.status, s.license_identifier, s.scan_result, p.name, p.version,
  coalesce(nullif(a.integrity, ''), 'none') AS integrity,
  e.registry_record ->> 'license_expression' AS said,
  e.registry_record ->> 'published_at' AS published_at,
  e.inspection IS NOT NULL AS inspected, e.inspection ->> 'licence' AS licence,
  jsonb_path_query_array(e.inspection, '$.licence_files[*].identified') AS texts,
  jsonb_path_query_array(e.inspection,
    '$.components[*] ? (@.bundled == true || @.licence != null).licence') AS bundled,
  ARRAY(SELECT jsonb_object_keys(coalesce(e.inspection -> 'install_scripts', '{{}}'))) || ARRAY(
    SELECT script || ' of ' || (c ->> 'name')
    FROM jsonb_array_elements(coalesce(e.inspection -> 'components', '[]')) AS c,
      jsonb_object_keys(coalesce(c -> 'install_scripts', '{{}}')) AS script
    WHERE c -> 'bundled' = 'true') AS scripts,
  coalesce((
    SELECT json_agg(json_build_object('id', f.advisory, 'aliases', f.aliases, 'kind', f.kind,
      'severity', f.severity, 'component', f.component) ORDER BY f.id)
    FROM findings f WHERE f.scan_id = (
      SELECT max(id) FROM security_scans WHERE artifact_id = a.id)), '[]') AS findings,
  {WAIVERS} AS waivers
FROM package_status s
JOIN artifacts a ON a.id = s.artifact_id
JOIN packages p ON p.id = a.package_id
JOIN artifact_evidence e ON e.artifact_id = a.id
"""  # noqa: S608 - put together from constants
_PAGE: Final = text(f"""
{_EVIDENCE}
WHERE s.id > :after AND s.policy_digest IS NOT NULL
ORDER BY s.id LIMIT :limit
""")
_ONLY: Final = text(f"{_EVIDENCE} WHERE s.id = ANY (CAST(:ids AS bigint[]))")


@dataclass(frozen=True, slots=True)
class Difference:
    """A package, as it stands now, and the two judgements of it."""

    id: int
    name: str
    version: str
    status: str
    before: Judgement
    after: Judgement


@dataclass(frozen=True, slots=True)
class Page:
    """``unread`` were refused before their bytes were looked at, by a rule that is gone now."""

    examined: int
    unread: int
    differences: Sequence[Difference]
    last: int | None


@dataclass(frozen=True, slots=True)
class _Policy:
    rules: Rulebook
    licences: LicencePolicy


def dry_run(
    session: Session, policy: PolicyDocument, *, after: int, limit: int, own_registry: bool
) -> Page:
    """One page of all packages that were ever judged, those with ids above ``after``."""
    current = PolicyDocument.model_validate(in_force(session).document)
    policies = [_ready(session, each) for each in (current, policy)]
    rows = session.execute(_PAGE, {"after": after, "limit": limit}).all()
    now = datetime.now(UTC)
    unread, differences = 0, []
    for row in rows:
        before, then = (_judged(row, each, now, own_registry=own_registry) for each in policies)
        if not row.inspected and then.refusal is None:
            unread += before.refusal is not None
        elif [r.rule for r in before.rulings] != [r.rule for r in then.rulings]:
            differences.append(Difference(row.id, row.name, row.version, row.status, before, then))
    return Page(len(rows), unread, differences, rows[-1].id if len(rows) == limit else None)


def refused(
    session: Session, policy: PolicyDocument, ids: Sequence[int], *, own_registry: bool
) -> list[int]:
    """Which of these rows a policy refuses, by what is stored of them."""
    ready, now = _ready(session, policy), datetime.now(UTC)
    rows = session.execute(_ONLY, {"ids": list(ids)}).all() if ids else []
    return [
        row.id
        for row in rows
        if _judged(row, ready, now, own_registry=own_registry).refusal is not None
    ]


def _ready(session: Session, policy: PolicyDocument) -> _Policy:
    tiers = effective_tiers(policy, tiers_of(session))
    return _Policy(Rulebook(policy), LicencePolicy(tiers))


def _judged(row: Any, policy: _Policy, now: datetime, *, own_registry: bool) -> Judgement:
    def licence(tiers: LicencePolicy) -> LicenceVerdict:
        return reduce(stricter, map(tiers.judge, _speakers(row)))

    waived = waive(
        of_version(row.version, row.waivers), row.name,
        [SimpleNamespace(**finding) for finding in row.findings], licence(policy.licences),
        lambda ids: licence(policy.licences.allowing(ids)),
    )  # fmt: skip
    if not row.inspected:
        return policy.rules.early(row.name, row.version, waived.licence)
    return policy.rules.judge(_case(row, waived, own_registry=own_registry), now)


def _speakers(row: Any) -> list[str | None]:
    """Every word on the licence that counts; the first is the manifest's, or the registry's."""
    if not row.inspected:
        return [row.said]
    speakers = [row.licence, *(row.bundled or ())]
    if differ(row.said, row.licence):
        speakers.append(row.said)
    speakers += [word for word in row.texts or () if word and not member_of(word, row.licence)]
    # The one that counted: perhaps a scanner's, whose words are not stored.
    return [*speakers, *([row.license_identifier] if row.license_identifier else [])]


def _case(row: Any, waived: Waived[Any], *, own_registry: bool) -> Case:
    return Case(
        name=row.name,
        version=row.version,
        licence=waived.licence,
        findings=waived.findings,
        scan_result=row.scan_result or "not scanned",
        integrity=row.integrity.partition("-")[0],
        install_scripts=row.scripts,
        published_at=datetime.fromisoformat(row.published_at) if row.published_at else None,
        repairs=(),
        own_registry=own_registry,
        waivers=waived.waivers,
    )
