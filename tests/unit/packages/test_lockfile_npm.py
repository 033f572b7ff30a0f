import json
from base64 import b64encode
from hashlib import sha1, sha512
from typing import Any

import pytest

from backend.workloads.packages.lockfile import Component, ParsedLock, WantedPackage, parse_lock

HOST = "registry.example.test"


def sha512_of(text: str) -> str:
    return f"sha512-{b64encode(sha512(text.encode()).digest()).decode()}"


def sha1_of(text: str) -> str:
    return f"sha1-{b64encode(sha1(text.encode()).digest()).decode()}"


def tarball(name: str, version: str, host: str = HOST) -> str:
    return f"https://{host}/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"


def entry(name: str = "a", version: str = "1.0.0", /, **more: Any) -> dict[str, Any]:
    return {
        "version": version,
        "resolved": tarball(name, version),
        "integrity": sha512_of(f"{name}@{version}"),
        **more,
    }


def parse(document: Any, **options: Any) -> ParsedLock:
    options = {
        "filename": "package-lock.json",
        "origins": frozenset({HOST}),
        "max_bytes": 10_000_000,
        **options,
    }
    return parse_lock(json.dumps(document).encode(), **options)


def v3(packages: dict[str, Any], root: Any = None, **options: Any) -> ParsedLock:
    root = {"name": "app", "version": "1.0.0"} if root is None else root
    document = {"name": "app", "version": "1.0.0", "lockfileVersion": 3}
    return parse({**document, "packages": {"": root, **packages}}, **options)


def v1(dependencies: dict[str, Any], **options: Any) -> ParsedLock:
    return parse({"lockfileVersion": 1, "dependencies": dependencies}, **options)


def v2(packages: dict[str, Any], dependencies: dict[str, Any]) -> ParsedLock:
    return parse(
        {"lockfileVersion": 2, "packages": {"": {}, **packages}, "dependencies": dependencies}
    )


def only(lock: ParsedLock) -> WantedPackage:
    assert len(lock.packages) == 1, lock
    return lock.packages[0]


def reason(lock: ParsedLock) -> str:
    assert (lock.packages, lock.entries) == ((), 1)
    (exclusion,) = lock.exclusions
    assert exclusion.detail.endswith(".")
    return exclusion.reason


def test_an_entry_becomes_a_package_with_all_that_the_lock_claims() -> None:
    lock = v3(
        {"node_modules/@s/a": entry("@s/a", dev=True, optional=True, os=["linux"], license="MIT")}
    )
    assert only(lock) == WantedPackage(
        name="@s/a",
        version="1.0.0",
        purl="pkg:npm/%40s/a@1.0.0",
        integrity=sha512_of("@s/a@1.0.0"),
        integrity_strength="strong",
        entries=("node_modules/@s/a",),
        dev=True,
        optional=True,
        aliases=(),
        platform_limited=True,
        license_claim="MIT",
        resolved_foreign=False,
        internal=False,
    )
    assert (lock.application_name, lock.application_version) == ("app", "1.0.0")
    assert (lock.format, lock.entries, lock.exclusions) == ("npm-lock-v3", 1, ())


def test_entries_that_name_the_same_bytes_are_one_package_and_flags_need_all_of_them() -> None:
    package = only(
        v3(
            {
                "node_modules/a": entry(dev=True, optional=True),
                "node_modules/b/node_modules/a": entry(dev=True),
                "packages/w/node_modules/a": entry(dev=True, cpu=["x64"]),
            }
        )
    )
    assert package.entries == (
        "node_modules/a",
        "node_modules/b/node_modules/a",
        "packages/w/node_modules/a",
    )
    assert (package.dev, package.optional, package.platform_limited) == (True, False, True)


def test_dev_optional_entries_are_optional_and_not_merely_for_development() -> None:
    package = only(v3({"node_modules/a": entry(devOptional=True)}))
    assert (package.dev, package.optional) == (False, True)


def test_different_integrity_under_one_coordinate_is_two_packages_and_a_difference() -> None:
    lock = v3(
        {
            "node_modules/a": entry(),
            "node_modules/b/node_modules/a": entry(integrity=sha512_of("other")),
        }
    )
    assert [package.integrity for package in lock.packages] == [
        sha512_of("a@1.0.0"),
        sha512_of("other"),
    ]
    (difference,) = lock.differences
    assert (difference.kind, difference.entry) == (
        "conflicting-integrity",
        "node_modules/b/node_modules/a",
    )


def test_sha1_is_weak_and_a_malformed_hash_is_none() -> None:
    lock = v3(
        {
            "node_modules/a": entry("a", integrity=sha1_of("a")),
            "node_modules/b": entry("b", integrity="sha512-nonsense"),
            "node_modules/c": entry("c", integrity=f"{sha1_of('c')} {sha512_of('c')}"),
        }
    )
    assert [(p.integrity, p.integrity_strength) for p in lock.packages] == [
        (sha1_of("a"), "weak"),
        (None, "none"),
        (sha512_of("c"), "strong"),
    ]


