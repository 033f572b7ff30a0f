from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text

from backend.autocommit import Autocommit
from backend.db import Sessions
from backend.identity import limits
from backend.identity.model import RateLimit
from backend.problems import TooManyRequests

HOUR = timedelta(hours=1)


def take(sessions: Sessions, key: str, limit: int = 3) -> float:
    return limits.take(Autocommit(sessions.kw["bind"]), key, limit, HOUR)


def test_so_many_uses_are_allowed_and_the_next_must_wait_for_its_share(sessions: Sessions) -> None:
    waits = [take(sessions, "ada") for _ in range(4)]

    assert waits[:3] == [0, 0, 0]
    assert 1190 < waits[3] <= 1200, "seconds: a third of an hour"


def test_keys_are_counted_apart(sessions: Sessions) -> None:
    for _ in range(3):
        take(sessions, "ada")

    assert take(sessions, "bob") == 0


def test_a_refused_use_is_not_counted(sessions: Sessions) -> None:
    first = [take(sessions, "ada", limit=1) for _ in range(5)]

    assert first[0] == 0
    assert all(3500 < wait <= 3600 for wait in first[1:])


def test_uses_come_back_evenly(sessions: Sessions) -> None:
    for _ in range(3):
        take(sessions, "ada")
    with sessions.begin() as session:
        session.execute(text("UPDATE rate_limits SET empty_at = empty_at - interval '20 min'"))

    assert take(sessions, "ada") == 0
    assert take(sessions, "ada") > 0


def test_simultaneous_uses_never_exceed_the_limit(sessions: Sessions) -> None:
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda _: take(sessions, "ada", limit=5), range(20)))

    assert waits.count(0) == 5


def test_a_use_stays_counted_when_the_request_fails(sessions: Sessions) -> None:
    limits.demand(Autocommit(sessions.kw["bind"]), "ada", 1, HOUR)

    with pytest.raises(TooManyRequests) as refused:
        limits.demand(Autocommit(sessions.kw["bind"]), "ada", 1, HOUR)

    assert refused.value.extra["retry_after"] == 3600


def test_names_that_strangers_tried_do_not_pile_up(sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO rate_limits SELECT 'k' || n, now() - interval '2 min'"
                " FROM generate_series(1, 100) n"
            )
        )
    for number in range(10):
        take(sessions, f"new{number}")

    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(RateLimit)) == 10
