"""How many pods there are, at least and at most, by what they are counted, and room for them."""

import os
from itertools import chain
from pathlib import Path

import pytest
import yaml

from backend.settings import Settings
from backend.workloads import queues
from backend.workloads.splunk.steps.tables import MOST_BYTES
from backend.workloads.tasks.lifecycle import MAINTENANCE, TASKS_QUEUE
from tests.kubernetes import (
    FOLDER,
    OVERLAYS,
    WORKERS,
    amount,
    container,
    documents,
    environment,
    of_kind,
    pods,
    rendered,
    selects,
    text,
)

QUEUES = {
    "package-worker": {"packages"},
    "publisher": {"package_publisher"},
    "webhook-worker": {"events", "deliveries"},
    "splunk-worker": {"splunk"},
    "task-worker": {
        f"tasks/{partition}"
        for partition in TASKS_QUEUE.partitions or ()
        if partition != MAINTENANCE
    },
    "maintenance-worker": {f"tasks/{MAINTENANCE}"},
}
AMOUNTS = ("cpu", "memory", "ephemeral-storage")


def test_the_api_has_three_to_ten_pods_by_processor_and_memory() -> None:
    (scaler,) = of_kind("production", "HorizontalPodAutoscaler").values()
    spec = scaler["spec"]
    assert spec["scaleTargetRef"]["name"] == "api"
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 10)
    targets = {it["resource"]["name"]: it["resource"]["target"] for it in spec["metrics"]}
    assert {name: it["averageUtilization"] for name, it in targets.items()} == {
        "cpu": 70, "memory": 80,
    }  # fmt: skip


def test_workers_have_two_to_ten_pods_by_the_age_of_their_own_queues() -> None:
    scalers = of_kind("production", "ScaledObject")
    assert scalers.keys() == QUEUES.keys() == set(WORKERS)
    wanted = [f"{queue.name}/{part}" if part else queue.name
              for queue in queues() for part in queue.partitions or [""]]  # fmt: skip
    assert sorted(chain.from_iterable(QUEUES.values())) == sorted(wanted)
    for name, scaler in scalers.items():
        spec = scaler["spec"]
        assert spec["scaleTargetRef"]["name"] == name
        assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 10)
        asked = [it["metadata"] for it in spec["triggers"] if it["type"] == "metrics-api"]
        assert {it["valueLocation"] for it in asked} == set(map(location, QUEUES[name]))


def location(queue: str) -> str:
    """Where the API tells the age of a queue, or of a partition of one: "queue/partition"."""
    name, _, partition = queue.partition("/")
    if partition:
        labels = f'queue="{name}",partition="{partition}"'
        return f"lockkeeper_partition_oldest_wait_seconds{{{labels}}}"
    return f'lockkeeper_queue_oldest_wait_seconds{{queue="{name}"}}'


def test_without_keda_the_same_workers_have_as_many_pods_by_processor() -> None:
    by_cpu = documents((FOLDER / "components" / "autoscale-cpu" / "workers.yaml").read_text())
    targets = [scaler["spec"]["scaleTargetRef"]["name"] for scaler in by_cpu]
    assert sorted(targets) == sorted(WORKERS)
    for name, scaler in zip(targets, by_cpu, strict=True):
        spec = scaler["spec"]
        age = of_kind("production", "ScaledObject")[name]["spec"]
        assert spec["minReplicas"] == age["minReplicaCount"]
        assert spec["maxReplicas"] == age["maxReplicaCount"]


def test_the_components_that_no_overlay_chooses_fit_together(tmp_path: Path) -> None:
    def path(*names: str) -> str:
        return os.path.relpath(FOLDER.joinpath(*names), tmp_path)

    chosen = ("storage-volumes", "availability", "autoscale-cpu")
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": [path("base")],
                "components": [path("components", name) for name in chosen],
            }
        )
    )
    made = documents(text(tmp_path))
    scaled = [
        it["spec"]["scaleTargetRef"]["name"]
        for it in made
        if it["kind"] == "HorizontalPodAutoscaler"
    ]
    deployed = {it["metadata"]["name"] for it in made if it["kind"] == "Deployment"}
    assert sorted(scaled) == sorted(deployed - {"trivy"})


