import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from backend.workloads.packages.scanning.inspection import (
    ErrorCode,
    Inspection,
    InspectionError,
    Limits,
)
from backend.workloads.packages.scanning.tarball import inspect, same_version, unpack

Entry = tuple[tarfile.TarInfo | str, bytes]
Make = Callable[..., str]


def member(name: str, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def tar(entries: Iterable[Entry], *, tar_format: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as archive:
        for entry, content in entries:
            info = member(entry) if isinstance(entry, str) else entry
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def root(**fields: Any) -> Entry:
    return (
        "package/package.json",
        json.dumps({"name": "demo", "version": "1.0.0"} | fields).encode(),
    )


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def write(*entries: Entry, raw: bytes | None = None, **options: Any) -> str:
        path = tmp_path / "demo.tgz"
        path.write_bytes(gzip.compress(tar(entries, **options)) if raw is None else raw)
        return str(path)

    return write


def look(path: str, **limits: int) -> Inspection:
    return inspect(path, name="demo", version="1.0.0", limits=Limits(**limits))


def refusal(path: str, **limits: int) -> str:
    with pytest.raises(InspectionError) as caught:
        look(path, **limits)
    return caught.value.code


OUTCOMES = {"readable", *get_args(ErrorCode)}


def outcome(path: str) -> str:
    try:
        look(path)
    except InspectionError as error:
        return error.code if error.detail.isprintable() else repr(error.detail)
    return "readable"


def codes(found: Inspection) -> list[str]:
    return [notice.code for notice in found.notices]


def test_an_ordinary_package_is_described(make: Make) -> None:
    found = look(make(
        root(
            license="MIT",
            scripts={"postinstall": "node x.js", "test": "jest"},
            dependencies={"a": "^1"},
            optionalDependencies={"b": "2"},
            bin="./cli.js",
        ),
        ("package/index.js", b"1"),
    ))  # fmt: skip
    assert (found.name, found.version, found.licence) == ("demo", "1.0.0", "MIT")
    assert found.install_scripts == {"postinstall": "node x.js"}
    assert (found.dependencies, found.optional_dependencies) == ({"a": "^1"}, {"b": "2"})
    assert found.bin == {"demo": "./cli.js"}
    assert found.members == 2
    assert found.unpacked_bytes >= 2 * 1024
    assert found.notices == ()


def test_what_a_child_process_writes_as_json_is_read_back_equal(make: Make) -> None:
    nested = json.dumps({"name": "in", "version": "2.0.0"}).encode()
    path = make(root(), ("package/LICENSE", b"x"), ("package/node_modules/in/package.json", nested))
    found = look(path)
    assert TypeAdapter(Inspection).validate_json(json.dumps(found.to_dict())) == found


@pytest.mark.parametrize("folder", ["package", "demo-1.0.0", "näme"])
def test_the_first_folder_is_stripped_whatever_its_name(make: Make, folder: str) -> None:
    assert look(make((f"{folder}/package.json", root()[1]))).name == "demo"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "not-gzip"),
        (b"<html>log in</html>", "not-gzip"),
        (b"\x1f\x8bgarbage behind the magic", "crc"),
        (gzip.compress(b"not a tar archive" * 100, mtime=0), "not-tar"),
        (gzip.compress(b"", mtime=0), "not-tar"),
        (gzip.compress(bytes(10240), mtime=0), "not-tar"),
        (gzip.compress(tar([root()]), mtime=0)[:-9], "truncated"),
        (gzip.compress(tar([root()]), mtime=0)[:-8] + bytes(8), "crc"),
        (gzip.compress(tar([root(), ("package/a", b"x" * 5000)])[:2600], mtime=0), "truncated"),
        (gzip.compress(tar([root()]), mtime=0) + b"garbage", "trailing-data"),
        (gzip.compress(tar([root()]) + b"garbage" * 100, mtime=0), "trailing-data"),
    ],
    ids=[
        "empty",
        "html",
        "bad-deflate",
        "text",
        "gzip-of-nothing",
        "only-zeros",
        "cut-trailer",
        "wrong-crc",
        "cut-tar",
        "garbage-after-gzip",
        "garbage-after-tar",
    ],
)
def test_a_broken_archive_is_refused_with_its_reason(make: Make, raw: bytes, code: str) -> None:
    assert refusal(make(raw=raw)) == code


