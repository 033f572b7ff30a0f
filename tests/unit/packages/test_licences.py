import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from license_expression import get_license_index, get_spdx_licensing

from backend.workloads.packages.licences import (
    LicencePolicy,
    LicenceVerdict,
    Tier,
    differ,
    load_default_licences,
    stricter,
)

ALWAYS, ALLOWED, AVOID, BLOCKED = Tier
ENTRIES = load_default_licences()
POLICY = LicencePolicy({entry.identifier: entry.status for entry in ENTRIES})


def tier(raw: object) -> Tier | None:
    return POLICY.judge(raw).tier


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("MIT", ALWAYS),
        ("mit", ALWAYS),
        ("(MIT OR GPL-3.0-or-later)", ALWAYS),
        ("(BSD-3-Clause OR GPL-2.0)", ALWAYS),
        ("(MIT AND Zlib)", ALWAYS),
        ("MIT AND MPL-2.0", ALLOWED),
        ("MIT AND GPL-3.0-only", AVOID),
        ("MIT AND (GPL-3.0-only OR AGPL-3.0-only)", AVOID),
        ("MIT OR GPL-3.0-only AND AGPL-3.0-only", ALWAYS),
        ("(MIT OR GPL-3.0-only) AND AGPL-3.0-only", BLOCKED),
        ("MIT or Apache-2.0", ALWAYS),
        ("SSPL-1.0", BLOCKED),
        ("BUSL-1.1", BLOCKED),
        ("CC-BY-NC-4.0", BLOCKED),
        ("LGPL-2.1+", AVOID),
    ],
)
def test_or_takes_the_best_member_and_and_the_worst(raw: str, expected: Tier) -> None:
    assert tier(raw) is expected


@pytest.mark.parametrize(
    ("raw", "expression"),
    [
        ("GPL-2.0", "GPL-2.0-only"),
        ("GPL-2.0+", "GPL-2.0-or-later"),
        ("GPL-2.0-only+", "GPL-2.0-or-later"),
        ("AGPL-3.0", "AGPL-3.0-only"),
        ("LGPL-2.1", "LGPL-2.1-only"),
        ("GPL-2.0-with-classpath-exception", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("apache-2.0 with llvm-exception", "Apache-2.0 WITH LLVM-exception"),
        ("Apache-2.0+", "Apache-2.0+"),
        (" ( mit  OR (isc OR 0bsd) ) ", "MIT OR ISC OR 0BSD"),
        ("MIT AND (ISC OR 0BSD)", "MIT AND (ISC OR 0BSD)"),
        ("Apache 2.0", "Apache-2.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("MIT/X11", "MIT"),
        ("(Apache 2.0 OR MIT)", "Apache-2.0 OR MIT"),
    ],
)
def test_the_expression_is_normalised_to_spdx_spelling(raw: str, expression: str) -> None:
    assert POLICY.judge(raw).expression == expression


def test_a_verdict_carries_score_reason_and_no_unknown_member() -> None:
    assert POLICY.judge("(MIT OR GPL-3.0)") == LicenceVerdict(
        "MIT OR GPL-3.0-only", ALWAYS, 100, "MIT has status always_allowed"
    )
    assert [POLICY.judge(raw).score for raw in ("MIT", "MPL-2.0", "GPL-2.0", "AGPL-3.0")] == [
        100,
        80,
        30,
        0,
    ]
    assert [POLICY.judge(raw).blocked for raw in ("GPL-3.0", "AGPL-3.0", None)] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "no licence is declared"),
        ("", "no licence is declared"),
        (" \n", "no licence is declared"),
        ("UNLICENSED", "UNLICENSED reserves all rights (it is not the Unlicense)"),
        ("Public Domain", "Public Domain is a claim about copyright, not a licence"),
        ("SEE LICENSE IN LICENSE.md", "the licence refers to a file that a person has to read"),
        ("SEE LICENSE IN MIT OR MIT", "the licence refers to a file that a person has to read"),
        ("LicenseRef-MIT-TC", "LicenseRef-MIT-TC is not a known SPDX licence"),
        ("DocumentRef-a:LicenseRef-b", "DocumentRef-a:LicenseRef-b is not a known SPDX licence"),
        ("Classpath-exception-2.0", "Classpath-exception-2.0 is not a known SPDX licence"),
        ("any-OSI", "any-OSI has no tier in the licence policy"),
        ("MIT WITH Commons-Clause", "MIT WITH Commons-Clause is not a known SPDX licence"),
        ("MIT WITH MIT", "MIT WITH MIT is not a known SPDX licence"),
        ("Released under MIT", "'Released under MIT' is not an SPDX licence expression"),
        ("MIT/GPL", "'MIT/GPL' is not an SPDX licence expression"),
        ("()", "the licence is not a well-formed SPDX licence expression"),
        ("MIT OR", "the licence is not a well-formed SPDX licence expression"),
        ("MIT AND (OR ISC)", "the licence is not a well-formed SPDX licence expression"),
        ("(MIT", "the licence is not a well-formed SPDX licence expression"),
        ("MIT)", "the licence is not a well-formed SPDX licence expression"),
        ("MIT (ISC)", "the licence is not a well-formed SPDX licence expression"),
        ("MIT\0", "the licence contains a character that is not printable ASCII"),
        ("M\u0131T", "the licence contains a character that is not printable ASCII"),
        ("MIT\ud800", "the licence contains a character that is not printable ASCII"),
        ("MIT OR " * 15_000, "the licence is longer than 1,000 characters"),
        ("(" * 65 + "MIT" + ")" * 65, "the licence nests parentheses more than 64 deep"),
        ("(" * 900, "the licence nests parentheses more than 64 deep"),
        (["MIT"], "the licence is not text but list"),
        ({"type": "MIT"}, "the licence is not text but dict"),
        (7, "the licence is not text but int"),
    ],
)
def test_what_nobody_can_judge_goes_to_a_person_with_a_reason(raw: object, reason: str) -> None:
    verdict = POLICY.judge(raw)
    assert (verdict.tier, verdict.score, verdict.reason) == (None, None, reason)


