import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.workloads.packages.lockfile.coordinates import (
    npm_purl,
    of_tarball_path,
    valid_name,
    valid_version,
)
from backend.workloads.packages.lockfile.redaction import redacted
from backend.workloads.packages.lockfile.urls import address_of, redact_text, redact_url, spec_kind


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:tok@host/x.tgz?auth=abc#frag", "https://host/x.tgz"),
        ("https://host/@scope/x/-/x-1.0.0.tgz", "https://host/@scope/x/-/x-1.0.0.tgz"),
        ("git+ssh://git@host:group/x.git#0123abc", "git+ssh://host:group/x.git"),
        ("https://tok@[::1]:8080/x", "https://[::1]:8080/x"),
        ("https://user:to?k@host/x", "https://user"),
        ("https://user:to@k@host/x", "https://host/x"),
        ("https://tok@[::1]/x", "https://[::1]/x"),
        ("https://host:8080", "https://host:8080"),
        ("//user:tok@host/x?y", "//host/x"),
        ("not a url?x", "not a url"),
        ("", ""),
    ],
)
def test_user_info_query_and_fragment_leave_a_url(url: str, expected: str) -> None:
    assert redact_url(url) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("foo@https://user:tok@host/x.tgz?a#b", "foo@https://host/x.tgz"),
        ("see https://h/a?tok and http://u:tok@h/b", "see https://h/a and http://h/b"),
        ("git@github.example.test:u/r.git", "github.example.test:u/r.git"),
        ("github:user:tok@u/r", "github:u/r"),
        ("//registry.example.test/:_authToken=tok", "//registry.example.test/:_authToken=***"),
        ("npm:real@1.2.3", "npm:real@1.2.3"),
        ("npm:@scope/real@1.2.3", "npm:@scope/real@1.2.3"),
        ("^1.0.0 || >=2", "^1.0.0 || >=2"),
    ],
)
def test_secrets_leave_any_text_and_plain_specifications_stay(text: str, expected: str) -> None:
    assert redact_text(text) == expected


def test_the_raw_lock_loses_its_secrets_and_keeps_every_other_byte() -> None:
    raw = (
        b'\xef\xbb\xbf{ "name" :"x",\n "_authToken": "tok",\n "//h/:_auth":"tok",'
        b'"_password" : "tok",'
        b'"requires": {"a": "https:\\/\\/user:tok@h/x", "password": "^1.0.0", "_pass_": ["k"]},\n'
        b'"resolved": "https://h/\\u003ftok",'
        b'"https://u:tok@h/": [true, "git+https://tok@h/r#tok"] }\n'
    )
    clean = redacted(raw)
    assert b"tok" not in clean
    assert clean.startswith(b'{ "name" :"x",\n "_authToken": "***",\n')
    assert json.loads(clean)["requires"] == {
        "a": "https://h/x",
        "password": "^1.0.0",
        "_pass_": ["k"],
    }
    assert redacted(b'{\n\t"a": 1e2, "b": "c@1"}\n') == b'{\n\t"a": 1e2, "b": "c@1"}\n'


JSON = st.recursive(
    st.integers() | st.text() | st.just("https://u:SECRET@h/x?SECRET#SECRET"),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


@settings(deadline=None)
@given(JSON, st.booleans())
def test_redaction_of_any_json_is_json_without_the_secret(document: object, raw: bool) -> None:
    clean = redacted(json.dumps(document, ensure_ascii=raw).encode())
    assert b"SECRET" not in clean
    json.loads(clean)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000 + "//",
        "http:" * 200_000 + "//",
        "github:" + ":" * 1_000_000 + "@ ",
        "@a.b:" * 200_000,
        "a@" + "b." * 500_000 + "@:",
        "https://" + "a:" * 500_000 + "]/",
        "_auth" * 200_000,
    ],
)
def test_hostile_text_is_redacted_in_linear_time(text: str) -> None:
    started = time.process_time()
    redact_text(text)
    redacted(json.dumps([text, {text: text}]).encode())
    assert time.process_time() - started < 5  # seconds; a quadratic pattern needs minutes


@given(st.text())
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    assert redact_url(redact_url(text)) == redact_url(text)


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("https://Registry.Example.test/a", "registry.example.test", "/a"),
        ("HTTPS://registry.example.test:443/a", "registry.example.test", "/a"),
        ("http://registry.example.test:443/a?b", "registry.example.test:443", "/a"),
        ("http://registry.example.test:0080", "registry.example.test", ""),
        ("https://registry.example.test@evil.example.test/", "evil.example.test", "/"),
        ("http://[::FFFF:127.0.0.1]:4873/a", "[::ffff:127.0.0.1]:4873", "/a"),
    ],
)
def test_an_address_is_its_origin_and_path(url: str, origin: str, path: str) -> None:
    assert address_of(url) == (origin, path)