def test_the_metric_is_asked_for_where_the_service_is() -> None:
    service = of_kind("production", "Service")["api"]
    (port,) = service["spec"]["ports"]
    space = service["metadata"]["namespace"]
    for scaler in of_kind("production", "ScaledObject").values():
        asked = [it for it in scaler["spec"]["triggers"] if it["type"] == "metrics-api"]
        assert port["port"] == 80
        assert {it["metadata"]["url"] for it in asked} == {f"http://api.{space}.svc/metrics"}
        assert {it["metadata"]["format"] for it in asked} == {"prometheus"}
        names = {it["authenticationRef"]["name"] for it in asked}
        assert names == of_kind("production", "TriggerAuthentication").keys()


def test_nobody_has_two_autoscalers_or_a_fixed_number_besides() -> None:
    scalers = [
        it["spec"]["scaleTargetRef"]["name"]
        for it in of_kind("production", "ScaledObject", "HorizontalPodAutoscaler").values()
    ]
    assert len(scalers) == len(set(scalers))
    for name in scalers:
        assert "replicas" not in of_kind("production", "Deployment")[name]["spec"]


def test_nothing_voluntary_ends_the_last_pod() -> None:
    budgets = of_kind("production", "PodDisruptionBudget")
    assert set(budgets) == {"api", *WORKERS}
    for name, budget in budgets.items():
        labels = pods("production")[name]["metadata"]["labels"]
        assert selects(budget["spec"]["selector"], labels)
        assert budget["spec"].get("minAvailable", 0) < 3, "one of three may go"
        assert budget["spec"].get("maxUnavailable", 1) == 1


def most(overlay: str) -> dict[str, int]:
    """The most pods of each deployment, with those that a roll-out adds; jobs have one."""
    limits = {
        it["spec"]["scaleTargetRef"]["name"]: it["spec"].get(
            "maxReplicaCount", it["spec"].get("maxReplicas")
        )
        for it in rendered(overlay)
        if it["kind"] in {"ScaledObject", "HorizontalPodAutoscaler"}
    }
    made = of_kind(overlay, "Deployment", "StatefulSet")
    counts = {name: limits.get(name, it["spec"].get("replicas", 1)) for name, it in made.items()}
    return {name: count + 1 for name, count in counts.items()} | {"migrate": 2}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_there_is_room_for_all_of_them_at_once(overlay: str) -> None:
    hard = of_kind(overlay, "ResourceQuota")["lockkeeper"]["spec"]["hard"]
    counts = most(overlay)
    assert counts.keys() == pods(overlay).keys()
    for kind in ("requests", "limits"):
        for unit in AMOUNTS:
            if f"{kind}.{unit}" not in hard:
                continue
            needed = sum(
                counts[name] * amount(str(container(pod)["resources"][kind][unit]))
                for name, pod in pods(overlay).items()
            )
            assert needed <= amount(str(hard[f"{kind}.{unit}"])), (kind, unit, needed)
    assert sum(counts.values()) <= int(hard["pods"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_a_pod_may_write_fits_its_limit_with_its_logs(overlay: str) -> None:
    """Else it is evicted before a volume says that it is full."""
    for name, pod in pods(overlay).items():
        volumes = [it["emptyDir"] for it in pod["spec"]["volumes"] if "emptyDir" in it]
        assert all("sizeLimit" in it for it in volumes), name
        on_disk = sum(amount(it["sizeLimit"]) for it in volumes if it.get("medium") != "Memory")
        limit = amount(container(pod)["resources"]["limits"]["ephemeral-storage"])
        logs = amount("50Mi")  # as the kubelet keeps them: five files of 10 MiB
        assert limit >= on_disk + logs, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_splunk_worker_has_room_for_all_the_archives_that_it_holds(overlay: str) -> None:
    pod = pods(overlay)["splunk-worker"]
    given = environment(overlay, pod)
    (tmp,) = [it["emptyDir"] for it in pod["spec"]["volumes"] if it["name"] == "tmp"]
    held = int(str(given["WORKER_CONCURRENCY"]))
    settings = Settings(_env_file=None)
    assert held * (settings.splunk_max_upload_bytes + 3 * MOST_BYTES) <= amount(tmp["sizeLimit"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_container_asks_for_more_than_one_may_have(overlay: str) -> None:
    limits = of_kind(overlay, "LimitRange")["lockkeeper"]["spec"]["limits"]
    (largest,) = [it["max"] for it in limits if it["type"] == "Container"]
    for name, pod in pods(overlay).items():
        asked = container(pod)["resources"]
        for unit in AMOUNTS:
            low, high = (amount(str(asked[it][unit])) for it in ("requests", "limits"))
            assert low <= high <= amount(str(largest[unit])), (name, unit)
