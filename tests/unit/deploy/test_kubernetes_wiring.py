"""Names in the manifests that have to agree with each other, and with the code."""

import re
from fnmatch import fnmatch
from importlib.metadata import version
from itertools import chain
from typing import Any

import pytest
from flask import Flask
from prometheus_client import CollectorRegistry

from backend.cli import cli
from backend.settings import Settings
from backend.web.health import bp
from backend.workloads.splunk.uploading import AT_MOST
from tests.kubernetes import (
    COMPONENT,
    OVERLAYS,
    WORKERS,
    Resource,
    container,
    environment,
    of_kind,
    pods,
    rendered,
    selects,
)
from workers.health import Probes

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
OURS = ("api", "migrate", *WORKERS)
TRIVY_ANSWERS = "/healthz"
WAYS_OUT = {  # besides the names of hosts
    "api": {"database", "storage"},
    "migrate": {"database"},
    "package-worker": {"database", "internet", "storage", "trivy"},
    "publisher": {"database", "internet", "storage"},
    "webhook-worker": {"database", "internet"},
    "splunk-worker": {"database", "storage"},
    "task-worker": {"database", "storage"},
    "maintenance-worker": {"database", "storage"},
    "trivy": {"internet"},
    "db": set[str](),
}

everywhere = pytest.mark.parametrize("overlay", OVERLAYS)


def ports(pod: Resource) -> dict[str, int]:
    return {it["name"]: it["containerPort"] for it in container(pod).get("ports", ())}


@everywhere
def test_what_is_referred_to_is_there(overlay: str) -> None:
    accounts, claims = of_kind(overlay, "ServiceAccount"), of_kind(overlay, "PersistentVolumeClaim")
    for name, pod in pods(overlay).items():
        spec = pod["spec"]
        assert spec.get("serviceAccountName") in {*accounts, None}, name
        volumes = {it["name"]: it for it in spec.get("volumes", ())}
        used = {it["persistentVolumeClaim"]["claimName"] for it in volumes.values()
                if "persistentVolumeClaim" in it}  # fmt: skip
        assert used <= claims.keys(), name
        mounted = [it["name"] for it in container(pod).get("volumeMounts", ())]
        assert set(mounted) - {"database"} == volumes.keys(), name
        paths = [it["mountPath"] for it in container(pod).get("volumeMounts", ())]
        assert len(set(paths)) == len(paths), name


@everywhere
def test_no_volume_is_claimed_for_nobody(overlay: str) -> None:
    used = re.findall(r"'claimName': '([a-z-]+)'", str(pods(overlay)))
    assert set(used) == of_kind(overlay, "PersistentVolumeClaim").keys()


@everywhere
def test_services_lead_to_one_kind_of_pod_and_to_a_port_of_it(overlay: str) -> None:
    for name, service in of_kind(overlay, "Service").items():
        selector = {"matchLabels": service["spec"]["selector"]}
        (found,) = [p for p in pods(overlay).values() if selects(selector, p["metadata"]["labels"])]
        assert found["metadata"]["labels"][COMPONENT] == name
        assert {it["targetPort"] for it in service["spec"]["ports"]} <= ports(found).keys()


@everywhere
def test_selectors_of_deployments_find_their_own_pods_alone(overlay: str) -> None:
    for made in of_kind(overlay, "Deployment", "StatefulSet").values():
        labels = made["spec"]["template"]["metadata"]["labels"]
        found = [n for n, p in pods(overlay).items()
                 if selects(made["spec"]["selector"], p["metadata"]["labels"])]  # fmt: skip
        assert found == [labels[COMPONENT]]
        for spread in made["spec"]["template"]["spec"].get("topologySpreadConstraints", ()):
            assert spread["labelSelector"] == made["spec"]["selector"]


