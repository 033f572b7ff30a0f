"""An artifact is vetted once and shared by every request that names the same bytes."""

from typing import Any

import pytest

from tests.integration.packages.house import House, Lock, lock_of
from tests.registry_server import Answer, integrity

OTHER = integrity(b"other bytes")


def types(detail: dict[str, Any]) -> list[str]:
    return [package["type"] for package in detail["packages"]]


def statuses(detail: dict[str, Any]) -> list[str]:
    return [package["status"] for package in detail["packages"]]


def queue_rows(house: House) -> int:
    count: int = house.database.one("SELECT count(*) FROM package_status")
    return count


def withdraw(house: House, request_id: int) -> dict[str, Any]:
    answer = house.people.admin("POST", f"/api/packages/requests/{request_id}/withdraw")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.get_json()
    return document


def test_a_second_upload_of_the_same_lock_finds_everything_and_queues_nothing(
    house: House,
) -> None:
    lock = house.lock("left", "right")
    first = house.vet(lock)
    asked, scans = len(house.registry.requests), house.database.one("SELECT max(id) FROM attempts")

    second = house.vet(lock, by=house.people.other)

    assert types(first) == ["new", "new"]
    assert types(second) == ["existing", "existing"]
    assert statuses(second) == ["Pending Approval"] * 2
    assert len(house.registry.requests) == asked
    assert house.database.one("SELECT max(id) FROM attempts") == scans


def test_different_bytes_under_one_name_and_version_are_two_artifacts_and_an_alarm(
    house: House,
) -> None:
    tarball = house.publish("left")
    good = house.vet(lock_of({"left": house.entry("left", tarball=tarball)}))
    forged = house.vet(
        lock_of({"left": house.entry("left", integrity=OTHER)}), by=house.people.other
    )

    assert [notice["kind"] for notice in forged["notices"]] == ["different-bytes"]
    assert forged["notices"][0]["entry"] == "node_modules/left"
    assert statuses(forged) == ["Rejected"]
    assert forged["packages"][0]["error"].startswith("integrity-mismatch: ")
    assert forged["packages"][0]["id"] != good["packages"][0]["id"]
    again = house.detail(good["request"]["id"])
    assert again["packages"] == good["packages"]


@pytest.mark.parametrize("forged_first", [True, False])
def test_a_forged_integrity_never_changes_what_another_lock_gets(
    house: House, forged_first: bool
) -> None:
    tarball = house.publish("left")
    forged = lock_of({"left": house.entry("left", integrity=OTHER)})
    good = lock_of({"left": house.entry("left", tarball=tarball)})
    locks = (forged, good) if forged_first else (good, forged)
    details = [house.vet(lock) for lock in locks]

    found = {d["packages"][0]["integrity"]: statuses(d) for d in details}
    assert found == {OTHER: ["Rejected"], integrity(tarball): ["Pending Approval"]}


def test_one_lock_that_names_two_hashes_for_one_package_vets_both_and_says_so(
    house: House,
) -> None:
    tarball = house.publish("left")
    nested = "node_modules/right/node_modules/left"
    detail = house.vet(
        lock_of(
            {
                "left": house.entry("left", tarball=tarball),
                nested: house.entry("left", integrity=OTHER),
            }
        )
    )

    assert sorted(statuses(detail)) == ["Pending Approval", "Rejected"]
    assert {notice["kind"] for notice in detail["notices"]} == {
        "conflicting-integrity", "different-bytes",
    }  # fmt: skip


@pytest.mark.parametrize("weak_first", [True, False])
@pytest.mark.parametrize("weak", ["sha1", "none"])
def test_locks_that_name_the_same_bytes_by_different_hashes_share_one_artifact(
    house: House, weak: str, weak_first: bool
) -> None:
    tarball = house.publish("left")
    claim = "" if weak == "none" else integrity(tarball, weak)
    weak_lock = lock_of({"left": house.entry("left", integrity=claim)})
    strong_lock = lock_of({"left": house.entry("left", tarball=tarball)})
    locks = (weak_lock, strong_lock) if weak_first else (strong_lock, weak_lock)
    details = [house.detail(house.vet(lock)["request"]["id"]) for lock in locks]

    (first,), (second,) = (detail["packages"] for detail in details)
    assert first["id"] == second["id"]
    assert {first["checked"], second["checked"]} == {"sha512", weak}
    assert [d["request"]["status"] for d in details] == ["pending_approval"] * 2
    assert [d["request"]["completion_percentage"] for d in details] == [100.0] * 2
    assert queue_rows(house) == 1
    assert house.database.one("SELECT count(*) FROM artifacts WHERE merged_into IS NULL") == 1