def test_a_wrong_length_in_the_gzip_trailer_is_refused(make: Make) -> None:
    raw = gzip.compress(tar([root()]), mtime=0)
    assert refusal(make(raw=raw[:-4] + b"\1\2\3\4")) == "crc"


def test_zero_padding_after_the_gzip_stream_is_accepted(make: Make) -> None:
    assert look(make(raw=gzip.compress(tar([root()]), mtime=0) + bytes(100_000))).name == "demo"


def test_several_gzip_members_are_one_stream_as_npm_reads_them(make: Make) -> None:
    whole = tar([root(), ("package/a", b"x" * 5000)])
    raw = gzip.compress(whole[:700]) + gzip.compress(whole[700:])
    assert look(make(raw=raw)).members == 2


def test_a_member_hidden_behind_a_single_zero_block_is_not_overlooked(make: Make) -> None:
    hidden = tar([root()])[:1024] + bytes(512) + tar([("package/evil.js", b"x")])
    assert refusal(make(raw=gzip.compress(hidden))) == "trailing-data"


def test_a_member_hidden_behind_a_broken_header_is_not_overlooked(make: Make) -> None:
    hidden = tar([root()])[:1024] + b"x" * 512 + tar([("package/evil.js", b"x")])
    assert refusal(make(raw=gzip.compress(hidden))) == "not-tar"


def test_real_bytes_are_limited_whatever_headers_say(make: Make) -> None:
    path = make(root(), ("package/a", b"x" * 100_000))
    assert refusal(path, unpacked_bytes=50_000) == "too-large"


def test_a_bomb_is_stopped_by_its_ratio(make: Make) -> None:
    path = make(root(), ("package/a", bytes(3_000_000)))
    assert refusal(path, ratio_applies_above=1_000_000) == "too-large"
    assert look(path).members == 2


def test_a_bomb_is_decompressed_in_bounded_steps(make: Make) -> None:
    path = make(root(), ("package/a", bytes(60_000_000)))
    tracemalloc.start()
    try:
        assert look(path, ratio=10_000).members == 2
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def test_members_are_limited(make: Make) -> None:
    path = make(root(), *((f"package/{n}", b"") for n in range(20)))
    assert refusal(path, members=20) == "too-many-members"
    assert look(path, members=21).members == 21


def test_bundled_packages_are_limited(make: Make) -> None:
    nested = json.dumps({"name": "in", "version": "1.0.0"}).encode()
    path = make(root(), *((f"package/{n}/package.json", nested) for n in range(4)))
    assert refusal(path, components=3) == "too-many-components"


def test_a_manifest_is_limited(make: Make) -> None:
    assert refusal(make(root(pad="x" * 5000)), manifest_bytes=4096) == "too-large"


@pytest.mark.parametrize(
    "name",
    [
        "package/../../evil", "../evil", "/package/evil", "package\\..\\..\\evil", "C:/evil",
        "\\evil", "package/" + "n" * 256, "package/" + "d/" * 1000 + "x",
    ],
)  # fmt: skip
def test_a_path_that_could_leave_the_package_is_refused(make: Make, name: str) -> None:
    path = make(root(), (name, b"x"), tar_format=tarfile.PAX_FORMAT)
    assert refusal(path) == "unsafe-member"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_fifos_are_refused(make: Make, kind: bytes) -> None:
    assert refusal(make(root(), (member("package/dev", type=kind), b""))) == "unsafe-member"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_are_noticed_and_otherwise_ignored_as_npm_does(make: Make, kind: bytes) -> None:
    link = member("package/link", type=kind, linkname="/etc/passwd")
    assert codes(look(make(root(), (link, b"")))) == ["link-ignored"]


