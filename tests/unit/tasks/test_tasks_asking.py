"""What may be asked for, by whom, about whose data; without a database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.identity.roles import Principal, Role
from backend.problems import Forbidden, Malformed, Problem
from backend.workloads.tasks import asking
from backend.workloads.tasks.asking import Ask
from backend.workloads.tasks.registry import task_types
from backend.workloads.tasks.sealing import Unsealable, keyed_digest, seal, unseal
from tests.callers import make_settings
from tests.integration.tasks.task_house import TYPES

KINDS = {kind.name: kind for kind in TYPES}
ONE, ALL, NONE, ADMINS = (KINDS[name] for name in ("say", "say_of_all", "tidy", "tidy"))
ADA = Principal(3, "ada", Role.USER)
CAROL = Principal(5, "carol", Role.APPROVER)
ROOT = Principal(9, "root", Role.ADMIN)
PRODUCT = "schedules"


@pytest.mark.parametrize(
    ("kind", "caller", "outside", "inside", "meant"),
    [
        (ONE, ADA, None, None, 3),
        (ONE, ADA, 3, None, 3),
        (ONE, ADA, None, 3, 3),
        (ONE, ADA, 3, 3, 3),
        (ONE, ADA, 4, None, Forbidden),
        (ONE, ADA, None, 4, Forbidden),
        (ONE, CAROL, 3, None, Forbidden),
        (ONE, ADA, 3, 4, Malformed),
        (ONE, ROOT, None, None, 9),
        (ONE, ROOT, None, 4, 4),
        (ONE, ROOT, 4, 5, Malformed),
        (ONE, PRODUCT, None, None, Malformed),
        (ONE, PRODUCT, 4, None, 4),
        (ALL, ADA, None, None, 3),
        (ALL, CAROL, None, None, 5),
        (ALL, ADA, 4, None, Forbidden),
        (ALL, ROOT, None, None, None),
        (ALL, ROOT, 9, None, 9),
        (ALL, PRODUCT, None, None, None),
        (NONE, ROOT, None, None, None),
        (NONE, ROOT, 9, None, Malformed),
        (NONE, PRODUCT, None, None, None),
    ],
)
def test_whose_data_is_meant(kind: Any, caller: Any, outside: Any, inside: Any, meant: Any) -> None:
    def subject() -> int | None:
        found = asking._subject(kind, caller, outside, inside)
        asking.demand_subject(kind, caller, found)
        return found

    if isinstance(meant, type):
        with pytest.raises(meant):
            subject()
    else:
        assert subject() == meant


def test_only_who_may_submits_a_type() -> None:
    for allowed in (ROOT, PRODUCT):
        asking.demand_role(ADMINS, allowed)
    for refused in (ADA, CAROL):
        with pytest.raises(Forbidden):
            asking.demand_role(ADMINS, refused)


@pytest.mark.parametrize(
    ("given", "places"),
    [
        ({"times": "3"}, ["times"]),
        ({"times": True}, ["times"]),
        ({"times": 1.5}, ["times"]),
        ({"times": 10}, ["times"]),
        ({"times": None}, ["times"]),
        ({"word": 5}, ["word"]),
        ({"word": "x" * 21}, ["word"]),
        ({"word": ["x"]}, ["word"]),
        ({"user_id": "3"}, ["user_id"]),
        ({"colour": 1, "word": ""}, ["colour", "word"]),
        ({"x" * 500: 1}, ["x" * 60]),
    ],
)
def test_parameters_are_refused_place_by_place(given: dict[str, Any], places: list[str]) -> None:
    with pytest.raises(Malformed) as refused:
        asking._valid(ONE, given)

    assert refused.value.code == "invalid-parameters"
    errors = refused.value.extra["errors"]
    assert sorted(one["place"] for one in errors) == [f"parameters.{place}" for place in places]


def test_parameters_are_filled_up_with_what_was_left_out() -> None:
    assert asking._valid(ONE, {"times": 2}) == {"user_id": None, "word": "hello", "times": 2}


@pytest.mark.parametrize(
    ("after", "fits"),
    [(-1, False), (0, False), (60, True), (365 * 86400, True), (367 * 86400, False)],
)
def test_the_time_is_later_and_not_too_late(after: int, fits: bool) -> None:
    ask = Ask(task_type="say", run_at=datetime.now(UTC) + timedelta(seconds=after))
    if fits:
        asking.demand_time(ask)
    else:
        with pytest.raises(Malformed, match="later than now"):
            asking.demand_time(ask)


def test_sealed_parameters_need_the_key_that_sealed_them() -> None:
    settings, other = make_settings(TASK_KEY="k" * 32), make_settings(TASK_KEY="o" * 32)
    sealed = seal(settings, {"word": "secret"})

    assert b"secret" not in sealed
    assert seal(settings, {"word": "secret"}) != sealed
    assert unseal(settings, sealed) == {"word": "secret"}
    with pytest.raises(Unsealable):
        unseal(other, sealed)
    assert keyed_digest(settings, b"a") == keyed_digest(settings, b"a")
    assert len({keyed_digest(s, t) for s in (settings, other) for t in (b"a", b"b")}) == 4
    with pytest.raises(Problem) as refused:
        seal(make_settings(), {})
    assert refused.value.code == "task-key-missing"


CONTRACT = {
    "aggregate_ari_snapshots": ("ari_analysis", "one or all", {"user_id", "time_window_hours"}),
    "analyze_ari_trends": (
        "ari_analysis", "one", {"user_id", "lookback_days", "threshold_percent"},
    ),
    "plan_ffe_goal": (
        "ffe_planning", "one", {"goal_id", "user_id", "goal_description", "complexity_level"},
    ),
    "track_ffe_progress": ("ffe_planning", "one", {"goal_id", "user_id"}),
    "edm_batch_analysis": (
        "edm_analysis", "one or all", {"user_id", "time_window_days", "min_severity"},
    ),
    "edm_track_resolutions": ("edm_analysis", "one", {"user_id", "lookback_days"}),
    "edm_detect_misinformation": ("edm_analysis", "one", {"user_id", "interaction_ids"}),
    "finetune_model": (
        "model_training", "one", {"user_id", "model_name", "training_samples", "learning_rate"},
    ),
    "evaluate_model": ("model_training", "one", {"user_id", "model_name", "test_samples"}),
    "benchmark_model": ("model_training", "one", {"user_id", "model_name", "scenarios"}),
    "archive_audit_logs": (
        "maintenance", "none", {"days_to_keep", "archive_location", "dry_run"},
    ),
    "maintain_database": ("maintenance", "none", {"dry_run"}),
    "cleanup_cache": (
        "maintenance", "none", {"max_age_hours", "cleanup_expired_only", "dry_run"},
    ),
    "enforce_retention_policy": ("maintenance", "none", {"policy", "dry_run"}),
}  # fmt: skip
"""What callers rely on, by type: its queue, whose data it is about, and parameters it takes."""


def test_there_are_the_fourteen_types_that_callers_rely_on() -> None:
    assert CONTRACT.keys() <= task_types().keys()
    for name, (queue, subject, parameters) in CONTRACT.items():
        kind = task_types()[name]
        assert (kind.queue, kind.subject) == (queue, subject), name
        assert parameters <= kind.parameters.model_fields.keys(), name
        assert kind.role is (Role.ADMIN if subject == "none" else Role.USER), name
        assert ("user_id" in kind.parameters.model_fields) == (subject != "none"), name


def test_no_type_insists_on_a_user_nor_says_nothing_of_itself() -> None:
    for kind in task_types().values():
        assert not any(
            field.is_required() for name, field in kind.parameters.model_fields.items()
            if name == "user_id"
        ), kind.name  # fmt: skip
        assert kind.title, kind.name
        assert kind.description.endswith("."), kind.name
