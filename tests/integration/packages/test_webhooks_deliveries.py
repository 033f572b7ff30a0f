"""Deliveries to receivers that are down, slow, wrong or elsewhere, and what admins see and do."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from backend.db import make_engine
from backend.workloads.webhooks.pipeline import pipelines
from tests.integration.packages.courier import (
    INTERNAL,
    Courier,
    add_webhook,
    courier_of,
    deliveries,
)
from tests.integration.packages.house import House, lock_of, wait_until
from tests.webhook_receiver import Receiver
from workers.daemon import Assignment, Daemon, Policy


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


def ping(house: House, webhook: dict[str, Any]) -> int:
    answer = house.people.admin("POST", f"/api/webhooks/{webhook['id']}/ping")
    assert answer.status_code == 202, answer.text
    delivery_id: int = answer.get_json()["delivery_id"]
    return delivery_id


def last(house: House, webhook: dict[str, Any]) -> dict[str, Any]:
    return deliveries(house, webhook["id"])[-1]


def test_a_ping_arrives_signed_and_its_delivery_says_so(
    house: House, courier: Courier, receiver: Receiver
) -> None:
    webhook = add_webhook(house, receiver.url, "request.finished")
    receiver.secret = webhook["secret"]

    ping(house, webhook)
    courier.run()

    (event,) = receiver.accepted
    assert (event["type"], event["data"]["sent_by"]) == ("ping", "root")
    delivery = last(house, webhook)
    assert (delivery["status"], delivery["response_status"]) == ("delivered", 204)
    assert delivery["event_id"] == event["id"]


def test_a_receiver_that_answers_500_is_tried_again_under_the_same_id(
    house: House, courier: Courier, receiver: Receiver
) -> None:
    webhook = add_webhook(house, receiver.url, "request.finished")
    receiver.secret, receiver.status = webhook["secret"], 500
    ping(house, webhook)
    courier.run()
    failed = last(house, webhook)
    assert (failed["status"], failed["error"]) == ("pending", "the receiver answered 500")
    assert failed["attempts"] == 1

    receiver.status = 200
    house.database.run("UPDATE webhook_deliveries SET available_at = now()")
    courier.run()

    assert last(house, webhook)["status"] == "delivered"
    assert [event["id"] for event in receiver.accepted] == [failed["event_id"]]


def test_attempts_run_out_and_an_admin_sends_the_event_once_more(
    house: House, courier: Courier, receiver: Receiver
) -> None:
    webhook = add_webhook(house, receiver.url, "request.finished")
    receiver.secret, receiver.status = webhook["secret"], 503
    delivery_id = ping(house, webhook)
    path = f"/api/webhooks/{webhook['id']}/deliveries/{delivery_id}/redeliver"
    assert house.people.admin("POST", path).get_json()["code"] == "not-ended"
    for _ in range(8):
        house.database.run("UPDATE webhook_deliveries SET available_at = now()")
        courier.run()
    assert (last(house, webhook)["failure"], receiver.asked) == ("exhausted", 8)

    receiver.status = 200
    assert house.people.admin("POST", path).status_code == 202
    courier.run()
    assert house.people.admin("POST", path).status_code == 202
    courier.run()

    assert len({event["id"] for event in receiver.accepted}) == 1
    assert len(receiver.accepted) == 2
    assert len(deliveries(house, webhook["id"])) == 1
    missing = path.replace(f"/{delivery_id}/", "/99999/")
    assert house.people.admin("POST", missing).status_code == 404


def test_a_redirect_is_not_followed(house: House, courier: Courier, receiver: Receiver) -> None:
    with Receiver() as elsewhere:
        receiver.status, receiver.headers = 307, {"Location": elsewhere.url}
        webhook = add_webhook(house, receiver.url, "request.finished")
        ping(house, webhook)
        courier.run()

        assert (receiver.asked, elsewhere.asked) == (1, 0)
    ended = last(house, webhook)
    assert (ended["status"], ended["failure"]) == ("failed", "permanent")
    assert "redirects are not followed" in ended["error"]


def test_a_receiver_that_is_down_or_slow_is_tried_again_later(house: House) -> None:
    house.changes["WEBHOOK_TIMEOUT"] = 0.2
    with Receiver() as down:
        closed = add_webhook(house, down.url, "request.finished")
    with Receiver(holding=True) as holding, courier_of(house) as courier:
        slow = add_webhook(house, holding.url, "request.finished")
        for webhook in (closed, slow):
            ping(house, webhook)
        courier.run()

    assert [last(house, webhook)["status"] for webhook in (closed, slow)] == ["pending"] * 2
    assert "failed: " in last(house, closed)["error"]
    assert "did not answer in time" in last(house, slow)["error"]


def test_an_internal_address_is_refused_when_it_is_given_and_when_it_is_reached(
    house: House, receiver: Receiver
) -> None:
    allowed = add_webhook(house, receiver.url, "request.finished")
    strict = house.reopened(WEBHOOK_INTERNAL_HOSTS="")
    ping(house, allowed)
    for url in (receiver.url, receiver.url.replace("http:", "https:")):
        body = {"url": url, "events": ["request.finished"]}
        answer = strict.people.admin("POST", "/api/webhooks", json=body)
        assert (answer.status_code, answer.get_json()["code"]) == (400, "url-refused")
    changed = strict.people.admin(
        "PATCH", f"/api/webhooks/{allowed['id']}", json={"url": "https://169.254.169.254/"}
    )
    assert changed.get_json()["code"] == "url-refused"
    house.database.run("UPDATE webhooks SET url = :url", url=receiver.url.replace("p:", "ps:", 1))

    with courier_of(strict) as courier, strict.closing:
        courier.run()
        ended = last(house, allowed)

    assert (ended["failure"], receiver.asked) == ("permanent", 0)
    assert "a loopback address" in ended["error"]


def test_secrets_are_shown_once_stored_nowhere_and_can_be_rotated(
    house: House, courier: Courier, receiver: Receiver
) -> None:
    webhook = add_webhook(house, receiver.url, "request.finished")
    path = f"/api/webhooks/{webhook['id']}"
    rotated = house.people.admin("POST", f"{path}/secret").get_json()["secret"]
    ping(house, webhook)

    receiver.secret = webhook["secret"]
    courier.run()
    assert receiver.refused == ["the signature is wrong"]
    receiver.secret = rotated
    house.database.run("UPDATE webhook_deliveries SET available_at = now()")
    courier.run()

    assert receiver.kinds == ["ping"]
    shown = house.people.admin("GET", path).text + house.people.admin("GET", "/api/webhooks").text
    secrets = {webhook["secret"], rotated}
    assert not any(secret in shown for secret in secrets)
    stored = [text for _, text in house.database.texts()]
    assert not any(secret in text for text in stored for secret in secrets)


def test_another_key_signs_nothing_and_says_so(house: House, receiver: Receiver) -> None:
    webhook = add_webhook(house, receiver.url, "request.finished")
    ping(house, webhook)
    for changes, said in (
        ({"WEBHOOK_KEY": "x" * 40}, "WEBHOOK_KEY is not the one"),
        ({"WEBHOOK_KEY": None}, "WEBHOOK_KEY is not set"),
    ):
        house.database.run("UPDATE webhook_deliveries SET available_at = now()")
        with courier_of(house.reopened(**changes)) as courier:
            courier.run()
        assert said in last(house, webhook)["error"]
    assert receiver.asked == 0

    keyless = house.reopened(WEBHOOK_KEY=None)
    with keyless.closing:
        body = {"url": receiver.url, "events": ["request.finished"]}
        answer = keyless.people.admin("POST", "/api/webhooks", json=body)
        assert (answer.status_code, answer.get_json()["code"]) == (409, "webhook-key-missing")


def test_admins_change_webhooks_approvers_see_them_and_the_audit_log_has_it(
    house: House, courier: Courier
) -> None:
    admin, approver, user = house.people.admin, house.people.approver, house.people.user
    url = "https://hooks.example.test/in"
    body = {"url": url, "events": ["package.rejected", "package.rejected"]}
    assert {who("POST", "/api/webhooks", json=body).status_code for who in (approver, user)} == {
        403
    }
    refused: list[dict[str, Any]] = [
        {"events": []}, {"events": ["ping"]}, {"events": ["x"]}, {"url": ""}, {"a": 1},
    ]  # fmt: skip
    for wrong in refused:
        assert admin("POST", "/api/webhooks", json={**body, **wrong}).status_code == 400, wrong
    webhook = add_webhook(house, url, "package.rejected")
    path = f"/api/webhooks/{webhook['id']}"

    assert user("GET", path).status_code == 403
    assert approver("GET", path).get_json()["url"] == url
    assert approver("PATCH", path, json={"active": False}).status_code == 403
    off = admin("PATCH", path, json={"active": False, "description": " the portal "}).get_json()
    assert (off["active"], off["description"], off["events"]) == (
        False, "the portal", ["package.rejected"],
    )  # fmt: skip
    assert admin("POST", f"{path}/ping").get_json()["code"] == "webhook-inactive"
    assert admin("DELETE", path).status_code == 204
    assert {admin("GET", path).status_code, admin("DELETE", path).status_code} == {404}
    noted = house.database.rows(
        "SELECT action FROM audit_log WHERE subject = :subject ORDER BY id",
        subject=f"webhook:{webhook['id']}",
    )
    assert [row.action for row in noted] == [
        "webhook.created", "webhook.changed", "webhook.removed",
    ]  # fmt: skip


def test_the_worker_delivers_within_moments_and_a_slow_receiver_holds_up_no_other(
    house: House, receiver: Receiver
) -> None:
    listening = make_engine(house.database_url, pool_size=1)
    policy = Policy(concurrency=4, interval=timedelta(seconds=60), ttl=timedelta(seconds=2))
    assignments = [Assignment(pipeline) for pipeline in pipelines(house.settings)]
    daemon = Daemon(house.engine, listening, assignments, policy)
    with Receiver(holding=True) as holding:
        slow = add_webhook(house, holding.url, "advisory.hit")
        quick = add_webhook(house, receiver.url, "advisory.hit", "request.finished")
        receiver.secret = quick["secret"]
        daemon.start()
        try:
            house.submit(lock_of({}))
            wait_until(lambda: receiver.kinds, seconds=5, what="an event of an upload")
            ping(house, slow)
            wait_until(lambda: holding.asked, seconds=5, what="the slow one is asked")
            ping(house, quick)
            wait_until(lambda: len(receiver.kinds) == 2, seconds=1.5, what="its ping")
        finally:
            holding.let_go()
            daemon.drain()
            listening.dispose()
    assert receiver.refused == []
