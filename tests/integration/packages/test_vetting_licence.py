"""Whose word counts for a licence: never the lock's, the stricter of registry and tarball."""

from typing import Any

import pytest

from backend.identity.roles import Role
from backend.workloads.packages.registry.download import download
from backend.workloads.packages.steps import download as step
from tests.integration.packages.house import House, lock_of
from tests.registry_server import tarball_path

MIT_TEXT = """MIT License

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM.
"""


def vet(house: House, **published: Any) -> dict[str, Any]:
    tarball = house.publish("left", **published)
    return house.vet_one(lock_of({"left": house.entry("left", tarball=tarball)}))


def verdict(package: dict[str, Any]) -> tuple[str, str | None, str | None, int | None]:
    return (
        package["status"], package["license_identifier"],
        package["license_status"], package["license_score"],
    )  # fmt: skip


def tier(house: House, identifier: str, status: str) -> None:
    listed = house.people.admin("GET", "/api/admin/licenses").get_json()["licenses"]
    (known,) = [entry for entry in listed if entry["identifier"] == identifier]
    changed = {"name": known["name"], "identifier": identifier, "status": status}
    path = f"/api/admin/licenses/{known['id']}"
    answer = house.people.admin("PUT", path, json=changed)
    if answer.status_code == 409:  # it lets more through: another admin wants it, too
        answer = house.people("toor", Role.ADMIN)("PUT", path, json=changed)
    assert answer.status_code == 200


def test_a_licence_that_the_registry_names_and_policy_blocks_is_rejected_before_any_download(
    house: House,
) -> None:
    package = vet(house, licence="AGPL-3.0-only")

    assert verdict(package) == ("Rejected", "AGPL-3.0-only", "blocked", 0)
    assert package["failure"] == "policy"
    assert package["error"] == ("licence blocked by policy: AGPL-3.0-only has status blocked")
    assert house.registry.requested(tarball_path("left", "1.0.0")) == 0


@pytest.mark.parametrize(
    ("said", "manifest", "expected"),
    [
        ("MIT", "AGPL-3.0-only", ("Rejected", "AGPL-3.0-only", "blocked", 0)),
        ("MIT", "GPL-3.0-only", ("Pending Approval", "GPL-3.0-only", "avoid", 30)),
        ("GPL-3.0-only", "MIT", ("Pending Approval", "GPL-3.0-only", "avoid", 30)),
        ("MIT", "SEE LICENSE IN x", ("Pending Approval", None, None, None)),
    ],
)
def test_where_registry_and_tarball_differ_the_stricter_counts_and_the_difference_is_a_finding(
    house: House, said: str, manifest: str, expected: tuple[Any, ...]
) -> None:
    package = vet(house, said=said, licence=manifest)

    assert verdict(package) == expected
    assert [(f["id"], f["kind"]) for f in package["findings"]] == [
        ("licence-differs-from-registry", "licence")
    ]
    assert package["failure"] == ("policy" if expected[0] == "Rejected" else None)


def test_a_licence_text_of_another_licence_than_the_manifest_names_is_a_finding_and_counts(
    house: House,
) -> None:
    package = vet(house, licence="0BSD", files={"LICENSE": MIT_TEXT})
    same = house.publish("right", licence="MIT", files={"LICENSE": MIT_TEXT})
    agreeing = house.vet_one(lock_of({"right": house.entry("right", tarball=same)}))

    assert [f["id"] for f in package["findings"]] == ["licence-text:LICENSE"]
    assert agreeing["findings"] == []


@pytest.mark.parametrize("licence", ["", "Made-Up-1.0", "SEE LICENSE IN LICENSE", {"type": 7}])
def test_an_unknown_licence_goes_to_a_person_and_is_marked(house: House, licence: Any) -> None:
    package = vet(house, licence=licence)

    assert package["status"] == "Pending Approval"
    assert (package["license_status"], package["license_score"]) == (None, None)


