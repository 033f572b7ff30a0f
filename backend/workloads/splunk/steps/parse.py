"""Inside a child process: read one archive and leave its rows as COPY files. Imports little.

Bytes are decrypted while they are read, the archive is walked member by member, and of each conf
file no more is held than its bytes and its repeated stanzas: memory does not grow with the archive.
"""

import hashlib
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from backend.queue.retry import StepError, Transient
from backend.storage.encryption import Undecipherable, decrypted
from backend.workloads.splunk.archive.kinds import Kind
from backend.workloads.splunk.archive.members import Archive, Member, Skipped, survey
from backend.workloads.splunk.conf.parsing import Parser
from backend.workloads.splunk.conf.stanza import Stanza, TooMuch, Warned
from backend.workloads.splunk.masking import Masking
from backend.workloads.splunk.places import Layer, Place, Scope, UploadType
from backend.workloads.splunk.projections import BY_CONF_TYPE
from backend.workloads.splunk.provenance import Placing
from backend.workloads.splunk.secret_names import holds_private_key, names_a_secret
from backend.workloads.splunk.steps.tables import Tables

ARCHIVE: Final = "archive"
"""In the working directory: the encrypted bytes."""
META: Final = "meta"
CONF_BYTES: Final = 64 * 1024 * 1024
"""A conf file is read whole; no ordinary one is a tenth as large."""

_OWN: Final = str(Path(__file__).parents[3])
_CHUNK: Final = 256 * 1024
_SUFFIX: Final = ".conf"
_META_SUFFIX: Final = ".meta"
_UNNAMED: Final = "unnamed"
_META_FILES: Final = ("default.meta", "local.meta")


