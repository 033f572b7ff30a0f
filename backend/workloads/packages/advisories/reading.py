"""Records read whole, before anything is stored: one that cannot be read refuses all of them."""

import csv
import hashlib
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from backend.outbound.sites import Site
from backend.queue.breaker import CircuitOpen
from backend.settings import Settings, SettingsError, seconds
from backend.workloads.packages.advisories.stored import staged
from backend.workloads.packages.lockfile import redact_url
from backend.workloads.packages.registry.errors import RegistryError
from backend.workloads.packages.registry.origin import Origin
from backend.workloads.packages.scanning.osv import AdvisoriesError, Entry, entries, single
from backend.workloads.packages.scanning.osv_record import RecordError

NAMED: Final = 5  # broken records in the message
DOWNLOAD_SECONDS: Final = 1800.0
DOWNLOAD_BYTES: Final = 4 * 1024 * 1024 * 1024
_SERVER: Final = "the server of ADVISORIES_URL"
_ACCEPT: Final = "application/zip, application/json;q=0.9, */*;q=0.5"


class BrokenRecords(AdvisoriesError):
    """Some records cannot be read, so none is imported; the message names the first of them."""


@dataclass(frozen=True, slots=True)
class Records:
    """Records that can all be stored.

    Attributes:
        source: where they came from, as it may be shown.
        lines: one record a line, as CSV of a single column.
        count: of the records.
        digest: of their bytes (SHA-256, hex).
    """

    source: str
    lines: TextIO
    count: int
    digest: str


@contextmanager
def from_path(path: Path, *, source: str | None = None) -> Iterator[Records]:
    """Read a directory, a zip archive or one record.

    Raises:
        AdvisoriesError: it cannot be used.
        BrokenRecords: a record in it cannot be read.
        OSError: there is no such file, or no space to work in.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as lines:
        digest = hashlib.sha256()
        broken: list[str] = []
        count = 0
        writer = csv.writer(lines)
        for entry in _entries(path):
            count += 1
            digest.update(entry.raw)
            try:
                writer.writerow([_line(entry)])
            except RecordError as error:
                broken.append(f"{entry.name}: {error}")
        if broken:
            raise _refused(broken)
        if not count:
            raise AdvisoriesError(f"{path.name} holds no record")
        yield Records(source or str(path), lines, count, digest.hexdigest())


@contextmanager
def from_url(settings: Settings) -> Iterator[Records]:
    """Fetch ADVISORIES_URL, a zip archive or one record, and read it; raises as above, and besides.

    Raises:
        SettingsError: no URL is set, or it cannot be used.
        AdvisoriesError: it cannot be fetched.
    """
    url = settings.advisories_url
    if url is None:
        raise SettingsError("ADVISORIES_URL is not set: name an archive of OSV records")
    with tempfile.TemporaryDirectory(prefix="lockkeeper-advisories-") as folder:
        fetched = Path(folder, "the answer")
        _download(url, settings.advisories_ca_file, fetched)
        with from_path(fetched, source=redact_url(url)) as records:
            yield records


def _download(url: str, ca_file: Path | None, target: Path) -> None:
    try:
        site = str(Site.of(url))
    except ValueError as error:
        raise SettingsError(f"ADVISORIES_URL cannot be used: {error}") from None
    try:
        with (
            Origin(
                site, ca_file=ca_file, timeout=seconds(DOWNLOAD_SECONDS), server=_SERVER
            ) as origin,
            origin.stream(url, accept=_ACCEPT, max_bytes=DOWNLOAD_BYTES) as body,
            target.open("wb") as file,
        ):
            for chunk in body:
                file.write(chunk)
    except (RegistryError, CircuitOpen) as error:
        raise AdvisoriesError(f"the advisories cannot be fetched: {error}") from None


def _entries(path: Path) -> Iterator[Entry]:
    if path.is_file() and not zipfile.is_zipfile(path):
        return iter((single(path),))
    return entries(path)


def _line(entry: Entry) -> str:
    if isinstance(entry.advisory, RecordError):
        raise entry.advisory
    return staged(entry.advisory)


def _refused(broken: list[str]) -> BrokenRecords:
    shown = "; ".join(broken[:NAMED])
    more = f" and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
    return BrokenRecords(f"nothing is imported: {len(broken)} cannot be read: {shown}{more}")