@pytest.mark.parametrize("header", [{"path": "package/other.js"}, {"size": "7"}])
def test_global_headers_that_readers_understand_differently_are_refused(
    tmp_path: Path, header: dict[str, str]
) -> None:
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers=header
    ) as archive:
        info = member("package/package.json", size=len(root()[1]))
        archive.addfile(info, io.BytesIO(root()[1]))
    path = tmp_path / "demo.tgz"
    path.write_bytes(gzip.compress(out.getvalue()))
    assert refusal(str(path)) in {"unsafe-member", "not-tar", "truncated"}


def test_a_file_whose_name_ends_in_a_slash_is_refused(make: Make) -> None:
    raw = bytearray(tar([root(), ("package/package.json_", b"{}")]))
    start = raw.index(b"package/package.json_")
    raw[start + 20 : start + 21] = b"/"
    block = start - start % 512
    raw[block + 148 : block + 156] = b" " * 8
    raw[block + 148 : block + 156] = b"%06o\0 " % sum(raw[block : block + 512])
    assert refusal(make(raw=gzip.compress(bytes(raw)))) == "unsafe-member"


def test_a_name_prefix_that_only_one_reader_honours_is_refused(make: Make) -> None:
    raw = bytearray(tar([("package.json", root()[1])]))
    raw[345:352] = b"package"
    raw[257:265] = b"ustar  \0"
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    assert refusal(make(raw=gzip.compress(bytes(raw)))) == "unsafe-member"


def test_a_giant_extended_header_is_refused_before_it_is_read(make: Make) -> None:
    path = make((member("package/a", pax_headers={"comment": "x" * 2_000_000}), b""),
                tar_format=tarfile.PAX_FORMAT)  # fmt: skip
    assert refusal(path) == "unsafe-member"


def test_a_package_without_a_root_manifest_is_refused(make: Make) -> None:
    assert refusal(make(("package/lib/package.json", b"{}"))) == "no-manifest"
    assert refusal(make(("package.json", root()[1]))) == "no-manifest"


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"\xff\xfe{}", b"[" * 100_000, b'{"a":' * 50_000, b"1" * 5_000],
    ids=["empty", "open", "list", "utf-16", "deep-list", "deep-object", "huge-number"],
)
def test_a_malformed_root_manifest_is_refused(make: Make, raw: bytes) -> None:
    assert refusal(make(("package/package.json", raw))) == "manifest-malformed"


def test_a_tarball_that_is_another_package_is_refused(make: Make) -> None:
    assert refusal(make(root(name="Demo"))) == "name-mismatch"
    assert refusal(make(root(name=["demo"]))) == "name-mismatch"
    assert refusal(make(root(version="1.0.1"))) == "version-mismatch"
    assert refusal(make(root(version=None))) == "version-mismatch"


def test_two_different_root_manifests_are_refused(make: Make) -> None:
    assert refusal(make(root(), root(license="MIT"))) == "manifest-malformed"
    other = ("other/package.json", root(license="GPL-3.0")[1])
    assert refusal(make(root(), other)) == "manifest-malformed"
    assert refusal(make(root(), ("package/PACKAGE.JSON", other[1]))) == "manifest-malformed"
    assert codes(look(make(root(), root()))) == ["duplicate-member"]


@pytest.mark.parametrize(
    ("stated", "wanted", "same"),
    [
        ("v1.0.0", "1.0.0", True), ("=1.0.0", "1.0.0", True), (" 1.0.0 ", "1.0.0", True),
        ("1.0.0+build.5", "1.0.0", True), ("1.0.0beta", "1.0.0-beta", True),
        ("1.0.0-beta", "1.0.0", False), ("1.0", "1.0.0", False), ("nonsense", "nonsense", True),
        ("1.0.1", "1.0.0", False), ("1" * 300, "1.0.0", False),
    ],
)  # fmt: skip
def test_versions_are_compared_as_npm_normalises_them(stated: str, wanted: str, same: bool) -> None:
    assert same_version(stated, wanted) is same


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({}, None),
        ({"license": ""}, None),
        ({"license": "MIT OR Apache-2.0"}, "MIT OR Apache-2.0"),
        ({"license": {"type": "MIT", "url": "x"}}, "MIT"),
        ({"license": ["MIT", "ISC"]}, "MIT OR ISC"),
        ({"licenses": [{"type": "MIT"}, {"type": "GPL-2.0 OR ISC"}]}, "MIT OR (GPL-2.0 OR ISC)"),
        ({"licenses": [{"type": "MIT"}, {"url": "x"}]}, None),
        ({"license": "MIT", "licenses": [{"type": "GPL-3.0"}]}, "MIT AND GPL-3.0"),
        ({"license": 7}, None),
        ({"license": "a\0b"}, "a\\u0000b"),
        ({"license": "\ud800"}, "\\ud800"),
    ],
)
def test_the_manifest_licence_becomes_expression_text(
    make: Make, fields: dict[str, Any], licence: str | None
) -> None:
    assert look(make(root(**fields))).licence == licence


