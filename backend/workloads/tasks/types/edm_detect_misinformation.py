"""What one user said, held against the knowledge base of reviewed claims."""

from typing import Annotated, Any

from pydantic import AwareDatetime, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.queue.leases import Lease
from backend.queue.retry import Permanent
from backend.workloads.tasks.data_model import Interaction, Verdict
from backend.workloads.tasks.edm.knowledge import read_claims, read_evidence
from backend.workloads.tasks.edm.reading import of, read_interactions
from backend.workloads.tasks.edm.shapes import Count, Examined, Finding, Shape, Status
from backend.workloads.tasks.lifecycle import EDM_ANALYSIS
from backend.workloads.tasks.registry import Asked, Parameters, TaskType

RowId = Annotated[int, Field(ge=1, le=2**63 - 1)]
Share = Annotated[float, Field(ge=0, le=1)]


class DetectMisinformation(Parameters):
    """Whose interactions, and which of them."""

    user_id: int | None = Field(None, ge=1, title="User", description="Absent: yourself.")
    interaction_ids: list[RowId] | None = Field(
        None,
        min_length=1,
        max_length=1000,
        title="Interactions",
        description="Absent: all of them, the newest first.",
    )


class Evidence(Shape):
    """The reviewed claim that a finding rests on."""

    id: int
    claim: str
    verdict: Verdict
    explanation: str = Field("", description="Empty where the claim was deleted meanwhile.")
    sources: list[str] = Field(default=[])


class Checked(Shape):
    """One sentence that is about a reviewed claim."""

    interaction_id: int
    sentence: str = Field(description="Cut to 300 characters.")
    finding: Finding
    stance: str = Field(
        description="same, opposite, or number: it is about the same and names another number."
    )
    similarity: Share = Field(description="Of its words and the reviewed claim's.")
    confidence: Share = Field(
        description="How often claim and stance were both right at such a similarity, on labelled"
        " pairs."
    )
    evidence: Evidence


class Misinformation(Shape):
    """What was found, and from how much."""

    status: Status = Field(
        description="insufficient_data: no reviewed claim, or no interaction; see reason."
    )
    reason: str | None
    user_id: int
    until: AwareDatetime = Field(description="When the data were read.")
    reviewed_claims: Count = Field(title="Reviewed claims", description="Held against.")
    reviewed_claims_left_out: Count
    examined: Examined
    counts: dict[Finding, Count] = Field(title="Claims by finding")
    findings: list[Checked] = Field(
        title="Findings", description="What contradicts the reviews first; at most 200."
    )
    findings_left_out: Count


def gather(session: Session, asked: Asked) -> dict[str, Any]:
    """Raises Permanent where one of the interactions is not the user's."""
    ids = asked.parameters["interaction_ids"]
    which = [*of(asked.user_id)]
    if ids is not None:
        which.append(Interaction.id.in_(ids))
        owned = set(session.scalars(select(Interaction.id).where(*which)))
        if foreign := sorted(set(ids) - owned):
            raise Permanent(f"interaction {foreign[0]} is not one of user {asked.user_id}'s")
    until = session.scalars(select(func.now())).one()
    return {
        "until": until.isoformat(),
        **read_interactions(session, *which),
        **read_claims(session),
    }


def run(asked: dict[str, Any]) -> dict[str, Any]:
    from backend.workloads.tasks.edm.misinformation import detect

    return detect(asked)


def rehearse() -> None:
    """Load the matcher and compile its patterns."""
    from backend.workloads.tasks.edm.matching import KnownClaims
    from backend.workloads.tasks.edm.sentences import sentences_of
    from backend.workloads.tasks.edm.speech import speech_of

    speech_of(sentences_of("Most cats have more legs than two.")[0].text.lower())
    KnownClaims([(1, "Cats have four legs.")]).match("Most cats do not have more legs than two.")


def add_evidence(session: Session, _lease: Lease, _asked: Asked, result: Misinformation) -> None:
    """What the reviews say: the child was given their claims alone."""
    evidence = read_evidence(session, {one.evidence.id for one in result.findings})
    for one in result.findings:
        one.evidence.explanation, one.evidence.sources = evidence.get(one.evidence.id, ("", []))


TASK = TaskType(
    name="edm_detect_misinformation",
    title="Hold claims against reviews",
    description="Looks for sentences that repeat or contradict a claim of the knowledge base, and"
    " names the review and its sources.",
    queue=EDM_ANALYSIS,
    parameters=DetectMisinformation,
    result=Misinformation,
    run=run,
    gather=gather,
    save=add_evidence,
    subject="one",
    rehearse=rehearse,
)
