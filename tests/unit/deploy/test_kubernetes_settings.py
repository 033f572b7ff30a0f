"""What the pods are told: settings that the processes know, and secrets that they may know."""

import os
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import make_url

from backend.database_roles import logins
from backend.database_roles.rights import API, OWNER, PUBLISHER, READER, ROLES
from backend.settings import Settings
from backend.workloads import queues
from tests.kubernetes import (
    FOLDER,
    OVERLAYS,
    WORKERS,
    documents,
    environment,
    of_kind,
    pods,
    rendered,
    secrets_of,
)
from workers.main import served

KNOWN = {str(field.alias) for field in Settings.model_fields.values()}
OF_OTHERS = {
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "PYTHON_CPU_COUNT", "TMPDIR",
    "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD",
}  # fmt: skip
INIT_ENV = FOLDER.parents[1] / "scripts" / "init-env"
KEYS = {  # of lockkeeper-keys and lockkeeper-s3, by the pods that get them
    "api": {"JWT_SECRET", "METRICS_TOKEN", "WEBHOOK_KEY", "SPLUNK_KEY", "TASK_KEY"},
    "package-worker": {"METRICS_TOKEN", "SOURCE_TOKEN"},
    "publisher": {"METRICS_TOKEN", "SOURCE_TOKEN", "TARGET_TOKEN"},
    "webhook-worker": {"METRICS_TOKEN", "WEBHOOK_KEY"},
    "splunk-worker": {"METRICS_TOKEN", "SPLUNK_KEY"},
    "task-worker": {"METRICS_TOKEN", "TASK_KEY", "INFERENCE_TOKEN"},
    "maintenance-worker": {"METRICS_TOKEN"},
    "migrate": set[str](),
    "trivy": set[str](),
    "db": {"POSTGRES_PASSWORD"},
}
LOGINS = {
    "api": "api", "migrate": "owner", "package-worker": "vetter", "publisher": "publisher",
    "webhook-worker": "webhooks", "splunk-worker": "splunk", "task-worker": "tasks",
    "maintenance-worker": "maintenance",
}  # fmt: skip

everywhere = pytest.mark.parametrize("overlay", OVERLAYS)


@everywhere
def test_every_variable_is_one_that_somebody_reads(overlay: str) -> None:
    for name, pod in pods(overlay).items():
        assert environment(overlay, pod).keys() <= KNOWN | OF_OTHERS, name


@pytest.mark.slow  # it imports what every kind of worker needs
def test_every_worker_starts_with_its_settings_and_together_they_serve_every_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in KNOWN & os.environ.keys():
        monkeypatch.delenv(name)
    found: list[str] = []
    for worker in WORKERS:
        with monkeypatch.context() as only:
            for name, value in environment("production", pods("production")[worker]).items():
                only.setenv(name, value if isinstance(value, str) else f"{name:x<40}")
            only.setenv("DATABASE_URL", "postgresql://lockkeeper@db/lockkeeper")
            only.setenv("TRIVY_BINARY", "/usr/local/bin/trivy")  # as the image says
            assignments = served(Settings.load())
        for it in assignments:
            found += [f"{it.pipeline.queue.name}/{part}" for part in it.partitions or [""]]

    wanted = [f"{queue.name}/{part}" for queue in queues() for part in queue.partitions or [""]]
    assert sorted(found) == sorted(wanted), "each by one deployment"


@everywhere
def test_each_pod_gets_the_secrets_it_needs_and_no_other(overlay: str) -> None:
    for name, pod in pods(overlay).items():
        given = {(secret, key) for secret, key, _ in secrets_of(overlay, pod)}
        assert {key for secret, key in given if secret == "lockkeeper-keys"} == KEYS[name], name
        urls = {key for secret, key in given if secret == "lockkeeper-database"} - {"listen"}
        assert ("logins" in urls) is (name == "migrate"), name
        urls.discard("logins")
        assert urls == {LOGINS[name]} if name in LOGINS else not urls, name


def test_there_is_a_login_for_each_role_of_the_database() -> None:
    words = {role.removeprefix("lockkeeper_") for role in ROLES if role != READER}

    assert set(LOGINS.values()) == words
    assert LOGINS["migrate"] == OWNER.removeprefix("lockkeeper_")


@everywhere
def test_no_secret_is_in_the_manifests(overlay: str) -> None:
    assert not of_kind(overlay, "Secret")
    secret = {
        str(field.alias)
        for field in Settings.model_fields.values()
        if "SecretStr" in str(field.annotation)
    }
    for name, pod in pods(overlay).items():
        written = {it for it, value in environment(overlay, pod).items() if isinstance(value, str)}
        assert not written & (secret | {"AWS_SECRET_ACCESS_KEY", "POSTGRES_PASSWORD"}), name


def made(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FOLDER / "secrets-from-env", folder], capture_output=True, text=True, check=False
    )


def test_the_secrets_of_a_first_try_are_those_that_the_pods_ask_for(tmp_path: Path) -> None:
    subprocess.run([INIT_ENV, tmp_path], check=True, capture_output=True)
    done = made(tmp_path)
    assert done.returncode == 0, done.stderr
    secrets = {it["metadata"]["name"]: it["stringData"] for it in documents(done.stdout)}

    for pod in pods("dev").values():
        for secret, key, optional in secrets_of("dev", pod):
            assert optional or secrets[secret][key], (secret, key)
    written = dict(
        line.split("=", 1)
        for line in (tmp_path / ".env").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    urls = secrets["lockkeeper-database"]
    assert urls["owner"] == written["DATABASE_URL"]
    assert urls["api"] == written["API_DATABASE_URL"]
    parts = {login.name: login.roles for login in logins.parsed(urls["logins"])}
    assert OWNER not in set().union(*parts.values())
    for part in set(LOGINS.values()) - {"owner"}:
        assert f"lockkeeper_{part}" in parts[str(make_url(urls[part]).username)], part
    assert parts["api"] == {API}
    assert parts["publisher"] == {PUBLISHER}
    assert secrets["lockkeeper-keys"]["JWT_SECRET"] == written["JWT_SECRET"]
    key = (tmp_path / "secrets" / "audit-key.pem").read_text()
    assert secrets["lockkeeper-audit"]["audit-key.pem"] == key


def test_a_secret_with_every_kind_of_quote_arrives_as_it_is(tmp_path: Path) -> None:
    odd = """it's "so": #1 $HOME \\ %s {}"""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "audit-key.pem").write_text("pem\n")
    lines = (
        f"DATABASE_URL=x\nTARGET_TOKEN={odd}\nAWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY={odd}\n"
    )
    (tmp_path / ".env").write_text(lines)

    secrets = {it["metadata"]["name"]: it for it in documents(made(tmp_path).stdout)}
    assert secrets["lockkeeper-keys"]["stringData"]["TARGET_TOKEN"] == odd
    assert secrets["lockkeeper-s3"]["stringData"]["AWS_SECRET_ACCESS_KEY"] == odd


def test_without_env_it_says_what_to_do(tmp_path: Path) -> None:
    done = made(tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert "run scripts/init-env first" in done.stderr


@everywhere
def test_every_map_of_settings_is_in_use(overlay: str) -> None:
    (settings,) = of_kind(overlay, "ConfigMap").values()
    name = settings["metadata"]["name"]
    assert name.startswith("settings-"), "a hash rolls the pods when a setting changes"
    assert str(rendered(overlay)).count(name) > len(WORKERS)