def test_v0_and_v1_shasums_are_read_where_there_is_no_integrity() -> None:
    shasum = sha1(b"a").hexdigest()
    package = only(v1({"a": {"version": "1.0.0", "_shasum": shasum}}))
    assert (package.integrity, package.integrity_strength) == (sha1_of("a"), "weak")


def test_a_nested_v1_tree_is_flattened_to_locations() -> None:
    tree = {"a": entry("a", dependencies={"@s/b": entry("@s/b", dependencies={"c": entry("c")})})}
    assert [package.entries for package in v1(tree).packages] == [
        ("node_modules/a",),
        ("node_modules/a/node_modules/@s/b",),
        ("node_modules/a/node_modules/@s/b/node_modules/c",),
    ]


def test_a_shrinkwrap_without_a_version_is_v0() -> None:
    lock = parse({"name": "x", "dependencies": {"a": {"version": "1.0.0", "from": "a@^1"}}})
    assert lock.format == "npm-lock-v0"
    assert only(lock).integrity_strength == "none"


def test_a_hidden_lock_without_a_root_entry_is_read() -> None:
    lock = parse(
        {"name": "x", "lockfileVersion": 3, "packages": {"node_modules/a": entry()}},
        filename=".package-lock.json",
    )
    assert only(lock).entries == ("node_modules/a",)


@pytest.mark.parametrize(
    "document",
    [
        {"lockfileVersion": 3, "packages": {"": {"name": "x"}}},
        {"lockfileVersion": 3, "packages": {}},
        {"lockfileVersion": 1},
        {"lockfileVersion": 2, "packages": {"": {}}, "dependencies": {}},
    ],
)
def test_a_lock_of_nothing_is_legal(document: Any) -> None:
    lock = parse(document)
    assert (lock.entries, lock.packages, lock.exclusions) == (0, (), ())


def test_aliases_mean_the_real_package_in_v3_and_in_v1() -> None:
    new = only(v3({"node_modules/old": entry("real", "1.2.3", name="real")}))
    tree = {"version": "npm:real@1.2.3", "integrity": sha512_of("real@1.2.3")}
    old = only(v1({"old": tree}))
    assert (new.name, new.version, new.aliases) == ("real", "1.2.3", ("old",))
    assert new == old
    scoped = only(v1({"old": {"version": "npm:@s/real@1.2.3"}}))
    assert (scoped.name, scoped.version) == ("@s/real", "1.2.3")


def test_a_name_that_equals_its_folder_is_no_alias() -> None:
    assert only(v3({"node_modules/a": entry(name="a")})).aliases == ()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"link": True, "resolved": "packages/a"}, "link"),
        (entry(resolved="git+ssh://git@h.example.test/u/a.git#0123"), "git"),
        (entry(resolved="github:u/a#0123"), "git"),
        (entry(resolved="file:a-1.0.0.tgz"), "file"),
        (entry(resolved="ftp://h.example.test/a.tgz"), "remote-tarball"),
        (entry(resolved=f"https://{HOST}\\@h.example.test/a/-/a-1.0.0.tgz"), "remote-tarball"),
        ({"resolved": tarball("a", "1.0.0")}, "missing-version"),
        ({}, "missing-version"),
        (entry(version=""), "missing-version"),
        (entry(version="latest", resolved=None), "invalid-version"),
        (entry(version="1.0.0\n", resolved=None), "invalid-version"),
        (entry(name="../../x", resolved=None), "invalid-name"),
        (entry(name="UPPER ", resolved=None), "invalid-name"),
        (None, "malformed-entry"),
        ([], "malformed-entry"),
        ("1.0.0", "malformed-entry"),
        (entry(version=5), "malformed-entry"),
        (entry(integrity={}), "malformed-entry"),
        (entry(resolved=7), "malformed-entry"),
        (entry(resolved=True), "malformed-entry"),
        (entry(name=["a"]), "malformed-entry"),
    ],
)
def test_an_entry_without_registry_bytes_is_a_named_exclusion(fields: Any, expected: str) -> None:
    assert reason(v3({"node_modules/a": fields})) == expected


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("git+ssh://git@h.example.test/u/a.git#0123", "git"),
        ("github:u/a#0123", "git"),
        ("u/a#0123", "git"),
        ("file:../a", "file"),
        ("link:../a", "link"),
        ("https://h.example.test/a.tgz", "foreign-origin"),
        (f"https://{HOST}/a.tgz", "remote-tarball"),
        ("npm:a", "invalid-name"),
        ("npm:../x@1.0.0", "invalid-name"),
        ("npm:a@latest", "invalid-version"),
    ],
)
def test_a_v1_version_that_is_no_version_is_understood(version: str, expected: str) -> None:
    assert reason(v1({"a": {"version": version}})) == expected


