import pytest

from backend.problems import Problem
from backend.workloads.packages import denial, where_used
from backend.workloads.packages.denial import Denied
from backend.workloads.packages.denied_versions import denial_of, denies
from backend.workloads.packages.ranges import valid_range


@pytest.mark.parametrize(
    ("range_", "denied", "free"),
    [
        ("<1.2.3", ["1.2.2", "0.0.1", "1.2.3-beta.1"], ["1.2.3", "2.0.0"]),
        (">=1.2.0 <1.4.0 || 2.x", ["1.2.0", "1.3.9", "2.9.9"], ["1.1.9", "1.4.0", "3.0.0"]),
        ("1.2.3", ["1.2.3", "1.2.3-rc.1", "1.2.3+build"], ["1.2.4", "1.2.4-rc.1"]),
        ("^1", ["1.0.0", "1.9.9"], ["2.0.0"]),
        (">2.0.0-rc.1 <2.0.0", ["2.0.0-rc.2"], ["2.0.0", "2.0.0-rc.1", "1.9.9"]),
        ("1.0.0 - 1.9.x", ["1.0.0", "1.9.9"], ["2.0.0", "0.9.9"]),
        ("~1.2.3", ["1.2.3", "1.2.9"], ["1.3.0", "1.2.2"]),
        ("*", ["0.0.0", "1.0.0-alpha", "1.0.0+build"], []),
    ],
)
def test_a_range_denies_what_npm_finds_in_it(
    range_: str, denied: list[str], free: list[str]
) -> None:
    assert valid_range(range_)
    assert [version for version in denied if not denies(range_, version)] == []
    assert [version for version in free if denies(range_, version)] == []


@pytest.mark.parametrize(
    "range_", ["", "latest", "banana", "1 || banana", "1?x", "1.x" * 100, "\u0661"]
)
def test_what_npm_cannot_read_is_no_range(range_: str) -> None:
    assert not valid_range(range_)


def test_the_first_denial_that_has_the_version_is_the_reason() -> None:
    denials = [["<1", "old"], ["1.x", "CVE-1"], ["*", "all"]]

    assert denial_of("1.5.0", denials) == "denied: CVE-1"
    assert denial_of("1.5.0", [["<1", "old"]]) is None
    assert denial_of("1.5.0", None) is None


def test_a_denied_copy_inside_is_a_reason_too() -> None:
    copies = [
        ["deep", "1.0.0", "node_modules/deep", "<1", "old"],
        ["deep", "0.9.0", "node_modules/a/node_modules/deep", "<1", "old"],
        ["wide", "what?", "lib/wide", "<1", "odd"],
    ]
    deep = "denied: it bundles deep@0.9.0 in node_modules/a/node_modules/deep: old"

    assert denial_of("1.5.0", None, copies) == deep
    assert denial_of("1.5.0", [["1.x", "CVE-1"]], copies) == "denied: CVE-1"
    assert denial_of("1.5.0", None, copies[:1]) is None
    assert denial_of("1.5.0", None, copies[2:]) == "denied: it bundles wide@what? in lib/wide: odd"


@pytest.mark.parametrize(
    ("purl", "what"),
    [
        ("pkg:npm/left-pad@>=1.2.0 <1.4.0", Denied("left-pad", ">=1.2.0 <1.4.0")),
        ("pkg:npm/left-pad", Denied("left-pad", "*")),
        ("pkg:npm/%40scope/name@%5E1", Denied("@scope/name", "^1")),
        ("pkg:npm/@scope/name@1.x", Denied("@scope/name", "1.x")),
        (" pkg:npm/JSONStream@* ", Denied("JSONStream", "*")),
    ],
)
def test_a_package_url_names_what_is_denied(purl: str, what: Denied) -> None:
    assert denial.parse(purl) == what


@pytest.mark.parametrize(
    ("purl", "code"),
    [
        ("", "malformed-purl"), ("left-pad", "malformed-purl"), ("pkg:npm/", "malformed-purl"),
        ("pkg:npm/../x", "malformed-purl"), ("pkg:npm/a b@1", "malformed-purl"),
        ("pkg:npm/a@banana", "malformed-range"), ("pkg:npm/a@1?os=x", "malformed-range"),
        ("pkg:pypi/a@1", "unsupported"),
    ],
)  # fmt: skip
def test_what_names_nothing_is_refused(purl: str, code: str) -> None:
    with pytest.raises(Problem) as error:
        denial.parse(purl)

    assert error.value.code == code


def test_a_use_is_asked_for_by_name_or_by_name_and_version() -> None:
    assert where_used.parse("pkg:npm/%40a/b@1.0.0") == ("@a/b", "1.0.0")
    assert where_used.parse("pkg:npm/JSONStream") == ("JSONStream", None)
    for purl in ("JSONStream", "pkg:pypi/a", "pkg:npm/", "pkg:npm/@a"):
        with pytest.raises(Problem):
            where_used.parse(purl)
