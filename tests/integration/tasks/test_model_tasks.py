"""Models from imported samples to stored artefacts, each task in a real child."""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from backend.autocommit import Autocommit
from backend.db import make_engine
from backend.identity.roles import Role
from backend.queue.retry import Transient
from backend.storage.configured import blobs_of
from backend.workloads.tasks.models import housekeeping, storing
from backend.workloads.tasks.models.artefact import MARK, unpacked
from backend.workloads.tasks.models.keys import folder_of, master_key
from backend.workloads.tasks.models.model import TextModel, TrainingSample
from backend.workloads.tasks.registry import Asked
from backend.workloads.tasks.tools import Tools
from tests.callers import Caller, make_settings
from tests.conftest import CreateDatabase
from tests.integration.tasks.task_house import TaskHouse
from tests.tickets import tickets
from workers.isolation import Children

DAYS = 2 * 86400.0  # seconds
QUICK = [{"batch_size": 2, "text_length": 40}]


@pytest.fixture(scope="module")
def house(
    create_database: CreateDatabase,
    migrated: str,
    children: Children,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TaskHouse]:
    with create_database(migrated) as url:
        engine = make_engine(url, application_name="lockkeeper-tests")
        house = TaskHouse(engine, children, STORAGE_DIR=tmp_path_factory.mktemp("storage"))
        try:
            yield house
        finally:
            house.close()
            engine.dispose()


