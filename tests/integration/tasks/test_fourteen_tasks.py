"""Every task type from data that were sent over HTTP to a result that its schema describes."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from backend.db import make_engine
from backend.identity.roles import Role
from backend.workloads.tasks.registry import task_types
from tests.callers import Caller
from tests.conftest import CreateDatabase, open_directory
from tests.integration.tasks.task_house import TaskHouse
from tests.tickets import tickets
from workers.isolation import Children

# In this order: a goal is planned before its progress is asked for, a model made before it is used.
EXAMPLES: dict[str, dict[str, Any]] = {
    "aggregate_ari_snapshots": {},
    "analyze_ari_trends": {},
    "plan_ffe_goal": {"goal_id": 1},
    "track_ffe_progress": {"goal_id": 1},
    "edm_batch_analysis": {},
    "edm_track_resolutions": {},
    "edm_detect_misinformation": {},
    "finetune_model": {"model_name": "tickets", "training_samples": 60},
    "evaluate_model": {"model_name": "tickets"},
    "benchmark_model": {
        "model_name": "tickets", "scenarios": [{"batch_size": 2, "text_length": 40}],
    },
    "archive_audit_logs": {"dry_run": True},
    "maintain_database": {"dry_run": True},
    "cleanup_cache": {"dry_run": True},
    "enforce_retention_policy": {"dry_run": True, "policy": {"ari_snapshots": 90}},
}  # fmt: skip


@pytest.fixture(scope="module")
def house(
    create_database: CreateDatabase, migrated: str, children: Children
) -> Iterator[TaskHouse]:
    with (
        create_database(migrated) as url,
        open_directory() as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("tempfile.tempdir", str(folder))  # where a child's own user may enter
        (folder / "archives").mkdir()
        engine = make_engine(url, application_name="lockkeeper-tests")
        house = TaskHouse(
            engine,
            children,
            DATABASE_URL=url,
            STORAGE_DIR=folder / "storage",
            AUDIT_ARCHIVE_DIR=folder / "archives",
            PACKAGE_CACHE_DIR=folder / "cache",
        )
        try:
            yield house
        finally:
            house.close()
            engine.dispose()


def send(by: Caller, kind: str, lines: Iterable[dict[str, Any]]) -> None:
    answer = by(
        "POST", f"/api/data/{kind}/import",
        data="\n".join(map(json.dumps, lines)), content_type="application/x-ndjson",
    )  # fmt: skip
    assert answer.status_code == 200, answer.text


def send_something_of_everything(by: Caller) -> None:
    now = datetime.now(UTC)
    days = [(now - timedelta(days=day, hours=1)).isoformat() for day in range(12)]
    focus = [{"metric": "focus", "value": 50 - n, "taken_at": day} for n, day in enumerate(days)]
    send(by, "ari-snapshots", focus)
    send(by, "goals", [{"title": "Write a parser for ledger files"}])
    claim = {"claim": "Garlic cures every kind of cancer.", "verdict": "refuted",
             "explanation": "No trial has shown it.", "sources": ["A review, 2020"]}  # fmt: skip
    assert by("POST", "/api/data/claims", json=claim).status_code == 201
    said = "Garlic cures every kind of cancer. Things got a lot better somehow."
    send(by, "interactions", [{"occurred_at": days[0], "text": said}])
    labelled = [
        {"model_name": "tickets", "text": text, "label": label} for text, label in tickets(120)
    ]
    send(by, "training-samples", labelled)


def test_every_schema_is_one_and_describes_what_it_holds() -> None:
    assert sorted(EXAMPLES) == list(task_types())
    for kind in task_types().values():
        parameters = kind.parameters.model_json_schema()
        result = kind.result.model_json_schema(mode="serialization")
        Draft202012Validator(parameters).validate(EXAMPLES[kind.name])
        Draft202012Validator(result)
        assert parameters["additionalProperties"] is False, kind.name
        for name, field in parameters["properties"].items():
            assert field.get("title"), f"{kind.name}: {name}"


@pytest.mark.slow
def test_every_type_is_performed(house: TaskHouse) -> None:
    admin = house.people("root", Role.ADMIN)
    send_something_of_everything(admin)
    for name, parameters in EXAMPLES.items():
        task_id = house.submitted(admin, name, parameters=parameters)
        house.work()
        task = house.task(admin, task_id)
        assert (task["status"], task["error_message"], task["progress"]) == (
            "completed", None, 100,
        ), name  # fmt: skip
        schema = task_types()[name].result.model_json_schema(mode="serialization")
        Draft202012Validator(schema).validate(task["result"])
        assert task["result"].get("status") != "insufficient_data", name
