"""What an upload may cost the database: round trips, counted."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from backend.autocommit import Autocommit, Statement
from backend.identity.roles import Principal, Role
from backend.workloads.packages import submission
from backend.workloads.packages.lockfile import parse_lock
from backend.workloads.packages.submission_sql import FEW
from tests.benchmark.upload_lock import HOST, lock
from tests.integration.packages.house import House


class Counted(Autocommit):
    asked = 0

    def rows(self, statement: Statement, params: Mapping[str, Any]) -> list[Any]:
        self.asked += 1
        return super().rows(statement, params)

    def count(self, *_arguments: Any) -> None:
        self.asked += 1


@pytest.mark.parametrize("entries", [1, FEW, FEW + 1])
def test_an_upload_costs_one_round_trip_where_all_is_new_and_eight_where_all_is_known(
    house: House, entries: int
) -> None:
    data = lock(entries, tag="a")
    parsed = parse_lock(data, filename=None, origins=frozenset({HOST}), max_bytes=len(data))
    user = Principal(house.people.user.id, "ada", Role.USER)
    statements = Counted(house.engine)
    event.listen(house.engine, "before_cursor_execute", statements.count)
    event.listen(house.engine, "commit", statements.count)

    asked = []
    for _ in range(2):
        before = statements.asked
        submitted = submission.submit(
            statements, house.sessions, parsed, by=user, max_age=timedelta(days=7)
        )
        asked.append(statements.asked - before)
        assert submitted.packages == entries

    # New: a statement of its own. Known: that one in vain, the request, artifacts, queue rows,
    # lines, verdicts, priorities, COMMIT.
    assert asked == [1, 8]
    assert house.database.one("SELECT count(*) FROM request_packages") == 2 * entries


def test_of_a_few_packages_some_of_which_are_known_each_is_queued_once(house: House) -> None:
    data = lock(FEW, tag="a")
    whole = parse_lock(data, filename=None, origins=frozenset({HOST}), max_bytes=len(data))
    user = Principal(house.people.user.id, "ada", Role.USER)
    for parsed in (replace(whole, packages=whole.packages[:2]), whole):
        submitted = submission.submit(
            Autocommit(house.engine), house.sessions, parsed, by=user, max_age=timedelta(days=7)
        )

    assert (submitted.packages, submitted.fresh) == (FEW, FEW - 2)
    for table in ("packages", "artifacts", "package_status"):
        assert house.database.one(f"SELECT count(*) FROM {table}") == FEW
    assert house.database.one("SELECT count(*) FROM request_packages") == 2 + FEW
    noted = "SELECT count(*) FROM audit_log WHERE action = 'request.submitted'"
    assert house.database.one(noted) == 2
