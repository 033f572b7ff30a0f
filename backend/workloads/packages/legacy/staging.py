"""The predecessor's rows, read one after the other and staged beside our tables."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any, Final

from sqlalchemy import Connection

from backend.workloads.packages.legacy import columns, reading, words
from backend.workloads.packages.legacy.artifacts import Artifacts
from backend.workloads.packages.legacy.columns import LeftOut
from backend.workloads.packages.legacy.source import Fields, Source
from backend.workloads.packages.legacy.statements import LOOKED_UP, NOBODY, STAGES

_AT_ONCE: Final = 500  # rows of one statement,
_SIZE: Final = 8_000_000  # characters, or one row: a lock may have megabytes
_NUMBERED: Final = (
    "users", "supported_licenses", "requests", "packages", "artifacts", "package_status",
    "audit_log",
)  # fmt: skip


class Staging:
    """Stages one table after the other; each knows those before it.

    Attributes:
        left_out: how many rows of each table have no place here, by the reason why.
        notes: what is taken over otherwise than it stood there, and how often.
    """

    def __init__(self, source: Source, connection: Connection, tables: Iterable[str]) -> None:
        self._source = source
        self._connection = connection
        self._tables = frozenset(tables)
        self._names = {NOBODY}
        self._licences: set[str] = set()
        self._requests: set[int] = set()
        self._artifacts = Artifacts()
        self._judged: set[str] = set()
        self._excluded: list[Fields] = []
        self._decisions: list[Fields] = []
        self.left_out: Counter[tuple[str, str]] = Counter()
        self.notes: Counter[str] = Counter()

    def stage_all(self) -> None:
        """Stage everything, in temporary tables that go with the transaction."""
        for stage, shape in STAGES.items():
            self._connection.exec_driver_sql(
                f"CREATE TEMP TABLE {stage} ({shape}, new_id bigint,"
                " known boolean NOT NULL DEFAULT false) ON COMMIT DROP"
            )
        self._stage("l_user", self._read("users", self._user))
        self._stage("l_licence", self._read("supported_licenses", self._licence))
        self._stage("l_package", self._read("packages", self._package))
        for _ in self._read("artifacts", self._artifacts.declare):
            pass
        self._stage("l_artifact", self._artifacts.rows())
        self._stage("l_request", self._read("requests", self._request))
        self._stage("l_link", self._read("request_packages", self._link))
        self._stage("l_excluded", self._excluded)
        self._stage("l_status", self._read("package_status", self._status))
        self._stage("l_decision", self._all_decisions())
        self._stage("l_scan", self._read("security_scans", self._scan))
        self._stage("l_entry", self._read("audit_log", reading.audit_entry))
        for stage, column in LOOKED_UP.items():
            self._connection.exec_driver_sql(f"CREATE INDEX ON {stage} ({column})")
        for stage in STAGES:
            self._connection.exec_driver_sql(f"ANALYZE {stage}")

    def _read(self, table: str, read: Callable[[Fields], Fields]) -> Iterator[Fields]:
        seen: set[int | None] = set()
        for row in self._source.rows(table) if table in self._tables else ():
            number = columns.reference(row, "id") if table in _NUMBERED else None
            if number is not None and number in seen:
                self.left_out[table, "another row has its number"] += 1
                continue
            seen.add(number)
            try:
                yield read(row)
            except LeftOut as reason:
                self.left_out[table, str(reason)] += 1

    def _stage(self, stage: str, rows: Iterable[Fields]) -> None:
        shape = STAGES[stage]
        names = ", ".join(column.split()[0] for column in shape.split(", "))
        statement = (
            f"INSERT INTO {stage} ({names})"  # noqa: S608 - constants of this package
            f" SELECT * FROM json_to_recordset(CAST(%(rows)s AS json)) AS given({shape})"
        )
        for some in _batches(rows):
            self._connection.exec_driver_sql(statement, {"rows": some})

    def _user(self, row: Fields) -> Fields:
        user = reading.user(row)
        name = said = user["username"]
        for place in count():
            if name.lower() not in self._names:
                break
            name = f"{said[:30]}-{user['id']}" + f"-{place}" * bool(place)
        renamed = name != row.get("username")
        self.notes["users with another name here"] += renamed
        self._names.add(name.lower())
        return {**user, "username": name, "renamed": renamed}

    def _licence(self, row: Fields) -> Fields:
        licence = reading.licence(row)
        if licence["identifier"] in self._licences:
            raise LeftOut("another row has its identifier")
        self._licences.add(licence["identifier"])
        return licence

    def _package(self, row: Fields) -> Fields:
        try:
            package = reading.package(row)
        except LeftOut:
            self._artifacts.invalid.add(columns.reference(row, "id"))
            raise
        self._artifacts.of_package(row, package)
        return package

    def _request(self, row: Fields) -> Fields:
        request = reading.request(row)
        self._requests.add(request["id"])
        return request

    def _link(self, row: Fields) -> Fields:
        request = columns.reference(row, "request_id")
        if request not in self._requests:
            raise LeftOut("of a request that is not there")
        package = columns.reference(row, "package_id")
        if package is not None and package in self._artifacts.invalid:
            detail = "npm allows no such name and version"
            self._excluded.append(
                {"request": request, "entry": f"package {package}", "reason": "invalid-name",
                 "detail": detail}
            )  # fmt: skip
            raise LeftOut("not npm's: a named exclusion of its request")
        return {"request": request, **self._artifacts.about(row), **reading.link(row)}

    def _status(self, row: Fields) -> Fields:
        about = self._artifacts.about(row)
        if about["artifact"] in self._judged:
            raise LeftOut("another row is about the same bytes")
        self._judged.add(about["artifact"])
        status = reading.status(row, about.pop("license_claim"))
        if not words.known(status["there"]):
            self.notes["packages whose status nobody knows"] += 1
        if "decisions" not in self._tables:
            self._decisions += reading.decisions_of(status, about["artifact"])
        return {**status, **about}

    def _all_decisions(self) -> Iterator[Fields]:
        """Those of the table, where there is one; else those that the statuses name."""
        yield from self._decisions
        yield from self._read("decisions", self._decision)

    def _decision(self, row: Fields) -> Fields:
        return {**self._artifacts.about(row), **reading.decision(row)}

    def _scan(self, row: Fields) -> Fields:
        return {**self._artifacts.about(row), **reading.scan(row)}


def _batches(rows: Iterable[Fields]) -> Iterator[str]:
    """The rows as arrays of JSON, none of which is large unless one row is."""
    some: list[str] = []
    size = 0
    for row in rows:
        line = json.dumps({name: _storable(value) for name, value in row.items()})
        if some and (len(some) == _AT_ONCE or size + len(line) > _SIZE):
            yield f"[{','.join(some)}]"
            some, size = [], 0
        some.append(line)
        size += len(line)
    if some:
        yield f"[{','.join(some)}]"


def _storable(value: Any) -> Any:
    """Text as PostgreSQL holds it: without NUL, and without halves of characters."""
    if isinstance(value, list):
        return [_storable(each) for each in value]
    if isinstance(value, str) and ("\0" in value or not value.isascii()):
        return value.replace("\0", "\ufffd").encode(errors="replace").decode()
    return value