def test_locks_that_are_vetted_side_by_side_merge_too(house: House) -> None:
    tarball = house.publish("left")
    claims = ["", *(integrity(tarball, name) for name in ("sha1", "sha256", "sha384", "sha512"))]
    requests = [
        house.submit(lock_of({"left": house.entry("left", integrity=claim)})) for claim in claims
    ]
    house.worker.run()

    packages = [house.package(request_id) for request_id in requests]
    assert [package["status"] for package in packages] == ["Pending Approval"] * 5
    assert len({package["id"] for package in packages}) == 1
    assert queue_rows(house) == 1


def test_one_lock_that_names_the_same_bytes_twice_keeps_both_entries_when_they_merge(
    house: House,
) -> None:
    tarball = house.publish("left")
    nested = "node_modules/right/node_modules/left"
    detail = house.vet(
        lock_of(
            {
                "left": house.entry("left", tarball=tarball),
                nested: house.entry("left", integrity=integrity(tarball, "sha1")),
            }
        )
    )

    assert sorted(entry for p in detail["packages"] for entry in p["entries"]) == [
        "node_modules/left", nested,
    ]  # fmt: skip
    assert detail["request"]["package_counts"] == {"Pending Approval": 2}


def test_merging_into_an_artifact_that_was_withdrawn_vets_it_after_all(house: House) -> None:
    tarball = house.publish("left")
    first = house.submit(lock_of({"left": house.entry("left", tarball=tarball)}))
    house.worker.run()
    house.database.run(
        "UPDATE package_status SET status = 'Requested', step = 'download', completed_at = NULL"
    )
    withdraw(house, first)
    assert house.package(first)["failure"] == "cancelled"

    weak = lock_of({"left": house.entry("left", integrity=integrity(tarball, "sha1"))})
    detail = house.detail(house.vet(weak)["request"]["id"])

    assert statuses(detail) == ["Pending Approval"]


def test_bytes_once_known_stay_the_artifacts_identity_whatever_the_registry_serves_later(
    house: House,
) -> None:
    first = house.publish("left")
    unpinned = lock_of({"left": house.entry("left")})
    house.vet(unpinned)
    pinned = house.vet(lock_of({"left": house.entry("left", tarball=first)}))
    house.publish("left", files={"index.js": "other"})
    (path,) = (house.folder / "cache" / "sha512").glob("*/*")
    path.unlink()

    house.database.run("UPDATE artifact_evidence SET updated_at = '2020-01-01'")
    house.vet(unpinned)

    sha512 = house.database.one("SELECT sha512 FROM artifacts WHERE merged_into IS NULL")
    assert sha512 == path.name
    package = house.package(pinned["request"]["id"])
    assert package["failure"] == "permanent"
    assert package["error"].startswith("integrity-mismatch: ")


def test_a_known_artifact_that_failed_in_processing_is_vetted_again_on_upload(
    house: House,
) -> None:
    lock = house.lock("left")
    well = house.registry._script["/left/1.0.0"]
    house.registry.answer("/left/1.0.0", Answer(403))
    assert statuses(house.vet(lock)) == ["Rejected"]

    house.registry.answer("/left/1.0.0", *well)
    assert statuses(house.vet(lock, by=house.people.other)) == ["Pending Approval"]


def test_what_a_person_refused_stays_refused_on_upload(house: House) -> None:
    lock = house.lock("left")
    house.vet(lock)
    house.database.run(
        "UPDATE package_status SET status = 'Rejected', failure = 'human',"
        " failed_from = 'Requested', policy_digest = 'old', vetted_at = '2020-01-01'"
    )
    house.database.run("UPDATE artifact_evidence SET updated_at = '2020-01-01'")

    assert [p["failure"] for p in house.vet(lock)["packages"]] == ["human"]


def test_evidence_older_than_the_limit_is_gathered_again(house: House) -> None:
    lock = house.lock("left")
    house.vet(lock)
    asked = house.registry.requested("/left/1.0.0")
    house.database.run("UPDATE artifact_evidence SET updated_at = now() - interval '8 days'")

    assert statuses(house.vet(lock)) == ["Pending Approval"]
    assert house.registry.requested("/left/1.0.0") == asked + 1


