"""A policy's YAML: what is read, and how each fault is named."""

import pytest
import yaml

from backend.problems import Malformed, TooLarge
from backend.workloads.packages.policies.document import PolicyDocument
from backend.workloads.packages.policies.reading import MAX_BYTES, default_source, read_policy


def fault(source: str | bytes) -> str:
    with pytest.raises(Malformed) as caught:
        read_policy(source)
    assert caught.value.code == "policy-invalid"
    assert all({"line", "place", "message"} == {*error} for error in caught.value.extra["errors"])
    return caught.value.detail.removeprefix("The policy is wrong in ")


def test_the_shipped_policy_says_what_a_policy_without_any_key_says() -> None:
    assert read_policy(default_source()) == PolicyDocument(version=1)


def test_the_shipped_policy_names_every_key() -> None:
    given = yaml.safe_load(default_source())
    assert given == PolicyDocument(version=1).model_dump(mode="json")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "line 1: the policy is empty"),
        ("# nothing\n", "line 1: the policy is empty"),
        ("version: 2", "line 1: version: should be 1"),
        ("version: '1'", "line 1: version: should be 1"),
        ("severity: {}", "line 1: version: this key is missing"),
        ("- version: 1", "line 1: should be a mapping"),
        ("version: 1\nsevrity:\n  hold_at: low", "line 2: sevrity: there is no such key"),
        ("version: 1\nseverity:\n  hold: low", "line 3: severity.hold: there is no such key"),
        ("version: 1\nseverity:\n\n  reject_at: worst", "line 4: severity.reject_at: should be"),
        ("version: 1\nfour_eyes: yes", "line 2: four_eyes: should be a valid boolean"),
        ("version: 1\nfour_eyes: 1", "line 2: four_eyes: should be a valid boolean"),
        ("version: 1\nminimum_release_age: {days: 010}", "line 2: minimum_release_age.days"),
        ("version: 1\nminimum_release_age: {days: -1}", "line 2: minimum_release_age.days"),
        ("version: 1\nlicences:", "line 2: licences: should be a mapping"),
        ("version: 1\nlicences:\n  tiers:\n    MIT: fine", "line 4: licences.tiers.MIT: should be"),
        ("version: 1\nversion: 1", 'line 2: the key "version" stands twice'),
        ("version: 1\na: &x 1\nb: *x", "line 2: anchors and aliases are not allowed"),
        ("version: !!int 1", "line 1: tags are not allowed"),
        ("version: 1\n? [a]\n: 1", "line 2: a key is no text"),
        ("version: 1\n---\nversion: 1", "line 2: it is no YAML"),
        ("version: [", "line 2: it is no YAML"),
        ("version: 1\ndenied:\n  scopes: [@a]", "line 3: it is no YAML"),
        ("version: \x00", "line 1: it is no YAML"),
        ("version: \ud800", "line 1: it is not UTF-8"),
        (b"version: 1\n# \xff", "line 2: it is not UTF-8"),
        ("[" * 40, "line 1: it is nested deeper"),
    ],
)
def test_a_fault_is_named_with_its_line(source: str | bytes, said: str) -> None:
    assert fault(source).startswith(said)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("severity: {hold_at: critical, reject_at: high}", "severity.hold_at: critical never"),
        ("licences: {tiers: {MIT: allowed, mit: blocked}}", "licences.tiers.mit: mit is blocked"),
        (
            "licences: {tiers: {GPL-2.0: avoid, GPL-2.0-only: allowed}}",
            "licences.tiers.GPL-2.0-only: GPL-2.0-only is allowed, and GPL-2.0, the same",
        ),
        (
            "denied: {scopes: [acme]}\ninternal: {scopes: ['@ACME']}",
            "denied.scopes[0]: @acme is denied, and internal",
        ),
        ("denied: {packages: [left, right, left]}", "denied.packages[2]: left stands here twice"),
        ("internal: {scopes: [acme, '@acme']}", "internal.scopes[1]: @acme stands here twice"),
        ("auto_approve: true\nseverity: {hold_at: never, reject_at: never}", "auto_approve: it"),
        ("internal: {patterns: ['*']}", "internal.patterns[0]: this pattern covers"),
        ("internal: {patterns: ['@*/*']}", "internal.patterns[0]: this pattern covers"),
        ("internal: {patterns: ['a b']}", "internal.patterns[0]: this is no pattern"),
        ("internal: {scopes: ['@a/b']}", "internal.scopes[0]: this is no scope"),
        ("denied: {packages: ['left@what ever']}", "denied.packages[0]: behind the @"),
        ("denied: {packages: ['../left']}", "denied.packages[0]: this is no package name"),
        ("denied: {packages: ['@x/y@']}", "denied.packages[0]: behind the @"),
    ],
)
def test_a_policy_that_contradicts_itself_or_covers_everything_is_refused(
    section: str, said: str
) -> None:
    assert said in fault(f"version: 1\n{section}")


def test_all_faults_are_told_and_in_the_order_of_their_lines() -> None:
    with pytest.raises(Malformed) as caught:
        read_policy("version: 1\nfour_eyes: 2\nx: 1\nauto_approve: no way")
    assert [error["line"] for error in caught.value.extra["errors"]] == [2, 3, 4]
    assert "(and 2 more)" in caught.value.detail


def test_a_policy_that_is_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooLarge):
        read_policy("version: 1\n" + "#" * MAX_BYTES)


def test_order_spelling_and_comments_do_not_change_the_digest() -> None:
    one = read_policy("version: 1\ndenied: {scopes: ['@b', A]}\nfour_eyes: true # yes")
    other = read_policy("denied:\n  scopes:\n  - a\n  - '@B'\nversion: 1\n")
    assert one.digest == other.digest
    assert one.digest != PolicyDocument(version=1).digest


def test_what_is_stored_is_read_back_as_it_was() -> None:
    policy = read_policy("version: 1\nlicences: {tiers: {MIT: blocked}}\nauto_approve: true")
    assert PolicyDocument.model_validate(policy.model_dump(mode="json")) == policy
    assert PolicyDocument.model_validate_json(policy.canonical()) == policy
