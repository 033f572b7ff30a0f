"""Waivers in tests: two admins agree, time passes, and a worker looks."""

from datetime import UTC, datetime, timedelta
from typing import Any

from backend.autocommit import Autocommit
from backend.identity.roles import Role
from backend.workloads.packages.waivers.settling import follow
from tests.callers import Caller
from tests.integration.packages.house import House

PATH = "/api/waivers"
FINDING = "GHSA-test"

# What a waiver says never changes, so time is made to pass where nobody watches.
_PAST = """
ALTER TABLE waivers DISABLE TRIGGER waivers_unchanging;
UPDATE waivers
SET proposed_at = now() - interval '3 days', expires_at = now() - interval '1 second',
  seconded_at = CASE WHEN seconded_at IS NOT NULL THEN now() - interval '2 days' END
WHERE id = :id;
ALTER TABLE waivers ENABLE TRIGGER waivers_unchanging
"""


def second_admin(house: House) -> Caller:
    return house.people("toor", Role.ADMIN)


def wish(**changes: Any) -> dict[str, Any]:
    ends = datetime.now(UTC) + timedelta(days=30)
    plain = {
        "purl": "pkg:npm/left@<2.0.0", "finding": FINDING, "reason": "never called",
        "expires_at": ends.isoformat(),
    }  # fmt: skip
    return {name: value for name, value in {**plain, **changes}.items() if value is not None}


def propose(house: House, *, by: Caller | None = None, status: int = 201, **changes: Any) -> Any:
    answer = (by or house.people.admin)("POST", PATH, json=wish(**changes))
    assert answer.status_code == status, answer.text
    document = answer.get_json()
    return document["waiver"]["id"] if status == 201 else document["code"]


def second(house: House, waiver: int, *, by: Caller | None = None, status: int = 200) -> Any:
    answer = (by or second_admin(house))("POST", f"{PATH}/{waiver}/second")
    assert answer.status_code == status, answer.text
    return answer.get_json() if status == 200 else answer.get_json()["code"]


def revoke(house: House, waiver: int, *, by: Caller | None = None, status: int = 200) -> Any:
    body = {"reason": "it is called after all"}
    answer = (by or house.people.admin)("POST", f"{PATH}/{waiver}/revoke", json=body)
    assert answer.status_code == status, answer.text
    return answer.get_json() if status == 200 else answer.get_json()["code"]


def agreed(house: House, **changes: Any) -> int:
    """A waiver that two admins put into force."""
    waiver: int = propose(house, **changes)
    second(house, waiver)
    return waiver


def expire(house: House, waiver: int) -> None:
    """Its time is over by now, and nobody has looked yet."""
    for statement in _PAST.split(";"):
        house.database.run(statement, **({"id": waiver} if ":id" in statement else {}))


def look(house: House) -> list[str]:
    """What a worker does every few seconds."""
    return [*follow(house.sessions, Autocommit(house.engine))]


def rules(package: dict[str, Any]) -> list[tuple[str, str]]:
    return [(ruling["rule"], ruling["effect"]) for ruling in package["rulings"]]
