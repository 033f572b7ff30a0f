"""The compose files: valid, hardened, without a secret, and enough for each part to start."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from backend.database_roles import rights
from backend.database_roles.logins import parsed
from backend.identity.tokens import signing_secret
from backend.settings import Settings
from tests.compose import BASE, DEV, REPOSITORY, VARIABLE, Wanting, resolved
from workers.main import served

Services = dict[str, dict[str, Any]]

SECRETS = (
    "POSTGRES_PASSWORD", "JWT_SECRET", "METRICS_TOKEN", "WEBHOOK_KEY", "SPLUNK_KEY", "TASK_KEY",
    "SOURCE_TOKEN", "TARGET_TOKEN", "INFERENCE_TOKEN", "AWS_SECRET_ACCESS_KEY",
)  # fmt: skip
LOGINS = {
    "migrate": "DATABASE_URL", "api": "API_DATABASE_URL", "worker": "WORKER_DATABASE_URL",
    "publisher": "PUBLISHER_DATABASE_URL", "splunk-worker": "SPLUNK_DATABASE_URL",
    "task-worker": "TASK_DATABASE_URL",
}  # fmt: skip
"""Where each service's DATABASE_URL comes from."""
ENVIRONMENT = {name: f"{name.lower()}-".ljust(40, "7") for name in SECRETS} | {
    "JWT_SECRET": "Zk3v9Qw7Lx2Tb8Yp5Nd1Rf6Hs4Jg0McA",
    **{
        variable: f"postgresql://{name.replace('-', '_')}:word@db:5432/lockkeeper"
        for name, variable in LOGINS.items()
    },
    "TARGET_REPOSITORY_URL": "https://npm.example.test",
}
WORKERS = {"worker", "publisher", "splunk-worker", "task-worker"}


def load(*files: Path, **environment: str) -> dict[str, Any]:
    return resolved(*files, environment=ENVIRONMENT | environment)


@pytest.fixture(scope="module")
def base() -> Services:
    services: Services = load(BASE)["services"]
    return services


@pytest.fixture(scope="module")
def dev() -> Services:
    services: Services = load(BASE, DEV)["services"]
    return services


def validate(document: dict[str, Any]) -> None:
    PyCompose.from_json(json.dumps(document)).validate()


@pytest.mark.parametrize("files", [(BASE,), (BASE, DEV)], ids=["base", "base and dev"])
def test_they_are_what_the_specification_allows(files: tuple[Path, ...]) -> None:
    document = load(*files)
    volumes, services = document["volumes"], document["services"]

    validate(document)
    for service in services.values():
        sources = {str(volume).partition(":")[0] for volume in service.get("volumes", [])}
        assert {name for name in sources if not name.startswith((".", "/"))} <= set(volumes)
        assert set(service.get("depends_on", {})) <= set(services)


def test_a_slip_would_be_noticed() -> None:
    document = load(BASE)
    document["services"]["api"]["helthcheck"] = {}

    with pytest.raises(ValueError, match="helthcheck"):
        validate(document)


def test_the_parts_are_there(base: Services, dev: Services) -> None:
    assert set(base) == {"db", "migrate", "api", "trivy", *WORKERS}
    assert set(dev) - set(base) == {"registry", "prometheus"}
    assert {name for name, service in base.items() if "profiles" in service} == WORKERS - {"worker"}


@pytest.mark.parametrize("name", sorted(load(BASE)["services"]))
def test_a_service_is_hardened_and_limited(base: Services, name: str) -> None:
    service = base[name]
    limits = service["deploy"]["resources"]["limits"]

    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(limits) == {"cpus", "memory", "pids"}
    assert service["logging"]["options"]["max-size"]
    assert "healthcheck" in service
    assert service["restart"] == ("on-failure" if name == "migrate" else "unless-stopped")
    assert "cap_add" not in service or name == "db"
    assert "privileged" not in service