@everywhere
def test_probes_ask_what_is_answered(overlay: str) -> None:
    worker = Probes(lambda: True, dict, CollectorRegistry())
    host = Flask("api")
    host.register_blueprint(bp)
    api = {rule.rule for rule in host.url_map.iter_rules()}
    for name, pod in pods(overlay).items():
        for probe in (container(pod)[it] for it in PROBES if it in container(pod)):
            if "exec" in probe:
                program, command = probe["exec"]["command"][:2]
                assert program == "pg_isready" or command in cli.commands
                continue
            asked = probe["httpGet"]
            assert asked["port"] in ports(pod)
            if name in WORKERS:
                assert worker.answer(asked["path"], "").status == 200
            else:
                assert asked["path"] in (api if name == "api" else {TRIVY_ANSWERS})


@everywhere
def test_all_that_stay_are_probed_in_three_ways(overlay: str) -> None:
    staying = pods(overlay).keys() - {"migrate"}
    assert all(it in container(pods(overlay)[name]) for name in staying for it in PROBES)


@everywhere
def test_an_api_without_workers_stays_in_service(overlay: str) -> None:
    """`/ready` is 503 then, so that it must not decide who gets requests."""
    probe = container(pods(overlay)["api"])["readinessProbe"]
    assert probe["exec"]["command"] == ["lockkeeper", "health", "api"]
    assert container(pods(overlay)["api"])["args"] == ["api"]