def test_the_deepest_nesting_that_is_allowed_is_read() -> None:
    assert POLICY.judge("(" * 64 + "MIT" + ")" * 64).expression == "MIT"
    alternating = "MIT"
    for depth in range(64):
        alternating = f"({'ISC OR' if depth % 2 else 'Zlib AND'} {alternating})"
    assert tier(alternating) is ALWAYS


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("MIT OR Foo", ALWAYS),
        ("GPL-3.0-only OR Foo", AVOID),
        ("AGPL-3.0-only OR Foo", None),
        ("MIT AND Foo", None),
        ("GPL-3.0-only AND Foo", None),
        ("AGPL-3.0-only AND Foo", BLOCKED),
    ],
)
def test_an_unknown_member_is_worse_than_avoid_and_never_refuses_by_itself(
    raw: str, expected: Tier | None
) -> None:
    verdict = POLICY.judge(raw)
    assert (verdict.tier, verdict.unknown) == (expected, ("Foo",))


READINGS = {
    "BSD": ["BSD-2-Clause", "BSD-3-Clause", "BSD-4-Clause"],
    "BSL": ["BSL-1.0", "BUSL-1.1"],
    "GPL": ["GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later"],
    "GPLv2": ["GPL-2.0-only", "GPL-2.0-or-later"],
    "LGPL": ["LGPL-2.1-only", "LGPL-3.0-or-later"],
}


@pytest.mark.parametrize(
    ("word", "reading"), [(word, reading) for word, all_ in READINGS.items() for reading in all_]
)
def test_an_ambiguous_word_is_never_better_than_any_of_its_readings(
    word: str, reading: str
) -> None:
    everything_else = {entry.identifier: ALWAYS for entry in ENTRIES}
    assert LicencePolicy(everything_else).judge(word).tier is ALWAYS
    assert tier_where(everything_else, reading, BLOCKED).judge(word).blocked
    assert tier_where(everything_else, reading, AVOID).judge(f"{word} OR AGPL-3.0").score == 100


def tier_where(tiers: dict[str, Tier], identifier: str, tier: Tier) -> LicencePolicy:
    same = {identifier, identifier.replace("-only", ""), identifier.replace("-or-later", "+")}
    return LicencePolicy(tiers | dict.fromkeys(same, tier))


def test_an_ambiguous_word_with_a_reading_that_is_not_listed_goes_to_a_person() -> None:
    policy = LicencePolicy({"BSD-2-Clause": ALWAYS, "BSD-3-Clause": ALWAYS})
    verdict = policy.judge("BSD")
    assert (verdict.tier, verdict.unknown) == (None, ("BSD",))


def test_an_exception_is_judged_by_its_own_entry_else_by_its_base_licence() -> None:
    text = "GPL-2.0-only WITH Classpath-exception-2.0"
    base = {"GPL-2.0-only": BLOCKED}
    assert LicencePolicy(base).judge(text).tier is BLOCKED
    assert LicencePolicy(base | {text: ALLOWED}).judge(text).tier is ALLOWED
    assert LicencePolicy(base | {text: ALLOWED}).judge("GPL-2.0-only").tier is BLOCKED


def test_a_plus_is_judged_by_its_own_entry_else_by_its_base_licence() -> None:
    base = {"Apache-2.0": ALWAYS}
    assert LicencePolicy(base).judge("Apache-2.0+").tier is ALWAYS
    assert LicencePolicy(base | {"Apache-2.0+": AVOID}).judge("Apache-2.0+").tier is AVOID
    assert LicencePolicy(base).judge("Foo+").tier is None


