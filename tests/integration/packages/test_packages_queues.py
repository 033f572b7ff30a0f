"""The queue endpoints on packages: whose a row is, and what an act on one leaves behind."""

from functools import partial
from typing import Any

from tests.integration.packages.deciding import approved, claim, settle
from tests.integration.packages.house import House, lock_of, multipart
from tests.integration.packages.test_submission_races import together
from tests.registry_server import integrity, tarball_path

QUEUE = "/api/queues/packages"


def row_of(house: House, request_id: int) -> int:
    row_id: int = house.package(request_id)["id"]
    return row_id


def failed_package(house: House) -> int:
    """The request of a package whose registry serves other bytes than the lock names."""
    house.publish("left")
    lock = lock_of({"left": house.entry("left", integrity=integrity(b"other bytes"))})
    request_id = house.submit(lock)
    house.worker.run()
    assert house.package(request_id)["failure"] == "permanent"
    return request_id


def test_everybody_who_requested_a_package_sees_its_row_and_nobody_else_does(house: House) -> None:
    lock = house.lock("left")
    row_id = row_of(house, house.submit(lock))
    explain, attempts = (f"{QUEUE}/{row_id}/{what}" for what in ("explain", "attempts"))
    ada, bob = house.people.user, house.people.other

    assert ada("GET", explain).status_code == 200
    assert ada("GET", attempts).get_json() == {"attempts": [], "next": None}
    assert {bob("GET", path).status_code for path in (explain, attempts)} == {404}

    house.submit(lock, by=bob)
    assert bob("GET", explain).status_code == 200


def test_a_failed_package_requeued_by_an_admin_is_vetted_from_the_start(house: House) -> None:
    request_id = failed_package(house)
    (group,) = house.people.admin("GET", f"{QUEUE}/dead").get_json()["groups"]
    asked = house.registry.requested(tarball_path("left", "1.0.0"))

    wish = {"fingerprint": group["fingerprint"]}
    done = house.people.admin("POST", f"{QUEUE}/requeue", json=wish)
    house.worker.run()

    assert done.get_json()["requeued"] == 1
    assert house.registry.requested(tarball_path("left", "1.0.0")) == asked + 1
    assert house.package(request_id)["failure"] == "permanent"


def test_a_refused_package_is_never_requeued_by_the_queue_endpoint(house: House) -> None:
    blocked = house.vet_one(house.lock("left", licence="AGPL-3.0-only"))
    assert blocked["failure"] == "policy"

    wish: dict[str, Any] = {"ids": [blocked["id"]], "filter": {}}
    done = house.people.admin("POST", f"{QUEUE}/requeue", json=wish).get_json()

    assert (done["requeued"], done["left"]) == (0, [blocked["id"]])


def test_a_package_that_is_being_published_cannot_be_cancelled(house: House) -> None:
    package = house.vet_one(house.lock("left"))
    row_id = package["id"]
    approved(house, package)
    house.people.approver("POST", f"/api/approver/packages/publish/{row_id}")
    lease = claim(house)

    path = f"/api/queues/package_publisher/{row_id}/cancel"
    refused = house.people.admin("POST", path)

    assert (refused.status_code, refused.get_json()["code"]) == (409, "not-cancellable")
    settle(house, lease)


def test_one_lock_uploaded_many_times_at_once_is_the_same_packages_and_is_vetted_once(
    house: House,
) -> None:
    names = [f"p{number}" for number in range(12)]
    lock = house.lock(*names)
    callers = [house.people.user, house.people.other, house.people.admin, house.people.user]
    clients = [house.app.test_client() for _ in callers]
    headers = [{"Authorization": f"Bearer {caller.token}"} for caller in callers]

    def upload(client: Any, header: dict[str, str]) -> int:
        answer = client.post("/api/packages/upload", headers=header, **multipart(lock))
        request_id: int = answer.get_json()["request_id"]
        return request_id

    # A worker is at it from the first commit on.
    *requests, _ = together(
        *(partial(upload, *both) for both in zip(clients, headers, strict=True)), house.worker.run
    )
    house.worker.run()

    found = [house.detail(request_id)["packages"] for request_id in requests]
    assert len({tuple(package["id"] for package in packages) for packages in found}) == 1
    assert {package["status"] for packages in found for package in packages} == {"Pending Approval"}
    fresh = [package for packages in found for package in packages if package["type"] == "new"]
    assert len(fresh) == len(names)
    fetched = {name: house.registry.requested(tarball_path(name, "1.0.0")) for name in names}
    assert fetched == dict.fromkeys(names, 1)
    assert house.database.one("SELECT count(*) FROM attempts WHERE queue = 'packages'") == 12
