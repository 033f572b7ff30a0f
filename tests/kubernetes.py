"""deploy/k8s as tests see it: what `kubectl kustomize` makes of an overlay, and what is in that."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

FOLDER: Final = Path(__file__).parents[1] / "deploy" / "k8s"
OVERLAYS: Final = ("dev", "production")
WORKERS: Final = (
    "package-worker", "publisher", "splunk-worker", "task-worker", "webhook-worker",
    "maintenance-worker",
)  # fmt: skip
COMPONENT: Final = "app.kubernetes.io/component"

Resource = Mapping[str, Any]


@lru_cache
def rendered(overlay: str) -> tuple[Resource, ...]:
    """Every resource of an overlay; skips the test where there is no kubectl to render it."""
    return documents(text(FOLDER / "overlays" / overlay))


def documents(written: str) -> tuple[Resource, ...]:
    return tuple(yaml.load_all(written, Loader=yaml.CSafeLoader))


def text(folder: Path) -> str:
    """What `kubectl kustomize` prints of a folder."""
    done = subprocess.run(
        [kubectl(), "kustomize", str(folder)], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "a warning of kustomize"
    return done.stdout


def kubectl() -> str:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("MANIFESTS NOT VALIDATED: there is no kubectl on this machine to render them")
    return program


def of_kind(overlay: str, *kinds: str) -> dict[str, Resource]:
    """Resources by name."""
    found = [it for it in rendered(overlay) if it["kind"] in kinds]
    names = {it["metadata"]["name"]: it for it in found}
    assert len(names) == len(found), "two of one name"
    return names


def pods(overlay: str) -> dict[str, Resource]:
    """The pod templates by the component's name, which is that of what makes the pods."""
    made = of_kind(overlay, "Deployment", "StatefulSet", "Job").values()
    templates = [it["spec"]["template"] for it in made]
    return {it["metadata"]["labels"][COMPONENT]: it for it in templates}


def container(pod: Resource) -> Resource:
    """The one container of a pod."""
    (only,) = pod["spec"]["containers"]
    found: Resource = only
    return found


def environment(overlay: str, pod: Resource) -> dict[str, str | Resource]:
    """A container's variables: their values, or where they come from."""
    mine = container(pod)
    maps = of_kind(overlay, "ConfigMap")
    given: dict[str, str | Resource] = {}
    for source in mine.get("envFrom", ()):
        given |= maps[source["configMapRef"]["name"]]["data"]
    return given | {it["name"]: it.get("value") or it["valueFrom"] for it in mine.get("env", ())}


def secrets_of(overlay: str, pod: Resource) -> Iterator[tuple[str, str, bool]]:
    """Each secret's value that a pod gets: the secret, the key, and whether it may be absent."""
    for value in environment(overlay, pod).values():
        if not isinstance(value, str) and (found := value.get("secretKeyRef")):
            yield found["name"], found["key"], found.get("optional", False)


def selects(selector: Resource, labels: Mapping[str, str]) -> bool:
    """Whether a label selector, of the kinds that are used here, finds who bears ``labels``."""
    for rule in selector.get("matchExpressions", ()):
        assert rule["operator"] == "In"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def amount(quantity: str) -> float:
    """A quantity such as 500m or 2Gi as a number."""
    for unit, factor in {"m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}.items():
        if quantity.endswith(unit):
            return float(quantity.removesuffix(unit)) * factor
    return float(quantity)
