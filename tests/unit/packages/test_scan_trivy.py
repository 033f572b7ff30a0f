import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.queue.breaker import FAILURES, Breakers, CircuitOpen
from backend.workloads.packages.scanning import bounded_process
from backend.workloads.packages.scanning.findings import Component
from backend.workloads.packages.scanning.sources import ScanTransient
from backend.workloads.packages.scanning.trivy import TrivyBinary, cyclonedx
from backend.workloads.packages.scanning.trivy_report import ReportError, read

DEMO = Component(name="demo", version="1.0.0")
SCOPED = Component(name="@s/in", version="2.0.0", path="node_modules/@s/in/package.json")


def report(*results: dict[str, Any]) -> bytes:
    return json.dumps({"SchemaVersion": 2, "Results": list(results)}).encode()


def parse(raw: bytes) -> Any:
    return read(raw, artifact=DEMO.purl, source="trivy")


VULNERABLE = {
    "Target": "Node.js",
    "Class": "lang-pkgs",
    "Type": "node-pkg",
    "Packages": [{"ID": "demo@1.0.0", "Name": "demo", "Version": "1.0.0"}],
    "Vulnerabilities": [
        {
            "VulnerabilityID": "CVE-2026-1",
            "VendorIDs": ["GHSA-aaaa"],
            "PkgName": "demo",
            "InstalledVersion": "1.0.0",
            "FixedVersion": "1.0.1, 2.0.0",
            "Status": "fixed",
            "SeveritySource": "ghsa",
            "Title": "demo: prototype pollution",
            "Severity": "HIGH",
        },
        {
            "VulnerabilityID": "MAL-2026-2",
            "PkgName": "@s/in",
            "InstalledVersion": "2.0.0",
            "Severity": "UNKNOWN",
        },
    ],
}
SECRET = {
    "Target": "package/a.js",
    "Class": "secret",
    "Secrets": [
        {
            "RuleID": "aws-secret-access-key",
            "Severity": "CRITICAL",
            "Title": "AWS Secret Access Key",
            "StartLine": 3,
            "Match": "key = hunter2hunter2",
            "Code": {"Lines": [{"Number": 2, "Content": "other = hunter2hunter2"}]},
        }
    ],
}


def test_documented_vulnerabilities_become_findings() -> None:
    found, malware = parse(report(VULNERABLE)).findings
    assert (found.id, found.aliases) == ("CVE-2026-1", ("GHSA-aaaa",))
    assert (found.severity, found.fixed) == ("high", ("1.0.1", "2.0.0"))
    assert (found.component, found.title) == (DEMO.purl, "demo: prototype pollution")
    assert (malware.kind, malware.severity, malware.fixed) == ("malware", "critical", None)
    assert malware.component == SCOPED.purl


def test_malware_is_told_by_any_of_its_ids() -> None:
    entry = {
        "VulnerabilityID": "GHSA-aaaa", "VendorIDs": ["MAL-2026-2"], "PkgName": "demo",
        "InstalledVersion": "1.0.0", "Severity": "LOW",
    }  # fmt: skip
    (found,) = parse(report({"Target": "Node.js", "Vulnerabilities": [entry]})).findings
    assert (found.kind, found.severity) == ("malware", "critical")


def test_a_secret_is_reported_by_rule_and_place_and_never_quoted() -> None:
    (found,) = parse(report(SECRET)).findings
    assert (found.kind, found.severity) == ("secret", "critical")
    assert found.id == "secret:aws-secret-access-key:package/a.js:3"
    assert "hunter2" not in found.model_dump_json()


def test_licences_and_packages_are_listed() -> None:
    seen = parse(report(
        VULNERABLE,
        {"Class": "license", "Licenses": [{"Name": "MIT", "PkgName": "demo", "FilePath": "p"}]},
    ))  # fmt: skip
    assert [(s.name, s.package, s.path) for s in seen.licences] == [("MIT", "demo", "p")]
    assert seen.packages == {("demo", "1.0.0")}