def test_duplicate_keys_are_tolerated_with_a_notice_and_the_last_wins(make: Make) -> None:
    raw = b'{"name":"demo","version":"1.0.0","license":"MIT","license":"ISC"}'
    found = look(make(("package/package.json", raw)))
    assert found.licence == "ISC"
    assert codes(found) == ["manifest-duplicate-keys"]


def test_a_byte_order_mark_is_tolerated(make: Make) -> None:
    assert look(make(("package/package.json", b"\xef\xbb\xbf" + root()[1]))).name == "demo"


@pytest.mark.parametrize(
    ("fields", "scripts"),
    [
        ({}, {"install": "node-gyp rebuild"}),
        ({"scripts": {"postinstall": "x"}}, {"postinstall": "x", "install": "node-gyp rebuild"}),
        ({"scripts": {"install": "make"}}, {"install": "make"}),
        ({"scripts": {"preinstall": "make"}}, {"preinstall": "make"}),
        ({"gypfile": False}, {}),
    ],
)
def test_a_binding_gyp_is_an_implicit_install_script(
    make: Make, fields: dict[str, Any], scripts: dict[str, str]
) -> None:
    assert look(make(root(**fields), ("package/binding.gyp", b""))).install_scripts == scripts
    assert look(make(root(), ("package/src/binding.gyp", b""))).install_scripts == {}


def test_every_nested_manifest_with_name_and_version_is_a_component(make: Make) -> None:
    def nested(**fields: Any) -> bytes:
        return json.dumps(fields).encode()

    found = look(make(
        root(),
        ("package/node_modules/@s/in/package.json",
         nested(name="@s/in", version="2.0.0", license="GPL-3.0", scripts={"install": "x"})),
        ("package/vendor/other/package.json", nested(name="other", version="0.1.0")),
        ("package/esm/package.json", nested(type="module")),
        ("package/test/bad/package.json", b"{"),
        ("package/node_modules/gyp/package.json", nested(name="gyp", version="1.0.0")),
        ("package/node_modules/gyp/binding.gyp", b""),
    ))  # fmt: skip
    listed = [(c.name, c.version, c.licence, c.bundled) for c in found.components]
    assert listed == [
        ("@s/in", "2.0.0", "GPL-3.0", True),
        ("other", "0.1.0", None, False),
        ("gyp", "1.0.0", None, True),
    ]
    assert found.components[0].install_scripts == {"install": "x"}
    assert found.components[2].install_scripts == {"install": "node-gyp rebuild"}
    assert found.components[0].path == "node_modules/@s/in/package.json"
    assert codes(found) == ["component-manifest-unreadable"]


def test_suppression_files_are_named(make: Make) -> None:
    names = (".trivyignore", "trivy.yaml", ".snyk", "sub/osv-scanner.toml", "trivy-secret.yaml")
    found = look(make(root(), *((f"package/{name}", b"") for name in names)))
    assert found.suppression_files == names


def test_licence_files_at_the_root_are_kept_with_hash_and_head(make: Make) -> None:
    text = b"unheard of conditions\n" * 10_000
    found = look(make(root(), ("package/LICENSE.md", text), ("package/lib/LICENSE", b"x")))
    (file,) = found.licence_files
    assert file.name == "LICENSE.md"
    assert file.sha256 == hashlib.sha256(text).hexdigest()
    assert len(file.text) == 64 * 1024
    assert file.identified is None


