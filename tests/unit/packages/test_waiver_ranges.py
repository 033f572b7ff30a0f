"""npm's ranges as waivers read them: what is in one, and which leaves nothing out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.workloads.packages.ranges import includes, takes_everything


@pytest.mark.parametrize(
    ("range_", "version", "inside"),
    [
        ("<2.0.0", "1.9.9", True),
        ("<2.0.0", "2.0.0", False),
        (">=1.2.0 <1.4.0", "1.3.7", True),
        ("1.x || 3.x", "2.0.0", False),
        ("1.x || 3.x", "3.1.0", True),
        ("^1.2.3", "1.2.4", True),
        ("^1.2.3", "2.0.0", False),
        ("1.2.3", "1.2.3", True),
        ("1.2.3", "1.2.3+build.7", True),
        # npm takes a pre-release only where the range names one of the same release.
        ("<2.0.0", "2.0.0-rc.1", False),
        ("<2.0.0", "1.5.0-rc.1", False),
        (">=1.5.0-rc.0 <2.0.0", "1.5.0-rc.1", True),
        (">=1.5.0-rc.0 <2.0.0", "1.6.0-rc.1", False),
        # What cannot be read is in no range.
        ("<2.0.0", "not a version", False),
        ("no range", "1.0.0", False),
        ("", "1.0.0", False),
    ],
)
def test_a_version_is_in_a_range_where_npm_would_install_it(
    range_: str, version: str, inside: bool
) -> None:
    assert includes(range_, version) is inside


@pytest.mark.parametrize(
    "range_",
    [
        "*", "x", "X", ">=0", ">=0.0.0", ">0.0.0", ">=0.0.1", ">=0.0.0-0", "<1 || >=1",
        "<1.0.0 || >1.0.0", "<=1.2.3 || >=1.2.4", "0.x || 1.x || >=2", "*||1.0.0", "1.0.0 || *",
        ">=5 || <3 || >=2 <6", "<1000", "<=99999", "<99999999.0.0", ">=0 <5000",
        ">5 <3 || *", "<=999.999.999", "0.0.0 - 99.99.99", "<100",
    ],
)  # fmt: skip
def test_a_range_that_leaves_nothing_out_is_told(range_: str) -> None:
    assert takes_everything(range_)


@pytest.mark.parametrize(
    "range_",
    [
        "<2.0.0", "1.2.3", "^1.2.3", ">=1.0.0", ">=0.1.0", "0.x", "<1 || >=2", "<1.2.3 || >=1.2.5",
        ">=2 <3 || <1", "1.x", ">=2024.1.1 <2025", ">5 <3", "~0.0.1", "no range",
    ],
)  # fmt: skip
def test_a_range_that_leaves_something_out_is_not(range_: str) -> None:
    assert not takes_everything(range_)


_NUMBER = st.integers(0, 3)
_VERSION = st.builds("{}.{}.{}".format, _NUMBER, _NUMBER, _NUMBER)
_ONE = st.builds("{}{}".format, st.sampled_from(["<", "<=", ">", ">=", "", "^", "~"]), _VERSION)
_RANGE = st.lists(st.lists(_ONE, min_size=1, max_size=2).map(" ".join), min_size=1, max_size=4).map(
    " || ".join
)
_ALL = [
    f"{major}.{minor}.{patch}" for major in range(6) for minor in range(6) for patch in range(6)
]


@settings(max_examples=60, deadline=None)
@given(_RANGE)
def test_what_takes_everything_takes_all_but_single_versions(range_: str) -> None:
    left_out = [version for version in _ALL if not includes(range_, version)]
    if takes_everything(range_):
        assert len(left_out) <= 5  # one at most for each gap between two parts
    if not left_out and includes(range_, "5000.0.0"):
        assert takes_everything(range_)
