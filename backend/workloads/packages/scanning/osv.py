"""OSV records from a directory or a zip archive: the advisories of an air-gapped site."""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from backend.workloads.packages.scanning.findings import Component, Finding
from backend.workloads.packages.scanning.osv_record import (
    Advisory,
    RecordError,
    finding,
    read,
    repairs,
)
from backend.workloads.packages.scanning.sources import Coverage, SourceResult

_RECORD_BYTES = 10 * 1024 * 1024
_TOTAL_BYTES = 8 * 1024 * 1024 * 1024
_MAX_RECORDS = 2_000_000
_MAX_BROKEN_NAMES = 100

Opened = tuple[str, Callable[[], bytes]]


class AdvisoriesError(Exception):
    """The directory or archive itself cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a set of records: its bytes, and what they say or why they say nothing."""

    name: str
    raw: bytes
    advisory: Advisory | RecordError


class OsvRecords:
    """npm advisories in memory, found by package name. Safe to share between threads."""

    def __init__(
        self,
        advisories: Sequence[Advisory],
        *,
        name: str,
        complete: bool,
        broken: Sequence[str],
        digest: str | None = None,
    ) -> None:
        self._name = name
        self._by_package: dict[str, list[Advisory]] = {}
        npm = [advisory for advisory in advisories if advisory.affected]
        for advisory in npm:
            for package in {block.name for block in advisory.affected}:
                self._by_package.setdefault(package, []).append(advisory)
        self.coverage = Coverage(
            source=name,
            as_of=_newest(advisories),
            records=len(npm),
            # With a record missing, silence about a package proves nothing.
            complete=complete and not broken,
            broken=tuple(broken[:_MAX_BROKEN_NAMES]),
            digest=digest,
        )

    @property
    def name(self) -> str:
        return self._name

    def match(self, name: str, version: str) -> list[Finding]:
        """Findings of every advisory that concerns this version or cannot rule it out."""
        component = Component(name=name, version=version)
        known = self._by_package.get(name, ())
        return [found for advisory in known if (found := finding(advisory, component, self._name))]

    def _repaired(self, component: Component) -> tuple[str, ...]:
        known = self._by_package.get(component.name, ())
        return tuple(advisory.id for advisory in known if repairs(advisory, component))

    def scan(self, components: Sequence[Component], directory: Path | None) -> SourceResult:  # noqa: ARG002 - it needs no files
        """See :class:`Source`. Never transient: everything is in memory."""
        distinct = dict.fromkeys((component.name, component.version) for component in components)
        broken = self.coverage.broken
        return SourceResult(
            source=self._name,
            findings=tuple(found for pair in distinct for found in self.match(*pair)),
            coverage=self.coverage,
            reason=f"unreadable records, such as {broken[0]}" if broken else None,
            repairs=self._repaired(components[0]) if components else (),
        )


def load(path: Path, *, complete: bool, name: str = "osv") -> OsvRecords:
    """Read every ``*.json`` below a directory, or in a zip archive.

    A record that cannot be read is named in ``coverage.broken`` and makes the source incomplete. Of
    records with one id the last modified counts; withdrawn ones are dropped.

    Args:
        path: the directory or archive.
        complete: the operator declares that this is everything known about npm.
        name: of the source, in findings and reports.

    Raises:
        AdvisoriesError: neither a directory nor a zip, or larger than the limits.
    """
    advisories: dict[str, Advisory] = {}
    broken: list[str] = []
    bytes_read = hashlib.sha256()
    for entry in entries(path):
        bytes_read.update(entry.raw)
        if isinstance(entry.advisory, RecordError):
            broken.append(f"{entry.name}: {entry.advisory}")
            continue
        known = advisories.get(entry.advisory.id)
        if known is None or _modified(known) <= _modified(entry.advisory):
            advisories[entry.advisory.id] = entry.advisory
    kept = [advisory for advisory in advisories.values() if not advisory.withdrawn]
    digest = bytes_read.hexdigest()
    return OsvRecords(kept, name=name, complete=complete, broken=broken, digest=digest)


def entries(path: Path) -> Iterator[Entry]:
    """Read every ``*.json`` below a directory, or in a zip archive, one at a time.

    Raises:
        AdvisoriesError: neither a directory nor a zip, or larger than the limits.
    """
    for count, (name, content) in enumerate(_records(path)):
        if count >= _MAX_RECORDS:
            raise AdvisoriesError(f"{path.name} holds more than {_MAX_RECORDS} records")
        yield _entry(name, content)


def single(path: Path) -> Entry:
    """Read a file that is one record."""
    return _entry(path.name, lambda: _content(path))


def _entry(name: str, content: Callable[[], bytes]) -> Entry:
    raw = b""
    try:
        raw = content()
        return Entry(name, raw, read(_decode(raw)))
    except RecordError as error:
        return Entry(name, raw, error)


def _decode(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise RecordError("it is not JSON") from None


def _records(path: Path) -> Iterator[Opened]:
    if path.is_dir():
        return _in_directory(path)
    if path.is_file() and zipfile.is_zipfile(path):
        return _in_zip(path)
    raise AdvisoriesError(f"{path.name} is neither a directory nor a zip archive of OSV records")


def _in_directory(root: Path) -> Iterator[Opened]:
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        for name in sorted(names):
            if name.endswith(".json"):
                file = Path(folder, name)
                yield str(file.relative_to(root)), lambda file=file: _content(file)  # type: ignore[misc] # bound early


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return _bounded(opened.read(_RECORD_BYTES + 1))
    except OSError as error:
        raise RecordError(f"it cannot be read ({error.strerror})") from None


def _in_zip(path: Path) -> Iterator[Opened]:
    total = 0

    def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
        nonlocal total
        try:
            with archive.open(entry) as opened:
                raw = _bounded(opened.read(_RECORD_BYTES + 1))
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError):
            raise RecordError("the archive is damaged or encrypted there") from None
        total += len(raw)
        if total > _TOTAL_BYTES:
            raise AdvisoriesError(f"{path.name} unpacks to more than {_TOTAL_BYTES} bytes")
        return raw

    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".json"):
                    yield entry.filename, lambda entry=entry: read_entry(archive, entry)  # type: ignore[misc] # bound early
    except zipfile.BadZipFile:
        raise AdvisoriesError(f"{path.name} is a damaged zip archive") from None


def _bounded(raw: bytes) -> bytes:
    if len(raw) > _RECORD_BYTES:
        raise RecordError(f"it is larger than {_RECORD_BYTES} bytes")
    return raw


def _modified(advisory: Advisory) -> float:
    return advisory.modified.timestamp() if advisory.modified else 0.0


def _newest(advisories: Sequence[Advisory]) -> datetime | None:
    return max((a.modified for a in advisories if a.modified), default=None)