def parse(run: dict[str, Any]) -> dict[str, Any]:
    """Read the archive in the working directory; its rows are left there, too.

    Args:
        run: a ``RunSnapshot`` as JSON.

    Returns:
        A ``Parsed`` as JSON.

    Raises:
        Permanent: the archive is broken, or none at all.
        Transient: what was stored is not what was encrypted, or a fault of our own.
    """
    try:
        with Path(ARCHIVE).open("rb") as blob, Tables(Path()) as tables:
            source = decrypted(blob, bytes.fromhex(run["data_key"]))
            masking = Masking(bytes.fromhex(run["masking_key"]))
            return ingest(source, run["filename"], UploadType(run["type"]), masking, tables)
    except Undecipherable as error:
        raise Transient(str(error)) from None
    except (StepError, MemoryError, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, its own words may hold a value
        raise Transient(_fault(error)) from None


def _fault(error: Exception) -> str:
    """What failed, and where in our own code: ``KeyError in parsing.py:42``."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(_OWN)]
    return f"{type(error).__name__} in {Path(own[-1].filename).name}:{own[-1].lineno}"


def ingest(
    source: BinaryIO, name: str, upload_type: UploadType, masking: Masking, tables: Tables
) -> dict[str, Any]:
    """Everything an archive says, as rows in ``tables``; answers the run's counts.

    Args:
        source: the plain bytes, seekable.
        name: of the uploaded file.
        upload_type: how a bare tree is read.
        masking: hides secrets.
        tables: takes the rows.

    Raises:
        Permanent: as :func:`parse` does.
    """
    placing = Placing(upload_type, name)
    archive: Archive = survey(source, name, seen=placing.see)
    for number, notice in enumerate(archive.notices):
        tables.add("run_notices", (number, notice.code, notice.message))
    ingestion = _Ingestion(placing, masking, tables, alone=archive.kind is Kind.CONF)
    for member in archive.members():
        ingestion.take(member)
    return {"archive_kind": str(archive.kind), **asdict(ingestion.counts)}


@dataclass(slots=True)
class Counts:
    """``parse_errors``: lines, and files, of configuration that say nothing to Splunk."""

    files_parsed: int = 0
    stanzas_created: int = 0
    parse_errors: int = 0


@dataclass(frozen=True, slots=True)
class _File:
    """One member that is read."""

    number: int
    path: str
    conf_type: str | None
    placed: tuple[str | None, ...]


class _Ingestion:
    """Takes one member after the other; ``alone``: there is one, a conf file nobody packed."""

    def __init__(self, placing: Placing, masking: Masking, tables: Tables, *, alone: bool) -> None:
        self.counts = Counts()
        self._alone = alone
        self._placing = placing
        self._masking = masking
        self._tables = tables

    def take(self, member: Member | Skipped) -> None:
        if isinstance(member, Skipped):
            self._skip(member.number, member.path, Warned(member.reason, member.detail))
            return
        place, conf_type = self._told(member.path)
        file = _File(member.number, member.path, conf_type, _placed(place))
        if names_a_secret(member.path):
            self._skip_secret(member)
        elif file.conf_type is None:
            self._look(file, member)
        elif member.size > CONF_BYTES:
            self._skip_too_large(member, f"a conf file of more than {CONF_BYTES:,} bytes")
        else:
            self._parse(file, file.conf_type, member)

    def _told(self, path: str) -> tuple[Place | None, str | None]:
        """Where a file stands, and what it is parsed as."""
        if self._alone:
            return _told_by_content(path)
        place = self._placing.of(path)
        return place, _conf_type(path, place)

    def _skip(self, number: int, path: str, why: Warned, *others: Warned) -> None:
        nothing_read = (None,) * 4
        placed_nowhere = (None,) * 4
        self._tables.add(
            "files",
            (
                number,
                path,
                "skipped",
                *nothing_read,
                *placed_nowhere,
                _shown([why, *others]),
                why.code,
            ),
        )

    def _look(self, file: _File, member: Member) -> None:
        """Hash what is no configuration, unless it turns out to be a key."""
        digest, size = hashlib.sha256(), 0
        while chunk := member.read(_CHUNK):
            if not size and holds_private_key(chunk):
                self._skip_secret(member)
                return
            digest.update(chunk)
            size += len(chunk)
        warnings = member.warnings
        if self._placing.strays(member.path):
            warnings += (Warned("outside-root", "configuration of another root than the one read"),)
        self._add_file(file, "other", digest.hexdigest(), size, None, warnings)

    def _skip_secret(self, member: Member) -> None:
        why = Warned("secret", "the whole file is a secret: only its name is kept")
        self._skip(member.number, member.path, why, *member.warnings)

    def _parse(self, file: _File, conf_type: str, member: Member) -> None:
        data = member.read(CONF_BYTES + 1)
        sha256, size = hashlib.sha256(data).hexdigest(), len(data)
        counts, rows = replace(self.counts), self._tables.mark()
        try:
            parser = Parser(data)
            del data
            for stanza in parser.stanzas():
                self._add_stanza(file, conf_type, stanza)
        except TooMuch as error:
            # One file is no reason to lose the others; half of it would say what it does not.
            self.counts = counts
            self._tables.rewind(rows)
            self._skip_too_large(member, str(error))
            return
        warnings = [*member.warnings, *parser.warnings]
        kind = META if conf_type == META else "conf"
        self._add_file(file, kind, sha256, size, parser.encoding, warnings)
        self.counts.files_parsed += 1
        self.counts.parse_errors += parser.unread

    def _skip_too_large(self, member: Member, what: str) -> None:
        self.counts.parse_errors += 1
        why = Warned("too-large", f"{what}: it is not read")
        self._skip(member.number, member.path, why, *member.warnings)

    def _add_file(
        self,
        file: _File,
        kind: str,
        sha256: str,
        size: int,
        encoding: str | None,
        warnings: Iterable[Warned],
    ) -> None:
        read = (sha256, size, encoding, file.conf_type)
        self._tables.add(
            "files",
            (file.number, file.path, kind, *read, *file.placed, _shown(warnings), None),
        )

    def _add_stanza(self, file: _File, conf_type: str, found: Stanza) -> None:
        stanza = self._masking.stanza(conf_type, found)
        number = self.counts.stanzas_created
        self.counts.stanzas_created += 1
        self._tables.add(
            "stanzas",
            (
                number, file.number, stanza.order, stanza.line, conf_type, stanza.name,
                *file.placed, stanza.settings, stanza.lines, stanza.history or None,
            ),
        )  # fmt: skip
        if projection := BY_CONF_TYPE.get(conf_type):
            row = projection.row(stanza.name, stanza.settings)
            self._tables.add(projection.table, (number, *row))


def _conf_type(path: str, place: Place | None) -> str | None:
    """What a file is parsed as; None for no configuration."""
    name = path.rpartition("/")[2].lower()
    if place is None:
        return None
    if place.scope is Scope.METADATA:
        return META if name in _META_FILES else None
    return name.removesuffix(_SUFFIX) if name.endswith(_SUFFIX) else None


def _told_by_content(name: str) -> tuple[Place, str]:
    """A conf file that nobody packed is one whatever its name; that says of which type."""
    name = name.lower()
    if name.endswith(_META_SUFFIX):
        return Place(Layer.SYSTEM, Scope.METADATA), META
    stem = name.removesuffix(_SUFFIX) if name.endswith(_SUFFIX) else name.partition(".")[0]
    return Place(Layer.SYSTEM, Scope.LOCAL), stem or _UNNAMED


def _placed(place: Place | None) -> tuple[str | None, ...]:
    if place is None:
        return (None,) * 4
    return str(place.layer), str(place.scope), place.app, place.user


def _shown(warnings: Iterable[Warned]) -> list[dict[str, Any]]:
    return [{"code": one.code, "message": one.message, "line": one.line} for one in warnings]
