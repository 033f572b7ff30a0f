"""Which queues of tasks an installation serves."""

import pytest

from backend.settings import SettingsError
from backend.workloads.tasks import numerics, pipeline
from backend.workloads.tasks.lifecycle import TASKS_QUEUE
from backend.workloads.tasks.registry import task_types
from tests.callers import make_settings


def without_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "find_spec", lambda _library: None)


def test_with_the_extra_all_are() -> None:
    (one,) = pipeline.pipelines(make_settings())

    assert tuple(one.serves or ()) == TASKS_QUEUE.partitions


def test_without_it_what_computes_is_left_to_other_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    without_numbers(monkeypatch)

    (one,) = pipeline.pipelines(make_settings())

    assert one.serves == ["ffe_planning", "edm_analysis", "maintenance", "default"]


def test_who_asks_for_one_of_those_by_name_is_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_numbers(monkeypatch)

    with pytest.raises(SettingsError, match=r"model_training needs .* lockkeeper\[analysis\]"):
        pipeline.pipelines(make_settings(WORKER_TYPE="packages, model_training"))


def test_what_rehearses_numbers_waits_in_a_queue_that_is_known_to_need_them() -> None:
    computing = {
        kind.queue
        for kind in task_types().values()
        if kind.rehearse and kind.rehearse.__module__ == numerics.__name__
    }

    assert computing == set(pipeline.NEEDY)
