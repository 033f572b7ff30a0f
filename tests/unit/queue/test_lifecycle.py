"""Descriptors: which words mean what, and which stage comes next."""

from datetime import timedelta
from typing import Any

import pytest

from backend.queue.lifecycle import Queue, Stage
from backend.queue.pipeline import GRACE, Done, Isolation, Pipeline, Step
from backend.workloads import queues

STAGES = (Stage("first", "working", leaves="halfway"), Stage("second", "working"))


def queue(**values: Any) -> Queue:
    words = {"ready": "ready", "stages": STAGES, "done": "done", "failed": "failed", **values}
    return Queue(name="q", table="none", **words)


@pytest.mark.parametrize(
    ("step", "following"),
    [(None, "first"), ("first", "second"), ("second", None), ("of an older release", "first")],
)
def test_the_stage_after_a_step(step: str | None, following: str | None) -> None:
    stage = queue().next_stage(step)

    assert (stage.name if stage else None) == following


def test_held_words_are_those_of_the_stages_and_between_them_each_once() -> None:
    assert queue().held == ("working", "halfway")


def test_a_cancel_leads_to_its_own_word_or_to_failed() -> None:
    assert queue().cancel_word == "failed"
    assert queue(cancelled="cancelled").cancel_word == "cancelled"
    assert "cancelled" in queue(cancelled="cancelled").ended


@pytest.mark.parametrize(
    "wrong",
    [
        {"stages": ()},
        {"ready": "working"},
        {"ready": "done"},
        {"entering": ("ready",)},
        {"entering": ("done",)},
    ],
)
def test_a_descriptor_that_contradicts_itself_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="queue q"):
        queue(**wrong)


@pytest.mark.parametrize("declared", queues(), ids=lambda q: q.name)
def test_no_word_of_a_declared_queue_means_two_things(declared: Queue) -> None:
    assert not {declared.ready} & set(declared.held)
    assert not set(declared.held) & set(declared.ended)
    assert not {declared.ready} & set(declared.ended)
    assert not set(declared.entering) & {declared.ready, *declared.held, *declared.ended}
    names = [stage.name for stage in declared.stages]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("declared", queues(), ids=lambda q: q.name)
def test_every_word_in_which_a_row_rests_is_explained_to_people(declared: Queue) -> None:
    explained = {declared.done, *declared.resting, *declared.entering}
    assert explained <= set(declared.meaning) <= set(declared.words)


def run(_snapshot: Any, _tools: Any) -> Done:
    return Done()


def pipeline(*steps: Step) -> Pipeline:
    return Pipeline(queue=queue(), steps=steps, load=lambda _session, row_id: row_id)


def test_a_pipeline_has_a_step_for_each_stage_in_order() -> None:
    with pytest.raises(ValueError, match="do not match"):
        pipeline(Step("second", run), Step("first", run))
    with pytest.raises(ValueError, match="do not match"):
        pipeline(Step("first", run))


def test_exactly_a_step_in_a_process_names_its_result() -> None:
    with pytest.raises(ValueError, match="result"):
        Step("first", run, isolation=Isolation.PROCESS)
    with pytest.raises(ValueError, match="result"):
        Step("first", run, result=int)


def test_a_statuss_horizon_covers_the_longest_step_that_runs_under_it() -> None:
    steps = (
        Step("first", run, timeout=timedelta(minutes=1)),
        Step("second", run, timeout=timedelta(hours=1)),
    )

    assert pipeline(*steps).horizons(timedelta(minutes=30)) == {
        "working": timedelta(hours=1) + GRACE,
        "halfway": timedelta(minutes=30),
    }
