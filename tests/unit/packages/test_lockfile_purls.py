"""Package URLs, written out here where a name needs no encoding, are those of the library."""

from hypothesis import given, settings
from hypothesis import strategies as st
from packageurl import PackageURL

from backend.workloads.packages.lockfile.coordinates import npm_purl

# What npm's rules let through, and a little more.
PARTS = st.text("abz09AZ._~!*'()-", min_size=1, max_size=6).filter(lambda part: part[0] not in "._")
NAMES = PARTS | st.builds("@{}/{}".format, PARTS, PARTS)
VERSIONS = st.from_regex(
    r"[0-9]{1,3}\.[0-9]\.[0-9](-[a-zA-Z0-9.-]{1,6})?(\+[a-z0-9.-]{1,4})?", fullmatch=True
)


@settings(max_examples=30)
@given(NAMES, VERSIONS)
def test_the_purl_of_a_package_is_the_one_of_the_library(name: str, version: str) -> None:
    scope, _, base = name.rpartition("/")
    assert npm_purl(name, version) == PackageURL("npm", scope or None, base, version).to_string()
