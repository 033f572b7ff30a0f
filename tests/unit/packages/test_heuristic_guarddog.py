"""GuardDog: its reports, and that whatever it does a package is not refused for it."""

import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.workloads.packages.heuristics.guarddog import GuardDog, Look
from backend.workloads.packages.heuristics.guarddog_report import ReportError, read

ARTIFACT = "pkg:npm/demo@1.0.0"
RULES = ("threat-a", "threat-b", "capability-c")

Program = Callable[[str], str]


def risk(rule: str, place: str, severity: str = "high") -> dict[str, Any]:
    return {
        "name": "risk.demo", "severity": severity, "threat_rule": rule,
        "threat_description": f"Detects {rule}", "threat_location": place,
        "threat_code": "secret()", "capability_rule": None,
    }  # fmt: skip


def report(*risks: dict[str, Any], **changes: Any) -> bytes:
    whole = {
        "package": "files", "results": {rule: {} for rule in RULES}, "errors": {},
        "issues": len(risks), "risk_score": {"score": 0.0}, "risks": risks,
    }  # fmt: skip
    return json.dumps({**whole, **changes}).encode()


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Makes a program of Python source; answers its path."""

    def make(source: str) -> str:
        path = tmp_path / "guarddog"
        path.write_text(f"#!{sys.executable} -I\nimport os, sys\n{source}\n")
        path.chmod(0o755)
        return str(path)

    return make


def printing(raw: bytes) -> str:
    return f"sys.stdout.buffer.write({raw!r})"


def looked(binary: str, tmp_path: Path, *, seconds: float = 20) -> Look:
    guarddog = GuardDog(binary, timeout=timedelta(seconds=seconds))
    return guarddog.look(tmp_path, artifact=ARTIFACT)


def test_a_rule_that_matched_is_one_finding_with_its_places_and_no_code() -> None:
    found = read(
        report(
            risk("threat-b", "package/b.js:9", "low"),
            risk("threat-a", "package/z.js:1", "medium"),
            *(risk("threat-a", f"package/a.js:{line}") for line in range(1, 5)),
            risk("threat-a", "package/a.js:1"),
        ),
        artifact=ARTIFACT,
    )
    assert [(f.id, f.severity, f.title) for f in found.findings] == [
        ("guarddog:threat-a", "high",
         "Detects threat-a: package/a.js:1, package/a.js:2, package/a.js:3 and 2 more"),
        ("guarddog:threat-b", "low", "Detects threat-b: package/b.js:9"),
    ]  # fmt: skip
    assert {(f.kind, f.source, f.component) for f in found.findings} == {
        ("heuristic", "guarddog", ARTIFACT)
    }
    assert found.rules == 3


def test_a_strangers_words_in_a_report_are_made_printable_and_short() -> None:
    (found,) = read(
        report(risk("threat-a", "package/\0\x1b[2J\ud800" + "x" * 5000, "no such word")),
        artifact=ARTIFACT,
    ).findings
    assert found.severity == "unknown"
    assert found.title is not None
    assert found.title.isprintable()
    assert len(found.title) < 400


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not JSON"),
        (b"Usage: guarddog", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a report"),
        (b"{}", "no results"),
        (report(results={}), "no rule looked"),
        (report(results=[]), "no results"),
        (report(errors=None), "no errors"),
        (report(risks={}), "no risks"),
        (report(risks=["a"]), "not an object"),
        (report({**risk("threat-a", "a"), "threat_location": None}), "no threat_location"),
        (report({**risk("threat-a", "a"), "threat_rule": 7}), "no threat_rule"),
        (report(*(risk(f"threat-{n}", "a") for n in range(1001))), "more than 1000 rules"),
    ],
)
def test_what_is_no_report_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(ReportError, match=why):
        read(raw, artifact=ARTIFACT)


def test_what_it_found_and_how_many_rules_looked_is_told(program: Program, tmp_path: Path) -> None:
    look = looked(program(printing(report(risk("threat-a", "package/a.js:1")))), tmp_path)
    assert [finding.id for finding in look.findings] == ["guarddog:threat-a"]
    assert look.note == "guarddog: run, 1 of 3 rules matched"


def test_nothing_found_is_told_with_the_rules_that_looked(program: Program, tmp_path: Path) -> None:
    assert looked(program(printing(report())), tmp_path) == Look(
        (), "guarddog: run, none of 3 rules matched"
    )


def test_a_rule_that_failed_is_named_and_wants_a_person(program: Program, tmp_path: Path) -> None:
    raw = report(errors={"threat-b": "failed to run rule: too many matches"})
    look = looked(program(printing(raw)), tmp_path)
    assert look.note == "guarddog: run, none of 2 rules matched; 1 failed: threat-b"
    assert [finding.id for finding in look.findings] == ["guarddog:not-run"]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("sys.exit(1)", "exit code 1: it said nothing"),
        ("sys.exit('no sandbox here\\x1b[2J')", "exit code 1: no sandbox here\\u001b[2J"),
        ("print('[]')", "the output is not a report"),
        ("print('x' * (17 << 20))", "it wrote more than 16777216 bytes"),
        ("os.abort()", "exit code -6: it said nothing"),
    ],
)
def test_where_it_breaks_it_did_not_run_and_a_person_is_wanted(
    program: Program, tmp_path: Path, source: str, why: str
) -> None:
    look = looked(program(source), tmp_path)
    assert look.note == f"guarddog: not run, {why}"
    ((sign),) = look.findings
    assert (sign.id, sign.kind, sign.title) == (
        "guarddog:not-run", "heuristic", f"GuardDog did not look: {why}"
    )  # fmt: skip


def test_a_program_that_is_not_there_did_not_run(tmp_path: Path) -> None:
    assert looked(str(tmp_path / "none"), tmp_path).note.startswith("guarddog: not run, ")


def test_without_a_folder_of_its_own_it_did_not_run(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "full"))
    look = looked(program(printing(report())), tmp_path)
    assert look.note == "guarddog: not run, it cannot be started (No such file or directory)"


def test_at_the_time_limit_it_did_not_run(program: Program, tmp_path: Path) -> None:
    started = time.monotonic()
    look = looked(program("import time; time.sleep(60)"), tmp_path, seconds=0.2)
    assert look.note == "guarddog: not run, it did not finish in time"
    assert time.monotonic() - started < 30


def test_its_arguments_environment_and_directory_are_ours_alone(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUARDDOG_YARA_EXT_EXCLUDE", "js")
    monkeypatch.setenv("TARGET_TOKEN", "a secret")
    said = tmp_path / "said"
    source = (
        "import json, socket\n"
        "try:\n    socket.create_connection(('127.0.0.1', 1)); net = 'reached'\n"
        "except OSError as error:\n    net = error.strerror\n"
        f"json.dump([sys.argv[1:], dict(os.environ), os.getcwd(), net], open({str(said)!r}, 'w'))\n"
    )
    looked(program(source + printing(report())), tmp_path)
    arguments, environment, folder, net = json.loads(said.read_text())
    assert arguments[-2:] == ["--sandbox", str(tmp_path)]
    assert {*environment} <= {
        "HOME", "TMPDIR", "PATH", "LC_CTYPE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"
    }  # fmt: skip
    assert environment["HOME"] == environment["TMPDIR"] == folder != str(tmp_path)
    assert not Path(folder).exists()  # gone with what it left there
    assert net in {"Network is unreachable", "Connection refused"}
