"""Security Scanning: what is known against the package and what it bundles; then the verdict."""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from backend.queue.pipeline import Done, Reject, Rewind
from backend.queue.retry import Permanent, Transient
from backend.workloads.packages.advisories.known import ImportedAdvisories
from backend.workloads.packages.heuristics.guarddog import NOT_CONFIGURED, Look
from backend.workloads.packages.heuristics.signs import signs
from backend.workloads.packages.judging import case_of
from backend.workloads.packages.licences import LicencePolicy, LicenceVerdict
from backend.workloads.packages.policies.rules import Ruling
from backend.workloads.packages.scanning import bounded_process
from backend.workloads.packages.scanning.findings import (
    Component,
    Finding,
    merge,
    npm_purl,
)
from backend.workloads.packages.scanning.inspection import Inspection
from backend.workloads.packages.scanning.sources import (
    ScanReport,
    ScanTransient,
    Source,
    scan_all,
)
from backend.workloads.packages.snapshot import PackageSnapshot
from backend.workloads.packages.steps.inspect import FILES, NO_SPACE, UNPACK_SECONDS
from backend.workloads.packages.steps.private_copy import Gone, verified_copy
from backend.workloads.packages.tools import VettingTools
from backend.workloads.packages.verdict import judge_licences
from backend.workloads.packages.verdict_digest import verdict_digest
from backend.workloads.packages.waivers.applying import waive

UNPACKER = "backend.workloads.packages.steps.inspect"
INSPECTION = TypeAdapter(Inspection)


class Inspected(BaseModel):
    """A child's answer."""

    found: Inspection


def with_inspection(
    package: PackageSnapshot, result: Inspected, answered: Any
) -> PackageSnapshot | None:
    """The package as it stands once the evidence is stored; None where that is to be read.

    The tiers have changed, or it bundles packages: each may be denied, or become so meanwhile.
    """
    if answered is None or answered.policy_mark != package.policy.mark or result.found.components:
        return None
    return package.model_copy(update={"inspection": result.found, "imported": answered.imported})


class ScanResult(BaseModel):
    """The report and the licence verdict, by the policy and the advisories in force.

    ``approves``: no rule wants a person; then ``publishes`` says whether it is published at once.
    """

    report: ScanReport
    expression: str | None
    tier: str | None
    score: int | None
    policy_digest: str | None
    verdict_digest: str
    waivers: tuple[int, ...]
    rulings: tuple[Ruling, ...]
    verdict_until: datetime | None
    approves: bool
    publishes: bool


def scan(package: PackageSnapshot, tools: VettingTools) -> Done | Reject | Rewind:
    """Ask every source about the package and each component in it, and judge.

    Runs outside any transaction and may run twice for one row.

    Returns:
        ``Reject`` when policy forbids the licence or a finding, else ``Done``; ``Rewind`` where
        the evidence is gone.

    Raises:
        Transient: a source could not be asked; worth another attempt.
        CircuitOpen: a service behind a source is failing and is not asked for now.
    """
    for scanner in tools.scanners:
        scanner.refuse_if_open()  # before anything is unpacked for nothing
    if package.inspection is None:
        return Rewind("the evidence of the tarball is missing")
    if package.policy.rules.asks_age and not (package.registry_record or {}).get("dated"):
        return Rewind("the registry was not asked when it was published")
    inspection = INSPECTION.validate_python(package.inspection)
    try:
        with _files(package, tools) as directory:
            report = scan_all(
                _sources(package, tools),
                _components(inspection),
                directory=directory,
                max_age=tools.advisory_max_age,
            )
            look = _look(package, directory, tools)
    except Gone as gone:
        return Rewind(str(gone))
    except ScanTransient as error:
        raise Transient(f"not scanned: {error}") from None
    return _judged(package, inspection, report, look, tools)


def _look(package: PackageSnapshot, directory: Path | None, tools: VettingTools) -> Look:
    if tools.guarddog is None or directory is None:
        return NOT_CONFIGURED
    return tools.guarddog.look(directory, artifact=npm_purl(package.name, package.version))


def _sources(package: PackageSnapshot, tools: VettingTools) -> Sequence[Source]:
    if package.imported is None:
        return tools.sources
    imported = ImportedAdvisories(package.imported, complete=tools.advisories_complete)
    return [*tools.sources, imported]


def _judged(
    package: PackageSnapshot,
    inspection: Inspection,
    report: ScanReport,
    look: Look,
    tools: VettingTools,
) -> Done | Reject:
    record = package.registry_record or {}

    def licences(policy: LicencePolicy) -> tuple[LicenceVerdict, list[Finding]]:
        word = record.get("license_expression")
        return judge_licences(policy, word, inspection, report.licences)

    tiers = package.policy.licences
    verdict, differences = licences(tiers)
    findings = merge([*report.findings, *differences, *signs(package, inspection, look)])
    waived = waive(
        package.waivers,
        package.name,
        findings,
        verdict,
        lambda ids: licences(tiers.allowing(ids))[0],
    )
    case = case_of(package, inspection, report, waived, own_registry=tools.own_registry)
    judgement = package.policy.rules.judge(case, datetime.now(UTC))
    waivers = tuple(waiver.id for waiver in waived.waivers)
    # What a person denied is looked at anew whenever it is asked for, as after the early verdict.
    judged_by = None if package.denied else package.policy.digest
    result = ScanResult(
        report=report.model_copy(
            update={"findings": findings, "notes": (*report.notes, look.note)}
        ),
        expression=verdict.expression,
        tier=verdict.tier,
        score=verdict.score,
        policy_digest=judged_by,
        verdict_digest=verdict_digest(
            sha512=package.sha512 or "",
            expression=verdict.expression,
            tier=verdict.tier,
            findings=findings,
            scan_result=report.result,
            policy_digest=judged_by,
            waivers=waivers,
        ),
        waivers=waivers,
        rulings=judgement.rulings,
        verdict_until=judgement.until,
        approves=judgement.approves,
        publishes=tools.auto_publish,
    )
    return Reject(judgement.refusal, result) if judgement.refusal else Done(result)


def _components(inspection: Inspection) -> list[Component]:
    bundled = [
        Component(name=c.name, version=c.version, path=c.path) for c in inspection.components
    ]
    return [Component(name=inspection.name, version=inspection.version), *bundled]


@contextmanager
def _files(package: PackageSnapshot, tools: VettingTools) -> Iterator[Path | None]:
    """The package's files, unpacked by a confined child, where a source wants to see them."""
    if not tools.needs_files:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="lockkeeper-scan-") as scratch:
        # The folder above stays ours: the unpacking child may have a user of its own.
        given = Path(scratch) / "given"
        given.mkdir(mode=0o755)
        verified_copy(package, tools, given)
        done = bounded_process.run(
            [sys.executable, "-I", "-m", UNPACKER, str(given)],
            environment={"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": scratch},
            directory=Path(scratch),
            timeout=UNPACK_SECONDS,
            output_bytes=4096,
        )
        if done.exit_code == NO_SPACE:
            raise Transient("the package cannot be unpacked: no space is left for it")
        if done.exit_code != 0:
            raise Permanent(f"the package cannot be unpacked: {done.errors.strip()[-300:]}")
        yield given / FILES