def test_only_the_api_listens_outside_and_only_on_this_host(base: Services, dev: Services) -> None:
    assert {name for name, service in base.items() if "ports" in service} == {"api"}
    assert base["api"]["ports"] == ["127.0.0.1:8000:8000"]
    assert dev["api"]["ports"] == ["127.0.0.1:8000:8000", "127.0.0.1:5000:8000"]
    assert dev["api"]["deploy"]["replicas"] == 1
    for service in dev.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_only_those_who_need_the_database_reach_it(base: Services) -> None:
    reach = {name for name, service in base.items() if "data" in service["networks"]}

    assert reach == {"db", "migrate", "api", *WORKERS}
    assert base["db"]["networks"] == ["data"]
    assert load(BASE)["networks"]["data"]["internal"] is True


def test_no_secret_stands_in_the_files() -> None:
    for file in (BASE, DEV):
        for name, said in environments(file):
            if name in {*SECRETS, *LOGINS.values(), "LISTEN_DATABASE_URL"}:
                assert VARIABLE.fullmatch(said)
                assert VARIABLE.fullmatch(said)["rest"] in {"", "run scripts/init-env first"}  # type: ignore[index]


def environments(file: Path) -> list[tuple[str, str]]:
    services = yaml.safe_load(file.read_text())["services"].values()
    return [pair for service in services for pair in (service.get("environment") or {}).items()]


def test_each_secret_is_handed_to_those_who_need_it(base: Services) -> None:
    holders = {
        secret: {name for name, s in base.items() if ENVIRONMENT[secret] in environment_of(s)}
        for secret in SECRETS
    }

    assert holders["POSTGRES_PASSWORD"] == {"db"}
    assert holders["JWT_SECRET"] == {"api"}
    assert holders["TARGET_TOKEN"] == {"publisher"}
    assert holders["SOURCE_TOKEN"] == {"worker"}
    assert holders["INFERENCE_TOKEN"] == {"worker", "task-worker"}
    assert holders["WEBHOOK_KEY"] == {"api", "worker"}
    assert holders["SPLUNK_KEY"] == {"api", "worker", "splunk-worker"}
    assert holders["TASK_KEY"] == {"api", "worker", "task-worker"}
    assert holders["METRICS_TOKEN"] == {"api", *WORKERS}


def environment_of(service: dict[str, Any]) -> set[str]:
    return set(service.get("environment", {}).values())


def test_every_setting_reaches_somebody(base: Services) -> None:
    reached = {name for service in base.values() for name in service.get("environment", {})}

    assert {str(field.alias) for field in Settings.model_fields.values()} - reached == {
        "WORKER_NAME"  # of two containers of one service it would name both
    }


@pytest.mark.parametrize("name", LOGINS)
def test_a_part_has_a_login_of_its_own_and_no_other(base: Services, name: str) -> None:
    """Else a worker that was taken over would be the API."""
    ours = ENVIRONMENT[LOGINS[name]]

    assert base[name]["environment"]["DATABASE_URL"] == ours
    assert {one for one in base if ours in " ".join(map(str, environment_of(base[one])))} == (
        {name, "migrate"}  # which makes them
    )


def test_a_login_is_in_the_roles_of_what_its_service_does(base: Services) -> None:
    logins = {
        login.name.replace("_", "-"): login.roles
        for login in parsed(base["migrate"]["environment"]["DATABASE_LOGINS"])
    }
    upkeep = {rights.TASKS, rights.MAINTENANCE}

    assert logins == {
        "api": {rights.API},
        "worker": {rights.VETTER, rights.WEBHOOKS, rights.SPLUNK, *upkeep},
        "publisher": {rights.PUBLISHER},
        "splunk-worker": {rights.SPLUNK},
        "task-worker": upkeep,
    }


def test_only_who_may_write_to_the_audit_log_holds_its_key(base: Services) -> None:
    assert {name for name, service in base.items() if service.get("secrets")} == {
        "worker", "task-worker",
    }  # fmt: skip
    assert {
        name for name in base if "AUDIT_SIGNING_KEY_FILE" in base[name].get("environment", {})
    } == {"worker", "task-worker"}


def test_no_part_writes_where_another_works(base: Services) -> None:
    """All are the same user: a worker could change what the publisher is about to publish."""
    scratch = [
        source
        for name in ("api", *WORKERS)
        for source, target, *_ in (str(volume).split(":") for volume in base[name]["volumes"])
        if target == base[name]["environment"]["TMPDIR"]
    ]

    assert len(scratch) == len({*scratch}) == 1 + len(WORKERS)
    assert "storage:/var/lib/lockkeeper/storage" not in base["publisher"]["volumes"]


