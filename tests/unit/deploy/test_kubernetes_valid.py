"""The manifests against the schemas of Kubernetes and of its extensions, and against Trivy's rules.

Nothing here reaches a cluster.
"""

import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes import FOLDER, OVERLAYS, Resource, documents, rendered, text
from tests.node_packages import installed, programs

INSTALL = Path(__file__).parents[2] / "kubernetes-install"
SCHEMAS = {
    "keda.sh/v1alpha1": "@kubernetes-models/keda",
    "monitoring.coreos.com/v1": "@kubernetes-models/prometheus-operator",
}
"""Where the schemas of custom resources come from; a group that is not here fails the test."""
RELEASE = "1.34"
UNTESTED = "CUSTOM RESOURCES NOT VALIDATED"
TRIVY = shutil.which("trivy", path=sysconfig.get_path("scripts"))


def everything() -> Iterator[Resource]:
    """Of all overlays, what is the same in two of them once; and what neither of them chooses."""
    seen: set[str] = set()
    unchosen = documents((FOLDER / "components" / "autoscale-cpu" / "workers.yaml").read_text())
    for resource in chain(unchosen, *map(rendered, OVERLAYS)):
        written = json.dumps(resource, sort_keys=True)
        if written not in seen:
            seen.add(written)
            yield resource


@pytest.mark.slow  # its first import alone takes two seconds
def test_kubernetes_knows_every_field() -> None:
    import kubernetes_validate

    own = [it for it in everything() if it["apiVersion"] not in SCHEMAS]
    for resource in own:
        kubernetes_validate.validate(resource, RELEASE, strict=True)
    assert len(own) > 40
    service = next(it for it in own if it["kind"] == "Service")
    wrong: dict[str, Any] = {**service, "spec": {**service["spec"], "slector": {}}}
    with pytest.raises(kubernetes_validate.ValidationError, match="slector"):
        kubernetes_validate.validate(wrong, RELEASE, strict=True)


def literal(number: int, resource: Resource) -> str:
    """TypeScript that names a field nobody knows an error, and then checks the values."""
    version, kind = resource["apiVersion"], resource["kind"]
    rest = {key: value for key, value in resource.items() if key not in {"apiVersion", "kind"}}
    return (
        f'import {{ {kind} as Kind{number} }} from "{SCHEMAS[version]}/{version}/{kind}";\n'
        f"new Kind{number}({json.dumps(rest)}).validate();\n"
    )


def checked(folder: Path, resources: list[Resource]) -> str:
    """What the compiler and then the schemas say: nothing where all is well."""
    node, _ = programs(UNTESTED)
    folder.mkdir()
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "node_modules").symlink_to(
        installed(INSTALL, "kubernetes", UNTESTED) / "node_modules"
    )
    lines = [literal(number, resource) for number, resource in enumerate(resources)]
    (folder / "check.ts").write_text("".join(lines))
    compiler = ["node_modules/typescript/bin/tsc", "--strict", "--skipLibCheck"]
    compile_ = [*compiler, "--module", "nodenext", "--target", "es2022", "check.ts"]
    for command in (compile_, ["check.js"]):
        done = subprocess.run(
            [node, *command], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            return done.stdout + done.stderr
    return ""


@pytest.mark.slow
def test_custom_resources_are_what_their_operators_understand(tmp_path: Path) -> None:
    custom = [it for it in everything() if it["apiVersion"] in SCHEMAS]
    assert {it["kind"] for it in custom} == {
        "PodMonitor", "PrometheusRule", "ScaledObject", "ServiceMonitor", "TriggerAuthentication",
    }  # fmt: skip
    assert checked(tmp_path / "right", custom) == ""
    scaled = next(it for it in custom if it["kind"] == "ScaledObject")
    wrong = {**scaled, "spec": {**scaled["spec"], "maxReplicas": 10}}
    assert "maxReplicas" in checked(tmp_path / "wrong", [wrong])


@pytest.mark.slow
@pytest.mark.skipif(TRIVY is None, reason="the trivy binary of the dev extra is absent")
def test_trivy_finds_nothing_high(tmp_path: Path) -> None:
    for overlay in OVERLAYS:
        (tmp_path / f"{overlay}.yaml").write_text(text(FOLDER / "overlays" / overlay))
    assert TRIVY is not None
    done = subprocess.run(
        [TRIVY, "config", "--quiet", "--skip-check-update", "--format", "json", str(tmp_path)],
        capture_output=True, text=True, timeout=100, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["Results"]
    assert sum(it["MisconfSummary"]["Successes"] for it in results) > 100, "it looked at something"
    failed = [found for it in results for found in it.get("Misconfigurations", ())]
    assert [it["ID"] for it in failed if it["Severity"] in {"HIGH", "CRITICAL"}] == []
