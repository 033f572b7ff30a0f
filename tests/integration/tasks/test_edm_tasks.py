"""The EDM tasks from stored interactions to stored debts and results, each in a real child."""

import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from backend.db import make_engine, make_sessions
from backend.workloads.tasks.edm import reading
from tests.conftest import CreateDatabase
from tests.integration.tasks.workbench import Workbench
from workers.isolation import Children

SAID = (
    "Garlic cures every kind of cancer. Thanks for the slides! Everything happens for a reason."
    " Garlic  cures every kind of CANCER. Some things got a lot better somehow."
)


@pytest.fixture(scope="module")
def bench(
    create_database: CreateDatabase, migrated: str, children: Children
) -> Iterator[Workbench]:
    """One for all tests: each has users of its own."""
    with create_database(migrated) as url:
        engine = make_engine(url, application_name="lockkeeper-tests")
        yield Workbench(make_sessions(engine), engine, children)
        engine.dispose()


@pytest.fixture
def ada(bench: Workbench) -> int:
    return bench.add_user(f"ada-{uuid4().hex}")


@pytest.fixture
def ben(bench: Workbench) -> int:
    return bench.add_user(f"ben-{uuid4().hex}")


def say(
    bench: Workbench, words: str, *, user_id: int, days_ago: float = 1, citations: str = "{}"
) -> int:
    rows = bench.database.rows(
        "INSERT INTO interactions (user_id, occurred_at, text, citations) VALUES"
        " (:user, now() - make_interval(secs => :days * 86400), :text, CAST(:citations AS text[]))"
        " RETURNING id",
        user=user_id, text=words, days=days_ago, citations=citations,
    )  # fmt: skip
    return int(rows[0][0])


def debts(bench: Workbench, *users: int) -> list[tuple[Any, ...]]:
    found = bench.database.rows(
        "SELECT user_id, interaction_id, kind, severity, sentence FROM debts"
        " WHERE user_id = ANY (:users) ORDER BY interaction_id, kind, sentence",
        users=list(users),
    )
    return [tuple(row) for row in found]


def some(**counts: int) -> dict[str, int]:
    return {"low": 0, "medium": 0, "high": 0, "critical": 0, **counts}


def test_however_often_a_batch_is_analysed_each_debt_is_stored_once(
    bench: Workbench, ada: int
) -> None:
    said = say(bench, SAID, user_id=ada)
    say(bench, "Garlic cures every kind of cancer.", user_id=ada, citations="{a book}")
    say(bench, "Garlic cures every kind of cancer.", user_id=ada, days_ago=8)

    first = bench.performed("edm_batch_analysis", user_id=ada)
    assert debts(bench, ada) == [
        (ada, said, "unfalsifiable", "medium", "Everything happens for a reason."),
        (ada, said, "unverified", "high", "Garlic cures every kind of cancer."),
        (ada, said, "vague", "low", "Some things got a lot better somehow."),
    ]
    assert first["examined"] == {
        "interactions": 2, "interactions_left_out": 0, "sentences": 6, "claims": 5,
    }  # fmt: skip
    assert first["by_kind"] == {"unfalsifiable": 1, "unverified": 2, "vague": 1}
    assert first["new"] == some(low=1, medium=1, high=1)
    assert first["known_open"] == first["known_resolved"] == some()
    assert [one["debts"] for one in first["recommendations"]] == [2, 2, 1, 1]
    assert first["examples"][0]["severity"] == "high"
    assert "found" not in first

    bench.database.run(
        "UPDATE debts SET status = 'resolved', resolution_method = 'cited', resolved_at = now()"
        " WHERE kind = 'vague' AND user_id = :ada",
        ada=ada,
    )
    again = bench.performed("edm_batch_analysis", user_id=ada)
    assert again["new"] == some()
    assert again["known_open"] == some(medium=1, high=1)
    assert again["known_resolved"] == some(low=1)
    assert len(debts(bench, ada)) == 3


