"""Two readers of one format: what the quick one takes, the library reads alike."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from backend.workloads.packages.scanning import members, plain_members
from backend.workloads.packages.scanning.inspection import InspectionError, Limits
from backend.workloads.packages.scanning.members import Members
from tests.benchmark.npm_registry import package

LIMITS = Limits(unpacked_bytes=200_000, members=10)
Seen = list[tuple[str, str, str, bytes]] | str


def tar(*entries: tuple[str, bytes, dict[str, Any]], tar_format: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as archive:
        for name, content, fields in entries:
            info = tarfile.TarInfo(name)
            for field, value in fields.items():
                setattr(info, field, value)
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


ORDINARY = tar(
    ("package/package.json", b"{}", {}),
    ("package/lib", b"", {"type": tarfile.DIRTYPE}),
    ("package/lib/" + "long/" * 22 + "näme.js", b"x" * 1100, {"mtime": 10**9}),
    tar_format=tarfile.USTAR_FORMAT,
)


def seen(walk: Callable[[str, Limits], Members], path: Path, packed: bytes) -> Seen:
    """Each member with its content, or the code of the refusal."""
    path.write_bytes(packed)
    try:
        return [(m.path, m.raw_name, m.kind, m.read(10_000)) for m, _ in walk(str(path), LIMITS)]
    except InspectionError as error:
        return error.code


def library(path: str, limits: Limits) -> Members:
    return members.walk(Path(path), limits)


def test_an_ordinary_archive_needs_no_library(tmp_path: Path) -> None:
    for packed in (package("sample")[0], gzip.compress(ORDINARY)):
        path = tmp_path / "package.tgz"
        found = seen(plain_members.walk, path, packed)
        assert len(found) >= 3
        assert found == seen(library, path, packed)


@pytest.mark.parametrize(
    "archive",
    [
        tar(("package/" + "n" * 200, b"x", {}), tar_format=tarfile.PAX_FORMAT),
        tar(("package/" + "n" * 200, b"x", {}), tar_format=tarfile.GNU_FORMAT),
        tar(("package/a", b"x", {"uid": 2**30}), tar_format=tarfile.GNU_FORMAT),
        tar(("package/a", b"", {"type": tarfile.SYMTYPE, "linkname": "b"}),
            tar_format=tarfile.USTAR_FORMAT),
        ORDINARY[:2000],
        ORDINARY + b"more",
        bytes(10240),
        b"",
    ],
    ids=["pax", "gnu-long-name", "binary-number", "link", "cut", "trailing", "zeros", "nothing"],
)  # fmt: skip
def test_whatever_is_not_plain_is_left_to_the_library(archive: bytes, tmp_path: Path) -> None:
    with pytest.raises(plain_members.Unusual):
        seen(plain_members.walk, tmp_path / "package.tgz", gzip.compress(archive))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damage=st.lists(
        st.tuples(st.integers(0, len(ORDINARY) - 1), st.sampled_from(b"\0 /0157x\x80\xff")),
        max_size=3,
    ),
    mended=st.booleans(),
)
@example(damage=[(156, ord("5"))], mended=True)
@example(damage=[(124, ord(" "))], mended=True)
@example(damage=[(104, ord(","))], mended=True)
@example(damage=[(126, ord(","))], mended=True)
def test_what_it_takes_the_library_reads_alike(
    damage: list[tuple[int, int]], mended: bool, tmp_path: Path
) -> None:
    """``mended``: with checksums that are right again, as who means harm would have them."""
    archive = bytearray(ORDINARY)
    for place, byte in damage:
        archive[place] = byte
    for header in {place - place % 512 for place, _ in damage if mended}:
        archive[header + 148 : header + 156] = b" " * 8
        archive[header + 148 : header + 156] = b"%06o\0 " % sum(archive[header : header + 512])
    packed, path = gzip.compress(bytes(archive), 1), tmp_path / "package.tgz"
    try:
        found = seen(plain_members.walk, path, packed)
    except plain_members.Unusual:
        return
    assert found == seen(library, path, packed)
