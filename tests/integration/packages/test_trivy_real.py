"""The real Trivy, without its vulnerability database: secrets, licences, and what it leaves out."""

import gzip
import io
import json
import os
import shutil
import socket
import subprocess
import sysconfig
import tarfile
from datetime import timedelta
from pathlib import Path

import pytest

from backend.queue.breaker import Breakers, CircuitOpen, Rules
from backend.workloads.packages.scanning.findings import Component
from backend.workloads.packages.scanning.sources import ScanTransient, scan_all
from backend.workloads.packages.scanning.tarball import inspect, unpack
from backend.workloads.packages.scanning.trivy import TrivyBinary

TRIVY = shutil.which("trivy", path=sysconfig.get_path("scripts"))
pytestmark = pytest.mark.skipif(TRIVY is None, reason="the trivy binary of the dev extra is absent")

KEY = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYzzzzzzzKEY"  # in two parts, so that no scanner finds us
PLANTED = f'aws_secret_access_key = "{KEY}"\n'.encode()
SUPPRESSION = {
    ".trivyignore": b"aws-secret-access-key\n*\n",
    ".trivyignore.yaml": b"secrets:\n  - id: aws-secret-access-key\n",
    "trivy.yaml": b'scan:\n  skip-files: ["**"]\n  skip-dirs: ["**"]\n  scanners: []\n',
    "trivy-secret.yaml": b"disable-rules:\n  - aws-secret-access-key\n",
    "policy/ignore.rego": b"package trivy\ndefault ignore = true\n",
    ".trivy/policy.rego": b"package trivy\ndefault ignore = true\n",
    "trivy.vex.json": b"{}",
}


@pytest.fixture
def trivy(tmp_path: Path) -> TrivyBinary:
    assert TRIVY is not None
    return TrivyBinary(TRIVY, tmp_path / "cache", timeout=timedelta(seconds=60))


def tarball(path: Path, files: dict[str, bytes]) -> Path:
    manifest = json.dumps({"name": "demo", "version": "1.0.0", "license": "GPL-3.0"}).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in {"package.json": manifest, **files}.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    path.write_bytes(gzip.compress(out.getvalue()))
    return path


def unpacked(tmp_path: Path, files: dict[str, bytes]) -> tuple[list[Component], Path]:
    path = tarball(tmp_path / "demo.tgz", files)
    found = inspect(str(path), name="demo", version="1.0.0")
    unpack(str(path), tmp_path / "unpacked")
    bundled = [Component(name=c.name, version=c.version, path=c.path) for c in found.components]
    return [Component(name="demo", version="1.0.0"), *bundled], tmp_path / "unpacked"


def test_a_planted_secret_is_found_though_the_package_ships_every_suppression_file(
    trivy: TrivyBinary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    components, directory = unpacked(tmp_path, {"lib/config.js": PLANTED} | SUPPRESSION)
    monkeypatch.setenv("TRIVY_SKIP_FILES", "**")
    monkeypatch.setenv("TRIVY_IGNOREFILE", str(directory / "package/.trivyignore"))
    monkeypatch.chdir(directory / "package")
    result = trivy.scan(components, directory)
    assert [f.id for f in result.findings] == [
        "secret:aws-secret-access-key:package/lib/config.js:1"
    ]
    assert KEY not in result.model_dump_json()
    assert result.outcome == "scanned"


def test_the_suppression_files_do_work_on_a_scan_without_our_precautions(tmp_path: Path) -> None:
    """The control: were they harmless anyway, the test above would prove nothing."""
    assert TRIVY is not None
    _, directory = unpacked(tmp_path, {"lib/config.js": PLANTED} | SUPPRESSION)
    done = subprocess.run(
        [TRIVY, "rootfs", "--scanners", "secret", "--format", "json", "--quiet",
         "--skip-version-check", "--cache-dir", str(tmp_path / "cache"), "."],
        cwd=directory / "package", env={"HOME": str(tmp_path)}, capture_output=True, check=True,
    )  # fmt: skip
    assert b"aws-secret-access-key" not in done.stdout


@pytest.mark.parametrize("place", ["dev", "proc", "sys", ".git", "node_modules/in", "vendor"])
def test_no_folder_name_hides_a_secret(trivy: TrivyBinary, tmp_path: Path, place: str) -> None:
    components, directory = unpacked(tmp_path, {f"{place}/config.js": PLANTED})
    assert len(trivy.scan(components, directory).findings) == 1


def test_licences_of_manifests_are_seen_and_every_manifest_is_accounted_for(
    trivy: TrivyBinary, tmp_path: Path
) -> None:
    nested = b'{"name": "@s/in", "version": "2.0.0", "license": "MIT"}'
    components, directory = unpacked(tmp_path, {"node_modules/@s/in/package.json": nested})
    result = trivy.scan(components, directory)
    licences = {(seen.package, seen.name) for seen in result.licences}
    assert licences == {("demo", "GPL-3.0-only"), ("@s/in", "MIT")}
    assert result.outcome == "scanned"


def test_a_bundled_manifest_that_it_drops_means_not_scanned(
    trivy: TrivyBinary, tmp_path: Path
) -> None:
    nested = b'{"name": "bad name!", "version": "2.0.0"}'
    components, directory = unpacked(tmp_path, {"node_modules/x/package.json": nested})
    result = trivy.scan(components, directory)
    assert result.outcome == "not-scanned"
    assert "left out pkg:npm/bad%20name%21@2.0.0" in str(result.reason)


def test_without_a_database_vulnerabilities_are_not_scanned_and_that_is_said(
    trivy: TrivyBinary, tmp_path: Path
) -> None:
    components, directory = unpacked(tmp_path, {})
    report = scan_all([trivy], components, directory=directory, max_age=timedelta(days=1))
    assert (report.result, report.covered, report.score) == ("not scanned", False, None)
    assert "no database and no server" in report.notes[0]


def test_a_broken_database_is_transient(trivy: TrivyBinary, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "db"
    folder.mkdir(parents=True)
    (folder / "trivy.db").write_bytes(os.urandom(20_000))
    with pytest.raises(ScanTransient, match="not scanned, exit code 1"):
        trivy.scan([Component(name="demo", version="1.0.0")], None)


def test_a_server_that_does_not_answer_is_transient(tmp_path: Path) -> None:
    assert TRIVY is not None
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    trivy = TrivyBinary(TRIVY, tmp_path, server_url=url, timeout=timedelta(seconds=30))
    with pytest.raises(ScanTransient, match="not scanned"):
        trivy.scan([Component(name="demo", version="1.0.0")], None)


def test_it_says_that_its_server_is_down_in_words_that_open_the_breaker(tmp_path: Path) -> None:
    assert TRIVY is not None
    with socket.create_server(("127.0.0.1", 0)) as probe:
        server = f"127.0.0.1:{probe.getsockname()[1]}"
    trivy = TrivyBinary(
        TRIVY, tmp_path / "cache", server_url=f"http://{server}", timeout=timedelta(seconds=60),
        breakers=Breakers(Rules(failures=1)),
    )  # fmt: skip
    with pytest.raises(CircuitOpen, match=r"its server failed: twirp error .*refused"):
        trivy.scan([Component(name="demo", version="1.0.0")], None)