def test_what_is_deleted_while_its_debts_are_stored_is_passed_over(
    bench: Workbench, ada: int
) -> None:
    gone, said = (say(bench, SAID, user_id=ada, days_ago=ago) for ago in (1, 2))
    row_id = bench.submit("edm_batch_analysis", user_id=ada)
    waits = (
        "SELECT FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with bench.sessions() as other:
        other.execute(text("DELETE FROM interactions WHERE id = :id"), {"id": gone})
        worker = threading.Thread(target=bench.work)
        worker.start()
        while worker.is_alive() and not bench.database.rows(waits):
            worker.join(0.01)
        other.commit()
    worker.join()
    assert (bench.task(row_id).status, bench.task(row_id).error) == ("completed", None)
    assert {one for _, one, *_ in debts(bench, ada)} == {said}


def test_more_than_one_task_reads_is_left_out_and_counted(
    bench: Workbench, ada: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ago in range(1, 6):
        say(bench, "x" * 100 * ago, user_id=ada, days_ago=ago)
    for name, value, read in (("MOST_ROWS", 3, 3), ("MOST_BYTES", 2 * 64 + 300, 2)):
        monkeypatch.setattr(reading, name, value)
        with bench.sessions() as session:
            found = reading.read_interactions(session, *reading.of(ada))
        assert [len(said) for _, said, _ in found["interactions"]] == [100, 200, 300][:read]
        assert found["left_out"] == 5 - read


def test_what_is_less_severe_than_asked_is_counted_and_not_stored(
    bench: Workbench, ada: int
) -> None:
    say(bench, SAID, user_id=ada)
    result = bench.performed("edm_batch_analysis", {"min_severity": "high"}, user_id=ada)
    assert (result["debts"], result["below_min_severity"]) == (2, 2)
    assert [kind for _, _, kind, *_ in debts(bench, ada)] == ["unverified"]


def test_everybodys_debts_are_their_own_and_one_users_task_leaves_the_others_alone(
    bench: Workbench, ada: int, ben: int
) -> None:
    claim = "The pump failed because its valve had rusted."
    hers, his = say(bench, claim, user_id=ada), say(bench, claim, user_id=ben)

    bench.performed("edm_batch_analysis", user_id=ben)
    assert [(owner, said) for owner, said, *_ in debts(bench, ada, ben)] == [(ben, his)]

    result = bench.performed("edm_batch_analysis", user_id=None)
    assert [(owner, said) for owner, said, *_ in debts(bench, ada, ben)] == [
        (ada, hers),
        (ben, his),
    ]
    assert (result["user_id"], result["status"]) == (None, "completed")


def test_a_window_without_interactions_is_no_clean_bill(bench: Workbench, ada: int) -> None:
    say(bench, SAID, user_id=ada, days_ago=8)
    result = bench.performed("edm_batch_analysis", user_id=ada)
    assert (result["status"], result["debts"]) == ("insufficient_data", 0)
    tracked = bench.performed("edm_track_resolutions", user_id=ada)
    assert (tracked["status"], tracked["resolution_rate"]) == ("insufficient_data", None)


def test_resolutions_are_counted_by_hand_computed_days(
    bench: Workbench, ada: int, ben: int
) -> None:
    # kind, severity, raised and resolved days ago, by what; None: still open
    rows = [
        ("vague", "low", 12, 10, "clarified"), ("vague", "low", 20, 14, "clarified"),
        ("unverified", "high", 5, 1, "cited"), ("unverified", "high", 90, 40, "retracted"),
        ("unverified", "critical", 3, None, None), ("unfalsifiable", "medium", 45, None, None),
    ]  # fmt: skip
    for owner in (ada, ben):
        for number, (kind, severity, raised, resolved, method) in enumerate(rows):
            said = say(bench, f"{number}", user_id=owner, days_ago=100 + number)
            bench.database.run(
                "INSERT INTO debts (user_id, interaction_id, kind, severity, sentence,"
                " sentence_digest, reason, created_at, status, resolution_method, resolved_at)"
                " SELECT :owner, :said, :kind, :severity, 'x', sha256('x'), 'y',"
                " now() - make_interval(days => :raised), coalesce(CAST(:status AS text), 'open'),"
                " :method, now() - make_interval(days => CAST(:resolved AS integer))",
                owner=owner, said=said, kind=kind, severity=severity, raised=raised,
                resolved=resolved, method=method, status="resolved" if method else None,
            )  # fmt: skip
    result = bench.performed("edm_track_resolutions", user_id=ada)

    assert (result["owed"], result["raised"]) == (5, 4)
    assert (result["resolved"], result["open"]) == (3, 2)
    assert result["resolution_rate"] == pytest.approx(3 / 5)
    assert result["mean_days"] == pytest.approx((2 + 6 + 4) / 3)
    assert result["median_days"] == pytest.approx(4)
    assert result["commonest_methods"] == ["clarified"]
    assert result["by_method"]["clarified"] == 2
    assert result["by_method"]["retracted"] == 0
    assert result["by_kind"]["vague"] == {"resolved": 2, "open": 0}
    assert result["by_severity"]["critical"] == {"resolved": 0, "open": 1}
    backlog = result["backlog"]
    assert backlog["mean_days"] == pytest.approx(24, rel=1e-3)
    assert backlog["oldest_days"] == pytest.approx(45, rel=1e-3)
    assert backlog["by_age"] == {"under_7": 1, "from_7_to_30": 0, "from_30_to_90": 1, "from_90": 0}


def review(bench: Workbench, claim: str, verdict: str, *sources: str) -> int:
    rows = bench.database.rows(
        "INSERT INTO reviewed_claims (claim, verdict, explanation, sources, reviewed_by)"
        " VALUES (:claim, :verdict, 'As measured.', :sources, :by) RETURNING id",
        claim=claim, verdict=verdict, sources=list(sources), by=bench.user_id,
    )  # fmt: skip
    return int(rows[0][0])


def test_claims_are_held_against_the_knowledge_base_and_the_review_is_the_evidence(
    bench: Workbench, ada: int
) -> None:
    bench.database.run("DELETE FROM reviewed_claims")
    said = say(bench, "Tea does cure the common cold. The train was late.", user_id=ada)
    say(bench, "The harbour has shrunk since 1990.", user_id=ada)

    nothing = bench.performed("edm_detect_misinformation", user_id=ada)
    assert nothing["status"] == "insufficient_data"
    assert "knowledge base" in nothing["reason"]

    known = review(bench, "Tea cures the common cold.", "refuted", "a trial of 812 people")
    review(bench, "The harbour has grown since 1990.", "supported", "the register of the harbour")
    result = bench.performed("edm_detect_misinformation", user_id=ada)
    assert result["counts"] == {
        "refuted": 2, "misleading": 0, "unproven": 0, "unclear": 0, "consistent": 0,
        "not_in_knowledge_base": 1,
    }  # fmt: skip
    first = result["findings"][0]
    assert (first["interaction_id"], first["stance"], first["confidence"]) == (said, "same", 0.9)
    assert first["evidence"] == {
        "id": known, "claim": "Tea cures the common cold.", "verdict": "refuted",
        "explanation": "As measured.", "sources": ["a trial of 812 people"],
    }  # fmt: skip

    one = bench.performed("edm_detect_misinformation", {"interaction_ids": [said]}, user_id=ada)
    assert one["examined"]["interactions"] == 1


def test_an_interaction_of_somebody_else_is_not_looked_at(
    bench: Workbench, ada: int, ben: int
) -> None:
    his = say(bench, "Tea cures colds.", user_id=ben)
    review(bench, "Tea cures colds.", "refuted", "a trial")
    row_id = bench.submit("edm_detect_misinformation", {"interaction_ids": [his]}, user_id=ada)
    bench.work()
    task = bench.task(row_id)
    assert task.status == "failed"
    assert f"interaction {his} is not one of user {ada}'s" in (task.error or "")