def test_judging_stored_evidence_again_does_not_make_it_younger(house: House) -> None:
    lock = house.lock("left")
    house.vet(lock)
    house.database.run("UPDATE artifact_evidence SET updated_at = now() - interval '6 days'")
    house.database.run("UPDATE package_status SET policy_digest = 'another'")
    house.vet(lock)
    assert house.registry.requested("/left/1.0.0") == 1

    house.database.run("UPDATE artifact_evidence SET updated_at = updated_at - interval '2 days'")
    house.vet(lock)
    assert house.registry.requested("/left/1.0.0") == 2


def test_new_advisories_convict_a_known_package_when_it_is_asked_for_again(house: House) -> None:
    house.advise("other")
    lock = house.lock("left", "right")
    house.vet(lock)
    asked = len(house.registry.requests)

    house.advise("left", advisory="GHSA-new", severity="CRITICAL")
    later = house.reopened()
    tarball = later.publish("up")
    later.vet(lock_of({"up": later.entry("up", tarball=tarball)}))
    detail = later.vet(lock)

    assert statuses(detail) == ["Rejected", "Pending Approval"]
    assert len(house.registry.requests) == asked + 2


def test_a_withdrawal_stops_only_what_no_other_open_request_needs(house: House) -> None:
    shared = house.lock("shared")["packages"]["node_modules/shared"]
    mine = house.lock("mine")["packages"]["node_modules/mine"]
    first = house.submit(lock_of({"shared": shared, "mine": mine}))
    second = house.submit(lock_of({"shared": shared}), by=house.people.other)

    said = withdraw(house, first)
    house.worker.run()

    assert said["cancelled"] == 1
    assert house.detail(first)["request"]["status"] == "withdrawn"
    assert {p["name"]: p["failure"] for p in house.detail(first)["packages"]} == {
        "mine": "cancelled", "shared": None,
    }  # fmt: skip
    assert house.package(second)["status"] == "Pending Approval"
    assert withdraw(house, first)["cancelled"] == 0


def test_withdrawing_the_last_request_stops_what_a_worker_holds(house: House) -> None:
    request_id = house.submit(house.lock("left"))
    (lease,) = house.worker.claim()

    assert withdraw(house, request_id)["cancelled"] == 1
    house.worker.finish(lease)

    assert house.package(request_id)["failure"] == "cancelled"
    assert house.database.one("SELECT count(*) FROM security_scans") == 0


def test_an_upload_after_a_withdrawal_revives_the_packages(house: House) -> None:
    lock = house.lock("left")
    withdraw(house, house.submit(lock))

    assert statuses(house.vet(lock)) == ["Pending Approval"]


def priority_of(house: House) -> int:
    found: int = house.database.one("SELECT priority FROM package_status")
    return found


def test_a_packages_priority_is_the_highest_of_its_requests(house: House) -> None:
    lock = house.lock("left")
    seen = []
    for priority in ("3", "8", "5"):
        house.submit(lock, priority=priority)
        seen.append(priority_of(house))

    assert seen == [3, 8, 8]


def test_every_entry_of_a_lock_is_accounted_for_exactly_once(house: House) -> None:
    lock: Lock = house.lock("left", "right")
    lock["packages"] |= {
        "node_modules/a/node_modules/left": lock["packages"]["node_modules/left"],
        "node_modules/alias": {**lock["packages"]["node_modules/right"], "name": "right"},
        "node_modules/git": {"version": "1.0.0", "resolved": "git+ssh://git@host.test/a/b.git#1"},
        "node_modules/local": {"resolved": "local", "link": True},
        "node_modules/odd": {"version": "not a version"},
        "local": {"version": "1.0.0"},
    }
    detail = house.vet(lock)

    accounted = [entry for package in detail["packages"] for entry in package["entries"]]
    accounted += [excluded["entry"] for excluded in detail["excluded"]]
    assert sorted(accounted) == sorted(location for location in lock["packages"] if location)
    assert detail["request"]["entries"] == len(accounted)
    assert sum(detail["request"]["package_counts"].values()) == len(detail["packages"]) == 2
    assert {e["entry"]: e["reason"] for e in detail["excluded"]} == {
        "node_modules/git": "git", "node_modules/local": "link",
        "node_modules/odd": "invalid-version", "local": "file",
    }  # fmt: skip
