"""Archives for the ingest benchmark: generated ones, and real ones where the folder is there."""

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.benchmark.splunk_resolve import APPS, tree

_CASES: Final = Path(__file__).parents[3] / "shared" / "cases"
REAL: Final = {
    "06-deployment-apps.tar.gz": "ds_etc",
    "07-search-head-11-public-apps.tar.gz": "instance_etc",
    "09-small-ta.zip": "app_bundle",
}
FILES: Final = 1_000
STANZAS: Final = 1_000  # in each of them


def real() -> Iterator[tuple[Path, str]]:
    """Archives with their upload types."""
    for name, upload_type in REAL.items():
        path = _CASES / "archives" / name
        if path.exists():
            yield path, upload_type


def nasty() -> list[Path]:
    """Hostile and broken ones."""
    return sorted((_CASES / "nasty").glob("[0-9]*"))


def small(folder: Path) -> Path:
    """One app of one file."""
    return _packed(folder / "small.tgz", [("app/default/props.conf", "[a]\nTZ = UTC\n")])


def ordinary(folder: Path) -> Path:
    """An installation of 334 files, 3 MB."""
    files = {f"etc/{path}": text for path, text in tree(APPS).items()}
    return _packed(folder / "etc-334-files.tar.gz", files.items())


def million(folder: Path) -> Path:
    """A million stanzas in a thousand files."""
    return _packed(folder / "million-stanzas.tar.gz", _many_files())


def one_file(folder: Path) -> Path:
    """A million stanzas in one file."""
    text = "".join(_stanzas(0, FILES * STANZAS))
    return _packed(folder / "million-in-one-file.tar.gz", [("etc/apps/a/local/props.conf", text)])


def _many_files() -> Iterator[tuple[str, str]]:
    for number in range(FILES):
        stanzas = "".join(_stanzas(number, STANZAS))
        yield f"etc/apps/app{number}/local/props.conf", stanzas


def _stanzas(number: int, count: int) -> Iterator[str]:
    for n in range(count):
        yield f"[source::/v/{number}/{n}.log]\nTRUNCATE = {n}\nTZ = UTC\n"


def _packed(path: Path, files: Iterable[tuple[str, str]]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=6) as archive:
        for name, text in files:
            content = text.encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