def test_a_v1_tarball_url_in_the_registrys_form_is_that_package() -> None:
    package = only(v1({"a": {"version": tarball("real", "7.0.0")}}))
    assert (package.name, package.version, package.aliases) == ("real", "7.0.0", ("a",))


@pytest.mark.parametrize(
    "location",
    ["node_modules/../../x", "node_modules/", "node_modules/a\n", "node_modules/" + "a" * 215],
)
def test_a_folder_that_is_no_package_name_is_excluded(location: str) -> None:
    assert reason(v3({location: entry()})) == "invalid-name"


def test_a_v1_name_cannot_pass_for_a_nested_location() -> None:
    lock = v1({"a": entry("a", dependencies={"b": entry("b")}), "a/node_modules/b": entry("b")})
    assert lock.entries == 3
    assert lock.exclusions[0].entry == 'node_modules/"a/node_modules/b"'


def test_folders_of_the_project_are_workspaces_or_files() -> None:
    root = {"workspaces": ["packages/*", "./docs"]}
    folders = ("packages/w", "docs", "local", "../beside", "packages/w/deep")
    lock = v3({folder: {"version": "1.0.0"} for folder in folders}, root=root)
    assert {exclusion.entry: exclusion.reason for exclusion in lock.exclusions} == {
        "packages/w": "workspace",
        "docs": "workspace",
        "local": "file",
        "../beside": "file",
        "packages/w/deep": "file",
    }
    in_object = v3({"packages/w": {}}, root={"workspaces": {"packages": ["packages/*"]}})
    assert reason(in_object) == "workspace"


def test_a_bundled_entry_with_its_own_resolved_and_integrity_is_an_ordinary_package() -> None:
    assert only(v3({"node_modules/a": entry(inBundle=True)})).name == "a"
    assert only(v1({"a": entry(bundled=True)})).name == "a"


def test_a_bundled_entry_without_them_is_a_component_of_the_parent_that_has_bytes() -> None:
    lock = v3(
        {
            "node_modules/p": entry("p"),
            "node_modules/p/node_modules/a": {"version": "1.0.0", "inBundle": True},
            "node_modules/p/node_modules/a/node_modules/b": entry(
                "b", inBundle=True, resolved=None
            ),
            "node_modules/c": {"version": "2.0.0", "inBundle": True, "integrity": sha512_of("c")},
        }
    )
    assert only(lock).name == "p"
    assert lock.components == (
        Component("node_modules/p/node_modules/a", "a", "1.0.0", "pkg:npm/p@1.0.0"),
        Component("node_modules/p/node_modules/a/node_modules/b", "b", "1.0.0", "pkg:npm/p@1.0.0"),
        Component("node_modules/c", "c", "2.0.0", None),
    )
    assert [exclusion.reason for exclusion in lock.exclusions] == ["bundled"] * 3
    assert "pkg:npm/p@1.0.0" in lock.exclusions[0].detail
    assert "the project itself" in lock.exclusions[2].detail


@pytest.mark.parametrize("resolved", [None, False])
def test_a_missing_or_false_resolved_is_fetched_by_coordinates(resolved: Any) -> None:
    package = only(v1({"a": entry(resolved=resolved)}))
    assert (package.resolved_foreign, package.integrity_strength) == (False, "strong")


@pytest.mark.parametrize(
    "host",
    [
        "mirror.example.test",
        "localhost:8080",
        "169.254.169.254",
        "[::ffff:127.0.0.1]",
        f"{HOST}:8443",
        f"{HOST}.",
        f"{HOST}@evil.example.test",
    ],
)
def test_another_host_is_accepted_only_where_a_sha512_pins_the_bytes(host: str) -> None:
    url = tarball("a", "1.0.0", host)
    pinned = only(v3({"node_modules/a": entry(resolved=url)}))
    assert pinned.resolved_foreign
    for integrity in (sha1_of("a"), None, "sha512-nonsense"):
        lock = v3({"node_modules/a": entry(resolved=url, integrity=integrity)})
        assert reason(lock) == "foreign-origin"


def test_a_pinned_tarball_at_an_address_that_is_no_registrys_is_excluded() -> None:
    lock = v3({"node_modules/a": entry(resolved="https://h.example.test/u/a/tar.gz/0123")})
    assert reason(lock) == "remote-tarball"


