"""What happens in vetting, as a receiver hears of it; nothing lost, nothing told twice."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from backend import events
from backend.autocommit import Autocommit
from backend.identity import erasing
from backend.identity.roles import Role
from backend.queue import leases
from backend.workloads.packages.lifecycle import VETTING_QUEUE
from tests.integration.packages.courier import (
    INTERNAL,
    Courier,
    add_webhook,
    courier_of,
    deliveries,
)
from tests.integration.packages.house import House, lock_of, wait_until
from tests.registry_server import integrity
from tests.webhook_receiver import Receiver

ALL = ("request.finished", "approval.needed", "package.rejected", "advisory.hit")


@pytest.fixture
def house(house: House) -> House:
    house.changes.update(INTERNAL)
    return house


@pytest.fixture
def courier(house: House) -> Iterator[Courier]:
    with courier_of(house) as courier:
        yield courier


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def mixed(house: House) -> dict[str, object]:
    """A lock of which policy rejects one package."""
    blocked = house.entry("blocked", tarball=house.publish("blocked", licence="AGPL-3.0-only"))
    kept = {name: house.entry(name, tarball=house.publish(name)) for name in ("one", "two")}
    return lock_of({"blocked": blocked, **kept})


def test_a_request_is_told_of_when_its_last_package_has_ended_and_once(
    house: House, courier: Courier, receiver: Receiver
) -> None:
    receiver.secret = add_webhook(house, receiver.url, *ALL)["secret"]
    request_id = house.submit(mixed(house))
    courier.run()
    assert receiver.kinds == []

    first, *rest = house.worker.claim()
    house.worker.finish(first)
    courier.run()
    assert set(receiver.kinds) <= {"package.rejected"}
    for lease in rest:
        house.worker.finish(lease)
    house.worker.run()
    courier.run()
    courier.run()

    assert sorted(receiver.kinds) == ["approval.needed", "package.rejected", "request.finished"]
    assert receiver.refused == []
    told = {event["type"]: event for event in receiver.accepted}
    assert told["request.finished"]["subject"] == f"request:{request_id}"
    assert told["request.finished"]["data"] == {
        "request_id": request_id,
        "application_name": "shop",
        "application_version": "1.2.3",
        "requestor": "ada",
        "total_packages": 3,
        "status_counts": {"Pending Approval": 2, "Rejected": 1},
    }
    rejected = told["package.rejected"]["data"]
    assert (rejected["purl"], rejected["failure"]) == ("pkg:npm/blocked@1.0.0", "policy")
    assert "AGPL-3.0-only" in rejected["error"]
    assert house.database.one("SELECT count(*) FROM request_watches") == 0


def test_no_event_keeps_the_name_of_a_person_who_is_erased(
    house: House, courier: Courier, receiver: Receiver
) -> None:
    webhook = add_webhook(house, receiver.url, "request.finished")
    receiver.secret = webhook["secret"]
    house.vet(house.lock("left"), by=house.people("mallory-unlikely"))
    path = f"/api/webhooks/{webhook['id']}/ping"
    assert house.people("root-unlikely", Role.ADMIN)("POST", path).status_code == 202
    courier.run()
    said = {event["type"]: event["data"] for event in receiver.accepted}
    assert said["request.finished"]["requestor"] == "mallory-unlikely"
    assert said["ping"] == {"webhook_id": webhook["id"], "sent_by": "root-unlikely"}
    for table, stored in house.database.texts():
        assert not table.startswith("events.") or "unlikely" not in stored

    with house.sessions.begin() as session:
        erasing.erase(session, "test", house.people("mallory-unlikely").id)
    house.database.run(
        "UPDATE webhook_deliveries SET status = 'pending', completed_at = NULL, attempts = 0,"
        " step = NULL, available_at = now()"
    )
    courier.run()

    again = [event["data"] for event in receiver.accepted if event["type"] == "request.finished"]
    assert [data["requestor"].partition("-")[0] for data in again] == ["mallory", "erased"]


def test_two_packages_that_end_at_the_same_moment_finish_their_request(
    house: House, courier: Courier, receiver: Receiver
) -> None:
    receiver.secret = add_webhook(house, receiver.url, "request.finished")["secret"]
    house.submit(house.lock("left", "right"))
    a, b = house.worker.claim()
    with house.sessions() as first, house.sessions() as second:
        # Neither sees that the other has ended.
        for session, lease in ((first, a), (second, b)):
            leases.settle(session, VETTING_QUEUE, [leases.failed(lease, "permanent", "broken")])
        first.commit()
        courier.run()
        assert receiver.kinds == []
        second.commit()

    courier.run()

    assert receiver.kinds == ["request.finished"]


def test_a_dispatch_is_not_taken_before_those_who_count_on_it_have_committed(
    house: House, courier: Courier, receiver: Receiver
) -> None:
    receiver.secret = add_webhook(house, receiver.url, "advisory.hit")["secret"]
    with house.sessions() as early, house.sessions() as late:
        events.emit(early, "advisory.hit", "package:1", {})
        early.commit()
        events.emit(late, "advisory.hit", "package:2", {})
        due = (
            "SELECT now() FROM event_dispatches HAVING count(*) = 1 AND max(available_at) <= now()"
        )
        wait_until(lambda: house.database.one(due), seconds=5, what="the one dispatch is due")
        courier.run()
        assert receiver.asked == 0
        late.commit()
    courier.run()

    assert sorted(event["subject"] for event in receiver.accepted) == ["package:1", "package:2"]


def test_a_request_for_what_is_known_already_is_told_of_at_once(
    house: House, courier: Courier, receiver: Receiver
) -> None:
    lock = house.lock("left")
    house.vet(lock)
    receiver.secret = add_webhook(house, receiver.url, "request.finished")["secret"]

    known, empty = house.submit(lock, by=house.people.other), house.submit(lock_of({}))
    courier.run()

    told = {event["data"]["request_id"]: event["data"] for event in receiver.accepted}
    assert told[known]["status_counts"] == {"Pending Approval": 1}
    assert told[empty]["total_packages"] == 0


def test_a_retried_request_is_told_of_again_and_a_withdrawn_one_never(
    house: House, courier: Courier, receiver: Receiver
) -> None:
    receiver.secret = add_webhook(house, receiver.url, "request.finished", "package.rejected")[
        "secret"
    ]
    house.publish("left")
    request_id = house.submit(
        lock_of({"left": house.entry("left", integrity=integrity(b"other bytes"))})
    )
    house.worker.run()
    courier.run()
    assert sorted(receiver.kinds) == ["package.rejected", "request.finished"]

    house.people.user("POST", f"/api/packages/requests/{request_id}/retry", json={})
    house.worker.run()
    courier.run()
    assert sorted(receiver.kinds) == ["package.rejected"] * 2 + ["request.finished"] * 2

    withdrawn = house.submit(house.lock("right"))
    house.people.user("POST", f"/api/packages/requests/{withdrawn}/withdraw")
    courier.run()
    assert len(receiver.kinds) == 4
    assert house.database.one("SELECT count(*) FROM request_watches") == 0


def test_an_advisory_that_hits_known_packages_is_told_of_by_package(
    house: House, courier: Courier, receiver: Receiver
) -> None:
    receiver.secret = add_webhook(house, receiver.url, "advisory.hit")["secret"]
    row_id = house.vet_one(house.lock("left"))["id"]

    house.database.run(
        "INSERT INTO advisories (id, source, aliases, severity, withdrawn, digest)"
        " SELECT id, 'test', '{}', 'high', false, id FROM unnest(ARRAY['A-1', 'A-2']) AS id"
    )
    house.database.run(
        "INSERT INTO advisory_flags (artifact_id, advisory_id, component, kind, severity, fixed)"
        " SELECT artifact_id, a.id, '', 'vulnerability', 'high', '{}'"
        " FROM package_status, advisories a"
    )
    courier.run()

    (event,) = receiver.accepted
    assert event["subject"] == f"package:{row_id}"
    assert event["data"]["purl"] == "pkg:npm/left@1.0.0"
    assert [one["id"] for one in event["data"]["advisories"]] == ["A-1", "A-2"]


def test_nothing_is_written_that_no_active_webhook_wants(house: House, courier: Courier) -> None:
    webhook = add_webhook(house, "https://hooks.example.test/in", "advisory.hit")
    house.people.admin("PATCH", f"/api/webhooks/{webhook['id']}", json={"active": False})

    house.vet(mixed(house))
    events.emit(Autocommit(house.engine), "advisory.hit", "package:1", {})

    for table in ("events", "event_dispatches", "request_watches", "webhook_deliveries"):
        assert house.database.one(f"SELECT count(*) FROM {table}") == 0, table
    assert deliveries(house, webhook["id"]) == []


def test_an_event_of_a_transaction_that_is_rolled_back_never_happened(
    house: House, courier: Courier, receiver: Receiver
) -> None:
    receiver.secret = add_webhook(house, receiver.url, "advisory.hit")["secret"]
    with house.sessions() as session:
        events.emit(session, "advisory.hit", "package:1", {})
        session.rollback()
    courier.run()

    assert receiver.asked == 0


def test_many_events_at_once_need_few_dispatches_and_each_goes_to_whom_wants_it(
    house: House, courier: Courier
) -> None:
    both = add_webhook(house, "https://a.example.test", "advisory.hit", "package.rejected")
    one = add_webhook(house, "https://b.example.test", "advisory.hit")
    emitted = (
        "SELECT count(emit_event(:kind, 'package:' || n, '{}')) FROM generate_series(1, 500) n"
    )

    def emit(kind: str) -> None:
        with house.sessions.begin() as session:
            session.execute(text(emitted), {"kind": kind})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(emit, ["advisory.hit", "package.rejected"] * 2))
    dispatches = house.database.one("SELECT count(*) FROM event_dispatches")
    courier.run(deliver=False)
    courier.run(deliver=False)

    counted = dict(
        house.database.rows("SELECT webhook_id, count(*) FROM webhook_deliveries GROUP BY 1")
    )
    assert counted == {both["id"]: 2000, one["id"]: 1000}
    assert dispatches <= 8