def add(by: Caller, name: str, samples: Iterable[tuple[str, str]], **side: str) -> dict[str, Any]:
    lines = [{"model_name": name, "text": text, "label": label, **side} for text, label in samples]
    answer = by(
        "POST", "/api/data/training-samples/import",
        data="\n".join(map(json.dumps, lines)), content_type="application/x-ndjson",
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    imported: dict[str, Any] = answer.get_json()
    return imported


def ended(house: TaskHouse, by: Caller, kind: str, name: str, **parameters: Any) -> dict[str, Any]:
    task_id = house.submitted(by, kind, parameters={"model_name": name, **parameters})
    house.work()
    return house.task(by, task_id)


def result(house: TaskHouse, by: Caller, kind: str, name: str, **parameters: Any) -> Any:
    task = ended(house, by, kind, name, **parameters)
    assert (task["status"], task["error_message"]) == ("completed", None)
    return task["result"]


def error(house: TaskHouse, by: Caller, kind: str, name: str, **parameters: Any) -> str:
    task = ended(house, by, kind, name, **parameters)
    assert (task["status"], task["failure"]) == ("failed", "permanent")
    return str(task["error_message"])


def read(by: Caller, path: str, status: int = 200) -> Any:
    answer = by("GET", f"/api/data/{path}")
    assert answer.status_code == status, answer.text
    return answer.get_json()


def stored(house: TaskHouse, model_id: int) -> Path:
    """The file in the store."""
    with house.sessions.begin() as session:
        key = session.scalar(select(TextModel.blob_key).where(TextModel.id == model_id)) or ""
    folder, _, name = key.partition("/")
    return house.settings.storage_dir / folder / name[:2] / name


def test_a_model_is_trained_stored_evaluated_and_timed(house: TaskHouse) -> None:
    ada = house.people("ada")
    assert add(ada, "tickets", tickets(300)) == {"accepted": 300, "duplicates": 0}
    assert add(ada, "tickets", [(tickets(1)[0][0].upper(), "other")])["duplicates"] == 1

    made = result(house, ada, "finetune_model", "tickets", training_samples=200)
    evaluated = result(house, ada, "evaluate_model", "tickets", test_samples=40)
    timed = result(house, ada, "benchmark_model", "tickets", scenarios=QUICK)

    assert (made["version"], made["samples"]["trained_on"]) == (1, 200)
    assert made["held_out"]["beats_baseline"]
    assert made["held_out"]["samples"] == made["samples"]["held_out"]
    assert sum(made["trained"].values()) == 200
    assert (evaluated["sha256"], evaluated["trained"]) == (made["sha256"], made["trained"])
    assert evaluated["quality"]["samples"] == 40
    assert evaluated["samples"]["left_out_as_trained_on"] == 0
    assert timed["sha256"] == made["sha256"]
    (scenario,) = timed["scenarios"]
    for figure in (timed["load_time"], timed["memory"], scenario["throughput"]):
        assert (figure["status"], figure["value"] >= 0) == ("measured", True)
    assert 0 < scenario["latency_p50"]["value"] <= scenario["latency_p95"]["value"]


def test_no_held_out_sample_is_trained_on(house: TaskHouse) -> None:
    ben = house.people("ben")
    add(ben, "m", tickets(80))
    made = result(house, ben, "finetune_model", "m", training_samples=80)
    (model,) = read(ben, "models?name=m")["models"]
    answer = ben("GET", f"/api/data/models/{model['id']}/artefact")
    header, _ = unpacked(answer.data)

    with house.sessions.begin() as session:
        sides = {
            digest.hex()[:MARK]: (split, row_id)
            for digest, split, row_id in session.execute(
                select(TrainingSample.digest, TrainingSample.split, TrainingSample.id).where(
                    TrainingSample.user_id == ben.id
                )
            )
        }
    assert {sides[mark][0] for mark in header.samples} == {"train"}
    assert len(header.samples) == made["samples"]["trained_on"]
    # One that changes sides by being stored anew is known again.
    moved = [
        read(ben, "training-samples?split=train&limit=3")["samples"][place] for place in (0, 1)
    ]
    for sample in moved:
        assert ben("DELETE", f"/api/data/training-samples/{sample['id']}").status_code == 204
    add(ben, "m", [(sample["text"], sample["label"]) for sample in moved], split="test")

    samples = result(house, ben, "evaluate_model", "m")["samples"]
    assert samples["left_out_as_trained_on"] == 2
    assert samples["measured_on"] == samples["held_out"] - 2


def test_equal_training_gives_an_equal_hash_and_a_new_version(house: TaskHouse) -> None:
    cleo = house.people("cleo")
    add(cleo, "m", tickets(60))

    made = [
        result(house, cleo, "finetune_model", "m", training_samples=count, learning_rate=rate)
        for count, rate in ((40, 0.5), (40, 0.5), (40, 0.25), (30, 0.5))
    ]

    assert [one["version"] for one in made] == [1, 2, 3, 4]
    assert made[0]["sha256"] == made[1]["sha256"]
    assert len({one["sha256"] for one in made}) == 3
    first = result(house, cleo, "evaluate_model", "m", version=1)
    assert (first["version"], first["sha256"]) == (1, made[0]["sha256"])
    assert "no version 9 of a model" in error(house, cleo, "evaluate_model", "m", version=9)


def test_a_model_is_its_owners_and_its_bytes_are_encrypted(house: TaskHouse) -> None:
    dan, eve, root = house.people("dan"), house.people("eve"), house.people("root", Role.ADMIN)
    add(dan, "m", tickets(60))
    made = result(house, dan, "finetune_model", "m", training_samples=40)
    (model,) = read(dan, "models")["models"]
    path = f"models/{model['id']}"

    artefact = dan("GET", f"/api/data/{path}/artefact")
    assert hashlib.sha256(artefact.data).hexdigest() == made["sha256"] == model["sha256"]
    assert (len(artefact.data), artefact.headers["ETag"]) == (
        model["size_bytes"], f'"{made["sha256"]}"',
    )  # fmt: skip
    kept = stored(house, model["id"])
    assert b"lockkeeper text classifier" not in kept.read_bytes()
    assert model["metrics"]["held_out"] == made["held_out"]
    assert read(root, path) == model == read(dan, path)
    for wanted in (path, f"{path}/artefact"):
        assert read(eve, wanted, 404)["code"] == "not-found"
    assert read(eve, "models")["models"] == read(eve, "training-samples")["samples"] == []
    assert eve("DELETE", f"/api/data/{path}").status_code == 404
    assert "no model named m" in error(house, eve, "evaluate_model", "m")

    assert dan("DELETE", f"/api/data/{path}").status_code == 204
    assert not kept.exists()
    assert "no model named m" in error(house, dan, "benchmark_model", "m")


def test_bytes_that_were_altered_or_lost_are_no_model(house: TaskHouse) -> None:
    fay = house.people("fay")
    add(fay, "m", tickets(60))
    result(house, fay, "finetune_model", "m", training_samples=40)
    model_id = read(fay, "models")["models"][0]["id"]
    kept = stored(house, model_id)
    whole = kept.read_bytes()

    kept.chmod(0o600)
    kept.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    altered = ended(house, fay, "evaluate_model", "m")
    refused = read(fay, f"models/{model_id}/artefact", 503)
    kept.unlink()

    assert altered["status"] == "pending"
    assert "altered" in altered["error_message"]
    # Else a later test may be the one to retry it.
    assert fay("DELETE", f"/api/tasks/{altered['task_id']}").status_code == 200
    assert refused["code"] == "artefact-unreadable"
    assert read(fay, f"models/{model_id}/artefact", 404)["code"] == "artefact-gone"
    assert "not stored any more" in error(house, fay, "benchmark_model", "m")


def test_too_few_samples_fail_with_their_counts(house: TaskHouse) -> None:
    gus = house.people("gus")
    add(gus, "few", tickets(30))
    add(gus, "held", tickets(30), split="test")
    add(gus, "one", [(text, "same") for text, _ in tickets(40)])
    add(gus, "wordless", [("?" * number, str(number % 2)) for number in range(1, 40)])

    few = error(house, gus, "finetune_model", "few")
    assert "has 30 samples for model few" in few
    assert "100 were asked for" in few
    held = error(house, gus, "finetune_model", "held", training_samples=20)
    assert "0 of them to train on" in held
    one = error(house, gus, "finetune_model", "one", training_samples=20)
    assert "all 20 chosen have the same label" in one
    wordless = error(house, gus, "finetune_model", "wordless", training_samples=20)
    assert "nothing can be learned" in wordless
    for wrong in ({"training_samples": 5}, {"learning_rate": 0}, {"learning_rate": "NaN"}):
        answer = house.submit(gus, "finetune_model", parameters={"model_name": "few", **wrong})
        assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid-parameters")
    huge = {"model_name": "few", "scenarios": [{"batch_size": 1000, "text_length": 1001}]}
    answer = house.submit(gus, "benchmark_model", parameters=huge)
    assert "1000000 characters" in answer.get_json()["error"]


def test_a_model_without_fit_held_out_samples_says_so(house: TaskHouse) -> None:
    hal = house.people("hal")
    add(hal, "m", tickets(30), split="train")

    made = result(house, hal, "finetune_model", "m", training_samples=30)

    assert made["held_out"]["status"] == "unavailable"
    assert "no held-out samples" in made["held_out"]["reason"]
    assert "there are 0" in error(house, hal, "evaluate_model", "m")

    add(hal, "m", [(f"text {number}", f"label {number}") for number in range(101)], split="test")
    made = result(house, hal, "finetune_model", "m", training_samples=30)
    assert "have 101 labels" in made["held_out"]["reason"]
    assert "have 101 labels" in error(house, hal, "evaluate_model", "m", test_samples=200)


def test_artefacts_of_attempts_that_came_to_nothing_are_swept(house: TaskHouse) -> None:
    ivy = house.people("ivy")
    add(ivy, "m", tickets(40))
    result(house, ivy, "finetune_model", "m", training_samples=30)
    blobs, folder = blobs_of(house.settings), folder_of(master_key(house.settings))
    before = {kept.key for kept in blobs.keys(folder)}

    task_id = house.submitted(
        ivy, "finetune_model", parameters={"model_name": "m", "training_samples": 30}
    )
    (lease,) = house.claim()
    house.database.run(
        "UPDATE tasks SET lease_token = gen_random_uuid() WHERE id = :id", id=lease.id
    )
    house.finish(lease)

    orphans = {kept.key for kept in blobs.keys(folder)} - before
    assert len(orphans) == 1
    assert len(read(ivy, "models")["models"]) == 1
    assert house.task(ivy, task_id)["status"] == "running"
    statements = Autocommit(house.engine)
    assert housekeeping.sweep(statements, blobs, folder) == 0
    for kept in list((house.settings.storage_dir / folder).glob("[0-9a-f][0-9a-f]/*")):
        os.utime(kept, times=(time.time() - DAYS,) * 2)
    assert housekeeping.sweep(statements, blobs, folder) == 1
    assert {kept.key for kept in blobs.keys(folder)} == before


def test_without_the_key_nothing_is_trained() -> None:
    asked = Asked(row_id=1, task_id="x", task_type="finetune_model", user_id=1, submitted_by=1,
                  parameters={})  # fmt: skip
    with pytest.raises(Transient, match="TASK_KEY is not set"):
        storing.require_key(Tools(make_settings(TASK_KEY=None)), asked, Path())