def test_names_that_are_not_text_come_out_printable(make: Make) -> None:
    found = look(make(root(), (member(os.fsdecode(b"package/\xff\n/trivy.yaml")), b"")))
    assert found.suppression_files == ("\\udcff\\u000a/trivy.yaml",)
    json.dumps(found.to_dict()).encode()


def test_a_flood_of_notices_is_cut_and_says_so(make: Make) -> None:
    links = ((member(f"package/{n}", type=tarfile.SYMTYPE, linkname="x"), b"") for n in range(700))
    found = look(make(root(), *links))
    assert len(found.notices) == 501
    assert codes(found)[-1] == "notices-cut"


def test_unpack_writes_only_plain_files_below_one_folder(make: Make, tmp_path: Path) -> None:
    into = tmp_path / "out"
    into.mkdir()
    path = make(
        root(),
        (member("package/run.sh", mode=0o6777), b"x"),
        (member("package/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"), b""),
        ("package/.git/config", b"x"),
        ("package/node_modules/in/a.js", b"x"),
    )
    assert unpack(path, into) == 4
    written = sorted(p.relative_to(into).as_posix() for p in into.rglob("*") if not p.is_dir())
    assert written == [
        "package/_git/config", "package/_node_modules/in/a.js", "package/package.json",
        "package/run.sh",
    ]  # fmt: skip
    assert stat.S_IMODE((into / "package/run.sh").lstat().st_mode) & 0o7133 == 0


def test_unpack_refuses_a_path_that_is_both_file_and_directory(make: Make, tmp_path: Path) -> None:
    path = make(root(), ("package/a", b"x"), ("package/a/b", b"x"))
    with pytest.raises(InspectionError, match="both a file and a directory"):
        unpack(path, tmp_path / "out")


def test_unpack_obeys_the_limits(make: Make, tmp_path: Path) -> None:
    path = make(root(), ("package/a", b"x" * 100_000))
    with pytest.raises(InspectionError, match="too-large"):
        unpack(path, tmp_path / "out", Limits(unpacked_bytes=50_000))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_no_damage_to_an_archive_ends_in_anything_but_a_named_refusal(
    make: Make, data: st.DataObject
) -> None:
    raw = bytearray(tar([root(license="MIT"), ("package/a", b"x" * 700)]))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = make(raw=gzip.compress(bytes(raw), 1))
    assert outcome(path) in OUTCOMES


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(cut=st.integers(0, 200), junk=st.binary(max_size=40))
def test_no_damage_to_the_compression_ends_in_anything_but_a_named_refusal(
    make: Make, cut: int, junk: bytes
) -> None:
    raw = gzip.compress(tar([root()]), mtime=0)
    damaged = raw[:cut] + junk + raw[cut + len(junk) :]
    assert outcome(make(raw=damaged)) in OUTCOMES


def test_the_module_loads_no_heavy_library() -> None:
    script = (
        "import sys, backend.workloads.packages.scanning.tarball\n"
        "heavy = {'sqlalchemy', 'flask', 'pydantic', 'urllib3', 'nodesemver', 'asyncio'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


CASES = Path(__file__).resolve().parents[4] / "shared" / "cases" / "nasty"
REFUSED = {
    "01-traversal.tar.gz": "unsafe-member",
    "02-absolute.tar.gz": "unsafe-member",
    "08-dev-fifo.tar.gz": "unsafe-member",
    "16-long-name.tar.gz": "unsafe-member",
    "17-100k-tiny.tar.gz": "too-many-members",
    "27-truncated.tar.gz": "truncated",
    "29-empty.tar.gz": "not-gzip",
    "30-not-an-archive.tar.gz": "not-gzip",
    "31-html-login-page.tgz": "not-gzip",
    "34-plain-tar-named.tar.gz": "not-gzip",
    "35-bz2-named.tar.gz": "not-gzip",
    "38-concatenated.tar.gz": "trailing-data",
}


@pytest.mark.cases
@pytest.mark.parametrize(("file", "code"), REFUSED.items())
def test_hostile_archives_of_others_are_refused(file: str, code: str) -> None:
    if not CASES.is_dir():
        pytest.skip("the shared cases are not here")
    assert refusal(str(CASES / file)) == code
