"""What the evidence API reads and answers."""

from pydantic import BaseModel, Field

from backend.workloads.packages.schemas import Id


class WhyPath(BaseModel):
    """A request, and the queue row of one of its packages."""

    id: Id
    package_id: Id


class WhyIn(BaseModel):
    """``limit`` is how many ways are answered at most."""

    limit: int = Field(100, ge=1, le=1000)


class PackageName(BaseModel):
    id: int
    name: str
    version: str
    purl: str


class Hop(BaseModel):
    """One entry on a way.

    ``kind`` says in which words the one before asks for it: prod, dev, optional, peer, workspace,
    or unsaid where the lock does not tell. ``spec`` is the range that it asks for.
    """

    name: str
    version: str | None
    entry: str
    kind: str
    spec: str
    bundled: bool


class WhyOut(BaseModel):
    """``ways`` from the application to ``package``, the shortest first.

    Where there are more than were asked for, ``complete`` is false.
    """

    request_id: int
    application: str
    package: PackageName
    entries: list[str]
    ways: list[list[Hop]]
    complete: bool
    message: str
