"""What is asked about the files and stanzas of one run, and what is answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import GenericAlias
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints, create_model

from backend.identity.schemas import Output
from backend.workloads.splunk.places import Layer, Scope
from backend.workloads.splunk.projections import PROJECTIONS, Projection, Type
from backend.workloads.splunk.resolution.schemas import ConfType, Name, Paged, PageIn
from backend.workloads.splunk.schemas import Status

Search = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Kind = Literal["conf", "meta", "other", "skipped"]

BigInt = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]

ASKED: Final[dict[Type, Any]] = {Type.TEXT: Name, Type.FLAG: bool, Type.NUMBER: BigInt}
"""What each type of a typed column is asked for as."""

ANSWERED: Final[dict[Type, Any]] = {Type.TEXT: str, Type.FLAG: bool, Type.NUMBER: int}


class PlacedIn(PageIn):
    """All that is given must hold."""

    app: Name | None = None
    layer: Layer | None = None
    scope: Scope | None = None


class FilesIn(PlacedIn):
    kind: Kind | None = None
    conf_type: ConfType | None = None
    q: Search | None = Field(None, description="Stands somewhere in the path, in any case.")


class StanzasIn(PlacedIn):
    conf_type: ConfType | None = None
    name: Name | None = None
    q: Search | None = Field(
        None, description="Stands somewhere in the name, the app, a key or a value, in any case."
    )


class PlacedOut(Output):
    """Where something stands; all null outside the configuration. ``user`` in a user's alone."""

    layer: Layer | None
    scope: Scope | None
    app: str | None
    user: str | None


class WarningOut(Output):
    """``line`` is null for what concerns the whole file."""

    code: str
    message: str
    line: int | None


class FileOut(PlacedOut):
    """One member of the archive. ``skip_reason`` is set where ``kind`` is ``skipped``."""

    file_no: int
    path: str
    kind: Kind
    sha256: str | None
    size_bytes: int | None
    encoding: str | None
    conf_type: str | None
    skip_reason: str | None
    warnings: list[WarningOut]


class OfStanza(PlacedOut):
    """Which stanza it is: ``line`` is that of its first header in the file."""

    stanza_no: int
    name: str
    file_path: str
    line: int


class StoredStanza(OfStanza):
    """``raw_kv`` has the file's last word on each key, ``lines`` where it begins.

    ``history`` is of keys that come again: [line, value] of what was said before, in its order.
    """

    file_no: int
    conf_type: str
    order_in_file: int
    raw_kv: dict[str, str]
    lines: dict[str, int]
    history: dict[str, list[tuple[int, str]]] | None


class Contents(Paged):
    """``total`` counts what was asked for on all pages.

    While ``status`` is not ``complete`` it is what an earlier parse found, or nothing yet.
    """

    run_id: int
    status: Status
    total: int


class FilesOut(Contents):
    files: list[FileOut]


class StanzasOut(Contents):
    stanzas: list[StoredStanza]


@dataclass(frozen=True, slots=True)
class Typed:
    """The models of one table of typed columns.

    ``asked`` takes a value for each column, ``row`` has them beside the stanza they are of, and
    ``answer`` lists rows under the table's name.
    """

    projection: Projection
    asked: type["TypedIn"]
    row: type[OfStanza]
    answer: type[Contents]

    def filters(self, query: "TypedIn") -> Mapping[str, Any]:
        """The columns that are asked about, with the value each must have."""
        given = ((name, getattr(query, name)) for name, _ in self.projection.columns)
        return {name: value for name, value in given if value is not None}


class TypedIn(PlacedIn):
    """``name`` is the stanza's; each column may be asked for a value. All that is given holds."""

    name: Name | None = None


def _typed(projection: Projection) -> Typed:
    title, columns = projection.table.capitalize(), projection.columns
    asked: dict[str, Any] = {name: (ASKED[type_] | None, None) for name, type_ in columns}
    answered: dict[str, Any] = {name: (ANSWERED[type_] | None, ...) for name, type_ in columns}
    row = create_model(f"{title}Row", __base__=OfStanza, **answered)
    rows: dict[str, Any] = {projection.table: (GenericAlias(list, row), ...)}
    return Typed(
        projection,
        asked=create_model(f"{title}In", __base__=TypedIn, **asked),
        row=row,
        answer=create_model(f"{title}Out", __base__=Contents, **rows),
    )


TYPED: Final = {one.table: _typed(one) for one in PROJECTIONS}