def test_another_packages_address_at_the_registry_needs_a_strong_hash() -> None:
    url = tarball("evil", "6.6.6")
    lock = v3({"node_modules/a": entry(resolved=url)})
    assert (only(lock).name, lock.differences[0].kind) == ("a", "resolved-elsewhere")
    for integrity in (sha1_of("a"), None):
        weak = v3({"node_modules/a": entry(resolved=url, integrity=integrity)})
        assert reason(weak) == "remote-tarball"


def test_a_registry_below_a_path_is_still_the_registry() -> None:
    url = f"http://{HOST}/repository/npm/a/-/a-1.0.0.tgz"
    assert not only(v3({"node_modules/a": entry(resolved=url, integrity=None)})).resolved_foreign


@pytest.mark.parametrize("scope", ["@corp", "corp", "@Corp"])
def test_packages_of_an_internal_scope_are_marked(scope: str) -> None:
    lock = v3(
        {"node_modules/@corp/a": entry("@corp/a"), "node_modules/corp": entry("corp")},
        internal_scopes=(scope,),
    )
    assert [package.internal for package in lock.packages] == [True, False]


@pytest.mark.parametrize(
    ("license_field", "claim"),
    [
        ("MIT", "MIT"),
        (["MIT", "Apache-2.0"], "MIT OR Apache-2.0"),
        ({"type": "BSD", "url": "x"}, "BSD"),
        ([{"type": "MIT"}, 5, None], "MIT"),
        (5, None),
        ([], None),
        ("", None),
        ("x" * 1000, "x" * 255),
    ],
)
def test_a_licence_claim_of_any_shape_is_tolerated(license_field: Any, claim: str | None) -> None:
    assert only(v3({"node_modules/a": entry(license=license_field)})).license_claim == claim


def test_equal_sections_of_v2_are_one_set_of_entries() -> None:
    lock = v2(
        {
            "node_modules/a": entry("a"),
            "node_modules/alias": entry("real", name="real"),
            "node_modules/w": {"link": True, "resolved": "packages/w"},
            "packages/w": {"name": "w", "version": "1.0.0"},
            "packages/w/node_modules/b": entry("b"),
        },
        {
            "a": entry("a"),
            "alias": entry("real", version="npm:real@1.0.0"),
            "w": {"version": "file:packages/w", "dependencies": {"b": entry("b")}},
        },
    )
    assert (lock.entries, lock.differences) == (5, ())


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (entry("a", "6.6.6"), "conflicting-sections"),
        (entry(integrity=sha512_of("evil")), "conflicting-sections"),
        ({"version": "git+https://h.example.test/evil.git"}, "conflicting-sections"),
    ],
)
def test_another_artifact_in_the_dependencies_of_v2_is_an_entry_of_its_own(
    other: dict[str, Any], kind: str
) -> None:
    lock = v2({"node_modules/a": entry()}, {"a": other})
    assert lock.entries == 2
    named = [name for package in lock.packages for name in package.entries]
    named += [exclusion.entry for exclusion in lock.exclusions]
    assert sorted(named) == ["dependencies:node_modules/a", "node_modules/a"]
    assert lock.differences[0].kind == kind


def test_an_entry_on_one_side_of_v2_alone_is_a_difference_and_is_kept() -> None:
    lock = v2({"node_modules/a": entry("a")}, {"b": entry("b")})
    assert {package.entries for package in lock.packages} == {
        ("node_modules/a",),
        ("dependencies:node_modules/b",),
    }
    assert [difference.kind for difference in lock.differences] == [
        "only-in-dependencies",
        "only-in-packages",
    ]


def test_a_missing_hash_in_the_dependencies_of_v2_is_a_difference_but_no_other_artifact() -> None:
    lock = v2({"node_modules/a": entry()}, {"a": {"version": "1.0.0"}})
    assert only(lock).entries == ("node_modules/a",)
    assert [difference.kind for difference in lock.differences] == ["unpinned-in-dependencies"]


def test_a_v3_lock_that_hides_a_dependencies_tree_is_compared_too() -> None:
    document = {"lockfileVersion": 3, "packages": {"": {}}, "dependencies": {"b": entry("b")}}
    assert only(parse(document)).entries == ("dependencies:node_modules/b",)


def test_no_secret_of_a_url_survives_in_what_is_returned() -> None:
    url = "https://user:tok@h.example.test/x.tgz?auth=tok#tok"
    lock = v3(
        {
            "node_modules/a": entry(resolved=url),
            "node_modules/b": entry("b", resolved=f"{tarball('c', '1.0.0')}?tok"),
            "node_modules/c": {"version": url, "_authToken": "tok"},
            "node_modules/d": entry("d", resolved="git+https://tok@h.example.test/d.git#tok"),
            url: {"requires": {"x": url}},
            f"node_modules/{url}": entry(),
        }
    )
    assert lock.entries == 6
    assert "tok" not in repr(lock)