@pytest.mark.parametrize(
    ("expression", "status", "license_status", "score"),
    [
        ("AGPL-3.0-only OR MIT", "Pending Approval", "always_allowed", 100),
        ("AGPL-3.0-only AND MIT", "Rejected", "blocked", 0),
        ("(GPL-3.0-only OR MIT) AND MPL-2.0", "Pending Approval", "allowed", 80),
        ("MIT AND Made-Up-1.0", "Pending Approval", None, None),
    ],
)
def test_of_an_expression_or_takes_the_best_member_and_and_the_worst(
    house: House, expression: str, status: str, license_status: str | None, score: int | None
) -> None:
    package = vet(house, licence=expression)

    assert (package["status"], package["license_status"]) == (status, license_status)
    assert package["license_score"] == score


@pytest.mark.parametrize("licence", ["AGPL-3.0-only", "Made-Up-1.0"])
def test_the_locks_own_word_for_a_licence_improves_nothing(house: House, licence: str) -> None:
    tarball = house.publish("left", licence=licence)
    without = house.vet_one(lock_of({"left": house.entry("left", tarball=tarball)}))
    twin = house.publish("right", licence=licence)
    claimed = house.entry("right", tarball=twin, license="MIT")
    with_claim = house.vet_one(lock_of({"right": claimed}))

    assert verdict(with_claim) == verdict(without)


def test_a_changed_tier_acts_on_the_next_package_without_a_restart(house: House) -> None:
    assert vet(house, licence="MIT")["license_status"] == "always_allowed"

    tier(house, "MIT", "blocked")
    tarball = house.publish("right", licence="MIT")
    package = house.vet_one(lock_of({"right": house.entry("right", tarball=tarball)}))

    assert verdict(package) == ("Rejected", "MIT", "blocked", 0)


def test_a_tier_that_changes_while_a_package_is_under_way_acts_on_its_verdict(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*given: Any, **named: Any) -> Any:
        tier(house, "MIT", "avoid")
        return download(*given, **named)

    monkeypatch.setattr(step, "download", meanwhile)

    assert verdict(house.vet_one(house.lock("left"))) == ("Pending Approval", "MIT", "avoid", 30)


def test_under_changed_tiers_a_known_package_is_judged_again_without_a_new_download(
    house: House,
) -> None:
    lock = house.lock("left")
    house.vet(lock)
    asked = len(house.registry.requests)

    tier(house, "MIT", "blocked")
    assert verdict(house.vet_one(lock)) == ("Rejected", "MIT", "blocked", 0)
    tier(house, "MIT", "avoid")
    assert verdict(house.vet_one(lock)) == ("Pending Approval", "MIT", "avoid", 30)
    assert len(house.registry.requests) == asked


def test_a_package_that_was_refused_before_its_download_is_vetted_once_its_tier_allows(
    house: House,
) -> None:
    lock = house.lock("left", licence="SSPL-1.0")
    assert house.vet_one(lock)["status"] == "Rejected"

    tier(house, "SSPL-1.0", "allowed")

    assert verdict(house.vet_one(lock)) == (
        "Pending Approval", "SSPL-1.0", "allowed", 80,
    )  # fmt: skip


def test_a_bundled_package_with_a_blocked_licence_refuses_its_parent(house: House) -> None:
    bundled = '{"name": "inner", "version": "1.0.0", "license": "AGPL-3.0-only"}'
    package = vet(house, files={"node_modules/inner/package.json": bundled})

    assert (package["status"], package["failure"]) == ("Rejected", "policy")


def test_a_critical_vulnerability_refuses_and_a_lesser_one_goes_to_a_person(house: House) -> None:
    house.advise("left", advisory="GHSA-critical", severity="CRITICAL")
    house.advise("right", advisory="GHSA-high", severity="HIGH")
    left, right = house.vet(house.lock("left", "right"))["packages"]

    assert (left["status"], left["failure"]) == ("Rejected", "policy")
    assert left["error"] == "critical vulnerability: GHSA-critical"
    assert (right["status"], right["scan_result"]) == ("Pending Approval", "vulnerable")
    # A partial source convicts, and covers nothing: no number is given.
    assert right["security_score"] is None