@pytest.mark.parametrize("missing", ["JWT_SECRET", "DATABASE_URL", "TASK_KEY", "POSTGRES_PASSWORD"])
def test_without_init_env_it_says_what_to_do(missing: str) -> None:
    with pytest.raises(Wanting, match=f"{missing}: run scripts/init-env first"):
        load(BASE, **{missing: ""})


def settings_of(service: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in service["environment"].items():
        assert isinstance(value, str), name  # some engines cannot merge a number with a text
        monkeypatch.setenv(name, value)
    return Settings.load()


def test_the_api_accepts_its_environment(base: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(base["api"], monkeypatch)

    assert signing_secret(settings) == ENVIRONMENT["JWT_SECRET"]
    assert settings.api_host == "0.0.0.0"


@pytest.mark.parametrize("overlay", [False, True])
@pytest.mark.parametrize(
    ("name", "queues"),
    [
        ("worker", {"packages", "events", "deliveries", "splunk", "tasks"}),
        ("publisher", {"package_publisher"}),
        ("splunk-worker", {"splunk"}),
        ("task-worker", {"tasks"}),
    ],
)
def test_a_worker_accepts_its_environment_and_serves_what_its_name_says(
    base: Services, dev: Services, name: str, queues: set[str], overlay: bool,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    service = (dev if overlay else base)[name]
    program = tmp_path / "trivy"
    program.touch(0o755)
    changed = {"TRIVY_BINARY": str(program)}
    if overlay:
        changed["OSV_PATH"] = str(REPOSITORY / "examples" / "advisories")
    service = service | {"environment": service["environment"] | changed}

    assignments = served(settings_of(service, monkeypatch))

    assert {one.pipeline.queue.name for one in assignments} == queues


def test_a_worker_is_given_longer_to_end_than_it_takes(base: Services) -> None:
    for name in WORKERS:
        grace = float(base[name]["environment"]["WORKER_GRACE_PERIOD"])
        assert float(base[name]["stop_grace_period"].removesuffix("s")) >= grace + 10


def test_a_part_writes_only_to_volumes(base: Services) -> None:
    for name in ("api", *WORKERS):
        volumes = [str(volume).split(":") for volume in base[name]["volumes"]]
        written = tuple(target for _, target, *options in volumes if "ro" not in options)
        said = base[name]["environment"]
        folders = [said[key] for key in said if key == "TMPDIR" or key.endswith("_DIR")]
        assert folders
        assert all(folder.startswith(written) for folder in folders)


def test_a_part_has_as_many_processors_as_it_believes(base: Services) -> None:
    for name in ("api", *WORKERS):
        limit = float(base[name]["deploy"]["resources"]["limits"]["cpus"])
        assert limit == float(base[name]["environment"]["PYTHON_CPU_COUNT"])


def test_the_dev_overlay_mounts_the_code_over_that_of_the_image(dev: Services) -> None:
    for name in ("api", *WORKERS):
        assert dev[name]["entrypoint"][0] == "python"
        assert dev[name]["command"] == [name if name == "api" else "worker"]
        for volume in dev[name]["volumes"]:
            source, target = str(volume).split(":")[:2]
            if source.startswith("./"):
                assert (REPOSITORY / source).is_dir()
            if source in {"./backend", "./workers"}:
                assert target == f"/opt/lockkeeper/code/{source.removeprefix('./')}"


def test_prometheus_scrapes_parts_that_there_are(dev: Services) -> None:
    file = REPOSITORY / "deploy" / "prometheus" / "prometheus.yml"
    jobs = yaml.safe_load(file.read_text())["scrape_configs"]
    asked = {
        (name, discovery["port"])
        for job in jobs
        for discovery in job["dns_sd_configs"]
        for name in discovery["names"]
    }
    port = {"api": "API_PORT"} | dict.fromkeys(WORKERS, "WORKER_METRICS_PORT")

    assert {name for name, _ in asked} == {"api", *WORKERS}
    assert all(str(number) == dev[name]["environment"][port[name]] for name, number in asked)
    assert {job["authorization"]["credentials_file"] for job in jobs} == {
        f"/run/secrets/{dev['prometheus']['secrets'][0]}"
    }