@pytest.mark.parametrize(
    "url",
    [
        "https://registry.example.test\\@evil.example.test/",
        "https://a@b@registry.example.test/",
        "https:registry.example.test/a",
        "https:///a",
        "https://registry.example.test:x/",
        " https://registry.example.test/",
        "https://registry.example.test\n/",
        "https://r\u00e9gistry.example.test/",
        "ftp://registry.example.test/",
        "",
    ],
)
def test_what_readers_of_urls_could_disagree_about_has_no_address(url: str) -> None:
    assert address_of(url) is None


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("1.2.3", "plain"),
        ("", "plain"),
        ("git+ssh://git@h/r.git#1", "git"),
        ("git://h/r.git", "git"),
        ("ssh://h/r", "git"),
        ("github:u/r#1", "git"),
        ("gitlab:u/r", "git"),
        ("u/r#semver:^1", "git"),
        ("git@h.example.test:u/r.git", "git"),
        ("https://h/r.git#1", "git"),
        ("https://h/r.tgz", "web"),
        ("HTTP://h/r.tgz", "web"),
        ("file:../x", "file"),
        ("link:../x", "link"),
        ("ftp://h/x.tgz", "strange"),
        ("data:,x", "strange"),
    ],
)
def test_the_kind_of_a_specification(spec: str, kind: str) -> None:
    assert spec_kind(spec) == kind


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/-/a-1.0.0.tgz", ("a", "1.0.0")),
        ("/npm/private/a-b/-/a-b-1.0.0-rc.1.tgz", ("a-b", "1.0.0-rc.1")),
        ("/@s/a/-/a-1.0.0.tgz", ("@s/a", "1.0.0")),
        ("/@s%2fa/-/a-1.0.0.tgz", ("@s/a", "1.0.0")),
        ("/api/@s/a/-/@s/a-1.0.0.tgz", ("@s/a", "1.0.0")),
        (f"/download/@s/a/1.0.0/{'0' * 40}", ("@s/a", "1.0.0")),
        ("/a/-/b-1.0.0.tgz", None),
        ("/a/-/a-1.0.0.zip", None),
        ("/a/-/a-1.0.0.tgz/more", None),
        ("/a-1.0.0.tgz", None),
        ("", None),
    ],
)
def test_a_registry_path_tells_its_coordinates(path: str, expected: tuple[str, str] | None) -> None:
    assert of_tarball_path(path) == expected


@pytest.mark.parametrize(
    "name", ["a", "JSONStream", "@Scope/Name", "-", "3d", "a.b_c~!*'()", "@s/_x", "a" * 214]
)
def test_names_that_the_registry_has_are_valid(name: str) -> None:
    assert valid_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../../x",
        "@s/../x",
        "@../x",
        "@s/..",
        "@s",
        "@/x",
        "@s/",
        "a/b",
        "_x",
        ".x",
        "a b",
        "a\n",
        "a\u0085",
        "\u00e9",
        "a%2fb",
        "a\\b",
        'a"',
        "http://x",
        "node_modules",
        "Favicon.ico",
        "a" * 215,
    ],
)
def test_names_that_npm_refuses_are_invalid(name: str) -> None:
    assert not valid_name(name)


@pytest.mark.parametrize(
    "version", ["0.0.0", "1.2.3-rc.1", "1.2.3--x.0a+b.01", "9007199254740991.0.0", "1.0.0+001"]
)
def test_exact_semantic_versions_are_valid(version: str) -> None:
    assert valid_version(version)


@pytest.mark.parametrize(
    "version",
    [
        "",
        "1",
        "1.2",
        "v1.2.3",
        "=1.2.3",
        "01.2.3",
        "1.2.3-01",
        "1.2.3-",
        "1.2.3+",
        "^1.2.3",
        "latest",
        "1.2.3\n",
        " 1.2.3",
        "1.2.3/../4",
        "\u0661.0.0",
        "9007199254740992.0.0",
        "1.0.0-" + "a" * 251,
    ],
)
def test_what_is_not_one_exact_version_is_invalid(version: str) -> None:
    assert not valid_version(version)


def test_purls_are_what_the_library_makes_of_the_coordinates() -> None:
    assert npm_purl("a", "1.0.0") == "pkg:npm/a@1.0.0"
    assert npm_purl("@s/a", "1.0.0+b") == "pkg:npm/%40s/a@1.0.0%2Bb"
