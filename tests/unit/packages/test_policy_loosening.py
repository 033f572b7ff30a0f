"""Which changes of a policy let more through."""

from typing import Any

import pytest

from backend.workloads.packages.licences import Tier
from backend.workloads.packages.policies.document import PolicyDocument
from backend.workloads.packages.policies.loosening import changes, effective_tiers, tier_change

TIERS = {"MIT": Tier.ALWAYS_ALLOWED, "GPL-2.0-only": Tier.AVOID, "AGPL-3.0-only": Tier.BLOCKED}


def policy(**sections: Any) -> PolicyDocument:
    return PolicyDocument.model_validate({"version": 1, **sections})


def found(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(c.key, c.loosens) for c in changes(policy(**before), policy(**after), TIERS)]


def tiers(identifier: str, tier: str) -> dict[str, Any]:
    return {"licences": {"tiers": {identifier: tier}}}


@pytest.mark.parametrize(
    ("key", "strict", "loose"),
    [
        ("severity.reject_at", {"severity": {"reject_at": "high"}}, {}),
        ("severity.reject_at", {}, {"severity": {"reject_at": "never"}}),
        ("severity.hold_at", {}, {"severity": {"hold_at": "medium"}}),
        ("minimum_release_age.days", {"minimum_release_age": {"days": 7}}, {}),
        ("minimum_release_age.effect", {"minimum_release_age": {"effect": "reject"}}, {}),
        (
            "minimum_release_age.exempt_security_fixes",
            {"minimum_release_age": {"exempt_security_fixes": False}},
            {},
        ),
        ("required_integrity", {"required_integrity": "sha512"}, {"required_integrity": "sha1"}),
        ("required_integrity", {"required_integrity": "sha1"}, {}),
        ("install_scripts", {"install_scripts": "reject"}, {}),
        ("install_scripts", {}, {"install_scripts": "allow"}),
        ("auto_approve", {}, {"auto_approve": True}),
        ("four_eyes", {}, {"four_eyes": False}),
        ("denied.packages", {"denied": {"packages": ["left"]}}, {}),
        ("denied.packages", {"denied": {"packages": ["left@<2"]}}, {}),
        ("denied.scopes", {"denied": {"scopes": ["@a"]}}, {}),
        ("internal.scopes", {"internal": {"scopes": ["@a"]}}, {}),
        ("internal.patterns", {"internal": {"patterns": ["acme-*"]}}, {}),
        ("licences.tiers.MIT", tiers("MIT", "blocked"), {}),
        ("licences.tiers.MIT", tiers("MIT", "avoid"), tiers("MIT", "allowed")),
        ("licences.tiers.AGPL-3.0-only", {}, tiers("AGPL-3.0-only", "allowed")),
    ],
)
def test_one_way_is_looser_and_the_other_is_not(
    key: str, strict: dict[str, Any], loose: dict[str, Any]
) -> None:
    assert found(strict, loose) == [(key, True)]
    assert found(loose, strict) == [(key, False)]


def test_the_same_policy_changes_nothing() -> None:
    same = {"denied": {"packages": ["a", "b"]}, **tiers("MIT", "avoid")}
    assert found(same, {**same, "denied": {"packages": ["b", "a"]}}) == []


@pytest.mark.parametrize("after", [{"packages": ["@a/x"]}, {"scopes": ["@a"]}])
def test_a_denied_range_may_go_where_more_than_it_is_denied(after: dict[str, Any]) -> None:
    gone = found({"denied": {"packages": ["@a/x@<2"]}}, {"denied": after})
    assert ("denied.packages", True) not in gone


def test_a_denied_range_that_becomes_another_one_counts_as_looser() -> None:
    before, after = ({"denied": {"packages": [f"x@<{n}"]}} for n in (2, 3))
    assert ("denied.packages", True) in found(before, after)


def test_an_exception_to_a_licence_is_compared_with_what_counted_for_it_before() -> None:
    named = {"GPL-2.0-only WITH Classpath-exception-2.0": "allowed"}
    ((_, loosens),) = found({}, {"licences": {"tiers": named}})
    assert loosens
    stricter = {"GPL-2.0-only WITH Classpath-exception-2.0": "blocked"}
    assert found({}, {"licences": {"tiers": stricter}})[0][1] is False


def test_a_policys_own_tier_comes_before_the_tables_however_it_is_spelt() -> None:
    own = policy(licences={"tiers": {"mit": "blocked", "GPL-2.0": "blocked"}})
    assert effective_tiers(own, TIERS) == {
        "AGPL-3.0-only": Tier.BLOCKED, "mit": Tier.BLOCKED, "GPL-2.0": Tier.BLOCKED,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("after", "loosens"),
    [
        ({**TIERS, "X": Tier.ALLOWED}, [True]),
        ({**TIERS, "X": Tier.BLOCKED}, [False]),
        (TIERS, []),
    ],
)
def test_a_licence_that_is_new_to_the_table_was_unknown(
    after: dict[str, Tier], loosens: list[bool]
) -> None:
    assert [change.loosens for change in tier_change(TIERS, after, ["X"])] == loosens