def test_of_two_names_for_one_licence_the_stricter_tier_counts() -> None:
    for names in (["GPL-2.0", "GPL-2.0-only"], ["GPL-2.0-only", "GPL-2.0"]):
        policy = LicencePolicy(dict(zip(names, (BLOCKED, ALLOWED), strict=True)))
        assert policy.judge("GPL-2.0").blocked
        assert policy.judge("GPL-2.0-only").blocked


def test_a_policy_may_list_a_licence_that_spdx_does_not_know() -> None:
    assert LicencePolicy({"LicenseRef-Acme": ALLOWED}).judge("licenseref-acme").tier is ALLOWED


def test_the_stricter_verdict_counts_and_unknown_is_stricter_than_avoid() -> None:
    in_order = [POLICY.judge(raw) for raw in ("MIT", "MPL-2.0", "GPL-2.0", None, "AGPL-3.0")]
    for i, milder in enumerate(in_order):
        for harder in in_order[i:]:
            assert stricter(milder, harder) is harder
            assert stricter(harder, milder) is harder


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("MIT", "(MIT)"),
        ("MIT OR Apache-2.0", "Apache-2.0 OR MIT"),
        ("MIT OR (ISC OR MIT)", "ISC OR MIT"),
        ("(MIT OR ISC) AND (ISC OR MIT) OR 0BSD", "0BSD OR ISC OR MIT"),
        ("(MIT AND MIT) OR ISC", "ISC OR MIT"),
        ("GPL-2.0+", "GPL-2.0-or-later"),
        ("Apache 2.0", "Apache-2.0"),
        ("BSD", "bsd"),
        (None, ""),
        ("see  licence in X", "See licence in x"),
    ],
)
def test_spelling_order_and_doubles_are_no_difference(a: str | None, b: str | None) -> None:
    assert not differ(a, b)
    assert not differ(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("MIT", "ISC"),
        ("MIT OR ISC", "MIT AND ISC"),
        ("MIT", None),
        ("BSD", "BSD-3-Clause"),
        ("GPL-2.0-only", "GPL-2.0-or-later"),
        ("Apache-2.0", "Apache-2.0 WITH LLVM-exception"),
        ("MIT AND (ISC OR 0BSD)", "MIT AND ISC OR 0BSD"),
        ("see license in a", "see license in b"),
        ("MIT", ["MIT"]),
    ],
)
def test_another_meaning_is_a_difference(a: object, b: object) -> None:
    assert differ(a, b)
    assert differ(b, a)


def joined(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda operator, members: "(" + f" {operator} ".join(members) + ")",
        st.sampled_from(["AND", "OR"]),
        st.lists(children, min_size=2, max_size=3),
    )


LEAVES = st.sampled_from(
    ["MIT", "GPL-2.0+", "AGPL-3.0", "MPL-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"]
)
EXPRESSIONS = st.recursive(LEAVES, joined, max_leaves=8)


@settings(deadline=None, max_examples=40)  # the library takes its time
@given(EXPRESSIONS)
def test_structure_is_read_as_license_expression_reads_it(text: str) -> None:
    theirs = get_spdx_licensing().parse(text, validate=True).render()
    assert not differ(text, theirs)
    assert tier(text) is tier(theirs)


@settings(deadline=None)
@given(st.one_of(EXPRESSIONS, st.text(), st.text("()MIT OR+ANDWH-2.0BSGPLx", max_size=60)))
def test_any_text_gets_a_verdict_that_its_own_expression_repeats(text: str) -> None:
    verdict = POLICY.judge(text)
    if verdict.expression is not None:
        assert POLICY.judge(verdict.expression) == verdict
        assert not differ(text, verdict.expression)


def spdx_identifiers() -> set[str]:
    names: set[str] = set()
    for record in get_license_index():
        names |= {record["spdx_license_key"] or "", *record["other_spdx_license_keys"]}
    return {name for name in names if name and not name.startswith("LicenseRef-")}


def test_every_default_licence_is_a_real_spdx_identifier_listed_once() -> None:
    identifiers = [entry.identifier for entry in ENTRIES]
    assert set(identifiers) <= spdx_identifiers()
    assert len({identifier.casefold() for identifier in identifiers}) == len(identifiers) >= 300
    assert all(entry.name for entry in ENTRIES)


def test_deprecated_default_licences_have_the_status_of_their_successors() -> None:
    statuses = {entry.identifier: entry.status for entry in ENTRIES}
    for family, versions in {"GPL": "123", "LGPL": "23", "AGPL": "13"}.items():
        for version in versions:
            old = f"{family}-{version}.0"
            assert statuses[old] == statuses[f"{old}-only"] == statuses[f"{old}-or-later"]


def test_each_default_licence_gets_its_own_status() -> None:
    for entry in ENTRIES:
        assert tier(entry.identifier) is entry.status, entry.identifier


def test_importing_the_judge_does_not_load_the_spdx_table() -> None:
    code = (
        "import sys, backend.workloads.packages.licences;"
        "sys.exit('license_expression' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