def test_a_report_without_results_is_readable() -> None:
    assert parse(b'{"SchemaVersion": 2}').findings == ()


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"panic:", b"[]", b"{}", b'{"SchemaVersion": 1}', b"[" * 100_000,
        b'{"SchemaVersion": 2, "Results": 7}',
        b'{"SchemaVersion": 2, "Results": [{"Vulnerabilities": [{}]}]}',
        b'{"SchemaVersion": 2, "Results": [{"Packages": ["x"]}]}',
        b'{"SchemaVersion": 2, "Results": [{"Secrets": [{"RuleID": "x"}]}]}',
    ],
)  # fmt: skip
def test_what_is_no_report_is_refused(raw: bytes) -> None:
    with pytest.raises(ReportError):
        parse(raw)


def test_the_component_list_is_cyclonedx_with_each_component_once() -> None:
    document = cyclonedx([DEMO, SCOPED, DEMO])
    assert document["bomFormat"] == "CycloneDX"
    assert [(c["purl"], c.get("group"), c["name"]) for c in document["components"]] == [
        ("pkg:npm/demo@1.0.0", None, "demo"),
        ("pkg:npm/%40s/in@2.0.0", "@s", "in"),
    ]


Program = Callable[[str], str]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Makes an executable of a few lines of Python, to stand where the scanner would."""

    def make(source: str) -> str:
        path = tmp_path / "scanner"
        path.write_text(f"#!{sys.executable} -I\nimport json, os, sys, time\n{source}\n")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture
def database(tmp_path: Path) -> Path:
    folder = tmp_path / "cache" / "db"
    folder.mkdir(parents=True)
    (folder / "trivy.db").touch()
    (folder / "metadata.json").write_text('{"Version": 2, "UpdatedAt": "2026-01-02T00:00:00Z"}')
    return tmp_path / "cache"


def printing(raw: bytes, code: int = 0) -> str:
    return f"sys.stdout.buffer.write({raw!r}); sys.exit({code})"


@pytest.mark.parametrize("code", [0, 3])
def test_findings_come_with_the_databases_own_date(
    program: Program, database: Path, code: int
) -> None:
    source = TrivyBinary(program(printing(report(VULNERABLE), code)), database, complete=True)
    result = source.scan([DEMO], None)
    assert len(result.findings) == 2
    assert result.coverage is not None
    assert result.coverage.as_of == datetime(2026, 1, 2, tzinfo=UTC)
    assert result.coverage.covers(datetime(2026, 1, 2, 12, tzinfo=UTC), timedelta(hours=24))


def test_a_component_that_is_left_out_means_not_scanned(program: Program, database: Path) -> None:
    result = TrivyBinary(program(printing(report(VULNERABLE))), database).scan([DEMO, SCOPED], None)
    assert result.outcome == "not-scanned"
    assert result.reason == "it left out pkg:npm/%40s/in@2.0.0 and 0 more"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (printing(report(VULNERABLE), 1), "exit code 1"),
        ("print('last words', file=sys.stderr); sys.exit(2)", "last words"),
        ("os.kill(os.getpid(), 9)", "exit code -9"),
        (printing(b"nonsense"), "not JSON"),
        (printing(b""), "not JSON"),
        ("while True: sys.stdout.write('x' * 65536)", "wrote more than"),
        ("time.sleep(600)", "did not finish"),
        ("os.close(1); os.close(2); time.sleep(600)", "did not finish"),
    ],
)  # fmt: skip
def test_a_scanner_that_breaks_is_transient_and_not_scanned(
    program: Program, database: Path, source: str, why: str
) -> None:
    trivy = TrivyBinary(program(source), database, timeout=timedelta(seconds=1.5))
    with pytest.raises(ScanTransient, match=f"not scanned.*{why}"):
        trivy.scan([DEMO], None)


def test_an_absent_scanner_is_transient(tmp_path: Path) -> None:
    with pytest.raises(ScanTransient, match="cannot be started"):
        TrivyBinary(str(tmp_path / "absent"), tmp_path, server_url="http://t.test").scan(
            [DEMO], None
        )


def test_at_the_time_limit_the_whole_process_group_is_killed(tmp_path: Path) -> None:
    """The grandchild holds a pipe open; it ends only when the grandchild is gone."""
    script = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    open('alive', 'w').close()\n"
        "    time.sleep(600)\n"
        "time.sleep(600)\n"
    )
    fifo = tmp_path / "pipe"
    script = f"held = open({str(fifo)!r}, 'w')\n" + script
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(bounded_process.ProcessLimitError):
            bounded_process.run(
                [sys.executable, "-I", "-c", script],
                environment={}, directory=tmp_path, timeout=1.0, output_bytes=1000,
            )  # fmt: skip
        assert (tmp_path / "alive").exists()
        os.set_blocking(reader, True)
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


def test_arguments_environment_and_directory_are_ours_alone(
    program: Program, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIVY_IGNORE_UNFIXED", "true")
    monkeypatch.setenv("TRIVY_SEVERITY", "LOW")
    seen = tmp_path / "seen.jsonl"
    source = (
        f"with open({str(seen)!r}, 'a') as out:\n"
        "    flag = lambda name: open(sys.argv[sys.argv.index(name) + 1]).read()\n"
        "    json.dump([sys.argv[1:], dict(os.environ), os.listdir(),\n"
        "        flag('--config'), flag('--ignorefile')], out)\n"
        "    out.write('\\n')\n"
    )
    trivy = TrivyBinary(program(source + printing(report(VULNERABLE))), database)
    trivy.scan([DEMO], tmp_path)
    for line in seen.read_text().splitlines():
        arguments, environment, listing, config, ignore = json.loads(line)
        assert arguments[0] in {"rootfs", "sbom"}
        assert arguments[arguments.index("--exit-code") + 1] == "3"
        assert "--skip-db-update" in arguments
        assert "--offline-scan" in arguments
        assert not [name for name in environment if name.startswith("TRIVY")]
        assert (listing, config, ignore) == ([], "", "")
    commands = [json.loads(line)[0][0] for line in seen.read_text().splitlines()]
    assert commands == ["rootfs", "sbom"]


def test_a_server_answers_for_vulnerabilities_but_its_age_is_unknown(
    program: Program, tmp_path: Path
) -> None:
    check = "assert '--server' in sys.argv and '--skip-db-update' not in sys.argv\n"
    binary = program(check + printing(report(VULNERABLE)))
    trivy = TrivyBinary(binary, tmp_path, server_url="http://t.test:4954", complete=True)
    result = trivy.scan([DEMO], None)
    assert result.coverage is not None
    assert result.coverage.as_of is None
    assert not result.coverage.covers(datetime.now(UTC), timedelta(days=9999))


def test_a_server_url_that_is_no_http_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="http"):
        TrivyBinary("trivy", tmp_path, server_url="file:///etc/passwd")


SERVER = "t.test:4954"


def state_after_failing(
    binary: str, folder: Path, server: str | None
) -> tuple[dict[str, Any], int]:
    """The breakers' states after more runs than open one, and how many runs there were."""
    breakers, runs = Breakers(), folder / "runs"
    trivy = TrivyBinary(
        binary, folder, server_url=server, timeout=timedelta(seconds=2), breakers=breakers
    )
    for _ in range(FAILURES + 2):
        with pytest.raises((ScanTransient, CircuitOpen)):
            trivy.scan([DEMO], folder if server is None else None)
    return dict(breakers.states()), len(runs.read_text())


