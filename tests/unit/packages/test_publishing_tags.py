import pytest

from backend.workloads.packages.publishing.tags import newest, tag_for


@pytest.mark.parametrize(
    ("version", "latest", "tag"),
    [
        ("1.0.0", None, "latest"),
        ("1.0.0-beta.1", None, "latest"),
        ("1.0.1", "1.0.0", "latest"),
        ("1.10.0", "1.9.0", "latest"),
        ("1.0.0", "1.0.0-beta.1", "latest"),
        ("1.0.0-beta.2", "1.0.0-beta.1", "latest"),
        ("1.0.0", "1.0.1", "vetted"),
        ("0.9.9", "1.0.0", "vetted"),
        ("1.0.0", "1.0.0", "vetted"),
        ("1.0.0+build", "1.0.0", "vetted"),
        ("2.0.0-beta.1", "1.0.0", "vetted"),
        ("1.0.0-beta.1", "1.0.0-beta.2", "vetted"),
        ("1.0.0", "no version", "latest"),
        ("1.0.0", {"odd": 1}, "latest"),
    ],
)
def test_latest_never_moves_backwards_nor_from_a_release_to_a_pre_release(
    version: str, latest: object, tag: str
) -> None:
    assert tag_for(version, latest) == tag


@pytest.mark.parametrize(
    ("versions", "found"),
    [
        ([], None),
        (["nonsense"], None),
        (["1.0.0", "1.10.0", "1.9.0"], "1.10.0"),
        (["1.0.0", "2.0.0-rc.1"], "1.0.0"),
        (["1.0.0-rc.1", "1.0.0-rc.2"], "1.0.0-rc.2"),
    ],
)
def test_latest_goes_to_the_highest_release_that_is_left(
    versions: list[str], found: str | None
) -> None:
    assert newest(versions) == found
