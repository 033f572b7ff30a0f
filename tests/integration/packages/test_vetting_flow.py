"""From an uploaded lock to a verdict for each of its entries."""

from tests.integration.packages.house import House, lock_of


def test_an_uploaded_lock_is_vetted_to_pending_approval(house: House) -> None:
    detail = house.vet(house.lock("left", "right", "@acme/up"))

    assert [(p["name"], p["status"], p["license_status"]) for p in detail["packages"]] == [
        ("@acme/up", "Pending Approval", "always_allowed"),
        ("left", "Pending Approval", "always_allowed"),
        ("right", "Pending Approval", "always_allowed"),
    ]