@pytest.mark.parametrize(
    "said",
    [
        'twirp error internal: failed to do request: Post "http://t.test:4954/": dial tcp: refused',
        "twirp error unavailable: Error from intermediary with HTTP status code 503",
        "twirp error unknown: Error from intermediary with HTTP status code 500",
    ],
)
def test_a_server_that_cannot_be_reached_or_answer_is_left_alone_after_some_failures(
    program: Program, tmp_path: Path, said: str
) -> None:
    script = f"open({str(tmp_path / 'runs')!r}, 'a').write('.')\nsys.exit({said!r})\n"
    states, runs = state_after_failing(program(script), tmp_path, f"http://{SERVER}")
    assert (states, runs) == ({SERVER: "open"}, FAILURES)


@pytest.mark.parametrize(
    ("said", "server"),
    [
        ("twirp error bad_route: Error from intermediary with HTTP status code 404", SERVER),
        ("twirp error unavailable: in a name\\nFatal: the document cannot be read", SERVER),
        ("twirp error unavailable: there is no server", None),
    ],
)
def test_a_failure_that_is_not_the_servers_leaves_its_breaker_closed(
    program: Program, tmp_path: Path, said: str, server: str | None
) -> None:
    script = f"open({str(tmp_path / 'runs')!r}, 'a').write('.')\nsys.exit('{said}')\n"
    url = server and f"http://{server}"
    states, runs = state_after_failing(program(script), tmp_path, url)
    assert (states, runs) == ({server: "closed"} if server else {}, FAILURES + 2)
