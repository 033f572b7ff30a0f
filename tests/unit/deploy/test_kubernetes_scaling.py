"""How many pods there are, at least and at most, by what they are counted, and room for them."""

import pytest

from backend.workloads import queues
from tests.kubernetes import (
    FOLDER,
    OVERLAYS,
    WORKERS,
    amount,
    container,
    documents,
    of_kind,
    pods,
    rendered,
    selects,
)

QUEUES = {
    "package-worker": {"packages"},
    "publisher": {"package_publisher"},
    "webhook-worker": {"events", "deliveries"},
    "splunk-worker": {"splunk"},
    "task-worker": {"tasks"},
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
    assert scalers.keys() == QUEUES.keys()
    assert set().union(*QUEUES.values()) == {queue.name for queue in queues()}
    for name, scaler in scalers.items():
        spec = scaler["spec"]
        assert spec["scaleTargetRef"]["name"] == name
        assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 10)
        asked = [it["metadata"] for it in spec["triggers"] if it["type"] == "metrics-api"]
        assert {it["valueLocation"] for it in asked} == {
            f'lockkeeper_queue_oldest_wait_seconds{{queue="{queue}"}}' for queue in QUEUES[name]
        }


def test_without_keda_the_same_workers_have_as_many_pods_by_processor() -> None:
    for scaler in documents((FOLDER / "components" / "autoscale-cpu" / "workers.yaml").read_text()):
        spec = scaler["spec"]
        name = spec["scaleTargetRef"]["name"]
        age = of_kind("production", "ScaledObject")[name]["spec"]
        assert spec["minReplicas"] == age["minReplicaCount"]
        assert spec["maxReplicas"] == age["maxReplicaCount"]


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
def test_no_container_asks_for_more_than_one_may_have(overlay: str) -> None:
    limits = of_kind(overlay, "LimitRange")["lockkeeper"]["spec"]["limits"]
    (largest,) = [it["max"] for it in limits if it["type"] == "Container"]
    for name, pod in pods(overlay).items():
        asked = container(pod)["resources"]
        for unit in AMOUNTS:
            low, high = (amount(str(asked[it][unit])) for it in ("requests", "limits"))
            assert low <= high <= amount(str(largest[unit])), (name, unit)
