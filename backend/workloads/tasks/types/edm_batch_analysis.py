"""Unsupported claims in what was said of late, stored as debts."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.queue.leases import Lease
from backend.workloads.tasks.data_model import DebtKind, Interaction, Severity
from backend.workloads.tasks.edm.reading import of, read_interactions
from backend.workloads.tasks.edm.saving import save_debts
from backend.workloads.tasks.edm.shapes import BySeverity, Count, Examined, Shape, Status, Window
from backend.workloads.tasks.lifecycle import EDM_ANALYSIS
from backend.workloads.tasks.registry import Asked, Parameters, TaskType
from backend.workloads.tasks.tools import Tools

Place = tuple[int, Count, Annotated[int, Field(ge=1)], DebtKind, Severity, str]
"""Interaction, start and length of the sentence, and what it owes."""


class AnalyzeBatch(Parameters):
    """Whose interactions, how far back, and from which severity on."""

    user_id: int | None = Field(
        None, ge=1, title="User", description="Absent: yourself; for an admin everybody."
    )
    time_window_days: int = Field(
        7, ge=1, le=3653, title="Window", description="Days back from now."
    )
    min_severity: Severity = Field(
        Severity.LOW, title="Least severity", description="What is less severe is only counted."
    )


class ByKind(Shape):
    """How many there are of each kind."""

    unfalsifiable: Count
    unverified: Count
    vague: Count


class Recommendation(Shape):
    """What to do about so many debts; of the severe ones of all kinds where ``kind`` is null."""

    kind: DebtKind | None
    debts: Count
    advice: str


class Example(Shape):
    """One of the most severe."""

    interaction_id: int
    sentence: str = Field(description="Cut to 300 characters.")
    kind: DebtKind
    severity: Severity
    reason: str


class Analysis(Shape):
    """What was found, and what of it is new."""

    status: Status = Field(description="insufficient_data: there is no interaction in the window.")
    user_id: int | None = Field(title="User", description="Null: everybody's.")
    window: Window
    examined: Examined
    min_severity: Severity
    debts: Count = Field(title="Debts", description="Found, of the least severity or above.")
    below_min_severity: Count = Field(title="Less severe", description="Found, and not stored.")
    by_kind: ByKind
    by_severity: BySeverity
    new: BySeverity = Field(
        default_factory=BySeverity, title="New", description="Stored by this task."
    )
    known_open: BySeverity = Field(
        default_factory=BySeverity, title="Known", description="Stored before, and still owed."
    )
    known_resolved: BySeverity = Field(
        default_factory=BySeverity,
        title="Resolved",
        description="Stored before and resolved since: they stay so.",
    )
    recommendations: list[Recommendation] = Field(title="Recommendations")
    examples: list[Example] = Field(title="Examples", description="The most severe.")
    found: SkipJsonSchema[list[Place]] = Field(default=[], exclude=True)


def gather(session: Session, asked: Asked) -> dict[str, Any]:
    until = session.scalars(select(func.now())).one()
    since = until - timedelta(days=asked.parameters["time_window_days"])
    within = Interaction.occurred_at.between(since, until)
    return {
        "since": since.isoformat(),
        "until": until.isoformat(),
        **read_interactions(session, within, *of(asked.user_id)),
    }


def run(asked: dict[str, Any]) -> dict[str, Any]:
    from backend.workloads.tasks.edm.analysis import analyze

    return analyze(asked)


def rehearse() -> None:
    """Load the rules and compile their patterns."""
    from backend.workloads.tasks.edm.checking import check_message

    check_message("Most of this is said to be true.", cited=False)


def store(
    asked: Asked, _tools: Tools, session: Session, _lease: Lease, result: Analysis, *, folder: Path
) -> None:
    """The debts, and in the result how many of them are new.

    ``folder`` is empty: this is no ``save`` because it takes long, and a heartbeat would wait.
    """
    del folder
    new, still_open, resolved = save_debts(session, asked.user_id, result.found)
    result.new = BySeverity.of(new)
    result.known_open = BySeverity.of(still_open)
    result.known_resolved = BySeverity.of(resolved)


TASK = TaskType(
    name="edm_batch_analysis",
    title="Find unsupported claims",
    description="Looks for claims that are unfalsifiable, vague, or made without a source, and"
    " stores each once as a debt.",
    queue=EDM_ANALYSIS,
    parameters=AnalyzeBatch,
    result=Analysis,
    run=run,
    gather=gather,
    bulk=store,
    subject="one or all",
    rehearse=rehearse,
)