@everywhere
def test_an_api_that_takes_uploads_with_all_its_threads_is_not_killed(overlay: str) -> None:
    probe = container(pods(overlay)["api"])["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > AT_MOST.total_seconds()


@everywhere
def test_a_changed_setting_changes_no_job(overlay: str) -> None:
    """It could not be applied: a job's template is immutable."""
    settings = [name for name in of_kind(overlay, "ConfigMap") if name.startswith("settings-")]
    assert len(settings) == 1
    for job in of_kind(overlay, "Job").values():
        assert settings[0] not in str(job)
    assert settings[0] in str(of_kind(overlay, "Deployment")["api"])


def test_a_certificates_challenge_is_answered() -> None:
    """By a pod of cert-manager's in this namespace, behind a Service of type NodePort."""
    solver: Resource = {"metadata": {"labels": {"acme.cert-manager.io/http01-solver": "true"}}}
    (rule,) = allowed("production", "Ingress", solver)
    assert "haproxy-controller" in str(rule["from"])
    assert rule["ports"] == [{"protocol": "TCP", "port": 8089}]
    quota = of_kind("production", "ResourceQuota")["lockkeeper"]["spec"]["hard"]
    assert int(quota["services.nodeports"]) >= 1


def test_a_lost_zone_does_not_keep_the_others_small() -> None:
    (spread,) = pods("production")["api"]["spec"]["topologySpreadConstraints"]
    assert spread["whenUnsatisfiable"] == "DoNotSchedule"
    assert spread["nodeTaintsPolicy"] == "Honor", "nodes that are down count for nothing"
    assert spread["matchLabelKeys"] == ["pod-template-hash"]


@everywhere
def test_ports_are_those_that_are_listened_at(overlay: str) -> None:
    assert ports(pods(overlay)["api"]) == {"http": Settings(_env_file=None).api_port}
    for worker in pods(overlay).keys() & set(WORKERS):
        pod = pods(overlay)[worker]
        given = environment(overlay, pod)
        assert ports(pod) == {"metrics": int(str(given["WORKER_METRICS_PORT"]))}
        assert given["WORKER_METRICS_HOST"] == "0.0.0.0"


@everywhere
def test_a_worker_has_time_to_drain(overlay: str) -> None:
    for worker in pods(overlay).keys() & set(WORKERS):
        pod = pods(overlay)[worker]
        grace = float(str(environment(overlay, pod)["WORKER_GRACE_PERIOD"]))
        assert pod["spec"]["terminationGracePeriodSeconds"] >= grace + 10


@everywhere
def test_no_pod_could_do_harm_to_its_node_or_cluster(overlay: str) -> None:
    for name, pod in pods(overlay).items():
        spec, own = pod["spec"], container(pod)["securityContext"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec.get("shareProcessNamespace") is (True if name != "db" else None), name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] >= 999, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert own["readOnlyRootFilesystem"] is True, name
        assert own["allowPrivilegeEscalation"] is False, name
        assert own["capabilities"] == {"drop": ["ALL"]}, name
        assert not [it for it in spec["volumes"] if "hostPath" in it], name


@everywhere
def test_roles_read_no_secret_and_change_nothing(overlay: str) -> None:
    (role,) = of_kind(overlay, "Role").values()
    assert not of_kind(overlay, "ClusterRole", "ClusterRoleBinding")
    verbs = set(chain.from_iterable(rule["verbs"] for rule in role["rules"]))
    resources = set(chain.from_iterable(rule["resources"] for rule in role["rules"]))
    assert verbs == {"get", "list", "watch"}
    assert not resources & {"secrets", "*", "pods/exec"}
    (bound,) = of_kind(overlay, "RoleBinding").values()
    assert {it["kind"] for it in bound["subjects"]} == {"Group"}, "no pod's account"


def allowed(overlay: str, direction: str, pod: Resource) -> list[Any]:
    """The rules for a pod, of all policies that select it."""
    labels = pod["metadata"]["labels"]
    policies = of_kind(overlay, "NetworkPolicy").values()
    chosen = [it["spec"] for it in policies if selects(it["spec"]["podSelector"], labels)]
    assert any(direction in it["policyTypes"] for it in chosen), "else everything is allowed"
    rules: list[Any] = list(chain.from_iterable(it.get(direction.lower(), ()) for it in chosen))
    return rules


@everywhere
def test_every_pod_may_go_where_it_must_and_nowhere_else(overlay: str) -> None:
    shared = {"storage"} if overlay == "dev" else set()  # a volume there
    for name, pod in pods(overlay).items():
        seen = set()
        for rule in allowed(overlay, "Egress", pod):
            found = {it["port"] for it in rule["ports"]}
            if 53 in found:
                continue
            blocks = [it["ipBlock"] for it in rule["to"] if "ipBlock" in it]
            wide = [it for it in blocks if it["cidr"] == "0.0.0.0/0"]
            assert all("169.254.0.0/16" in it["except"] for it in wide), "the cloud's metadata"
            narrow = any("10.0.0.0/8" in it["except"] for it in wide)
            seen |= {
                "trivy" if 4954 in found else "database" if 5432 in found
                else "internet" if narrow else "storage"
            }  # fmt: skip
        assert seen == WAYS_OUT[name] - shared, name


@everywhere
def test_nobody_is_reached_but_by_who_must(overlay: str) -> None:
    for name, pod in pods(overlay).items():
        rules = allowed(overlay, "Ingress", pod)
        assert all(rule["from"] and rule["ports"] for rule in rules)
        text = str(rules)
        assert ("haproxy-controller" in text) is (overlay == "production" and name == "api")
        assert ("monitoring" in text) is (overlay == "production" and name in {"api", *WORKERS})
        assert ("'database'" in text) is (name == "db")


def test_images_are_of_this_release_and_the_job_bears_its_name() -> None:
    release = version("lockkeeper")
    for name in OURS:
        pod = pods("production")[name]
        kind = "api" if name in {"api", "migrate"} else "worker"
        image = f"registry.example.test/lockkeeper-{kind}:{release}"
        assert container(pod)["image"] == image
    assert set(of_kind("production", "Job")) == {f"migrate-{release}"}


@everywhere
def test_every_image_has_a_tag_that_stands(overlay: str) -> None:
    images = {container(pod)["image"] for pod in pods(overlay).values()}
    assert all(fnmatch(it, "*:*") and not it.endswith(":latest") for it in images)


def test_everything_is_in_one_namespace() -> None:
    for overlay in OVERLAYS:
        for resource in rendered(overlay):
            wanted = None if resource["kind"] == "Namespace" else "lockkeeper"
            assert resource["metadata"].get("namespace") == wanted
