"""Deletes rows by their age, as a policy says."""

from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from backend.identity.roles import Role
from backend.queue.pipeline import Isolation
from backend.workloads.tasks.lifecycle import MAINTENANCE
from backend.workloads.tasks.maintenance.offered import retained
from backend.workloads.tasks.registry import Asked, Parameters, TaskType
from backend.workloads.tasks.tools import Tools

Days = Annotated[int, Field(ge=1, le=36_500)]


def _kinds(schema: dict[str, Any]) -> None:
    """Which there are, and what each is."""
    policy = schema["properties"]["policy"]
    days = policy.pop("additionalProperties")
    policy["additionalProperties"] = False
    policy["properties"] = {
        name: {**days, "title": name, "description": kind.meaning}
        for name, kind in retained().items()
    }


class EnforceRetentionPolicy(Parameters):
    """For each kind of rows, after how many days they go; kinds that are left out stay."""

    model_config = ConfigDict(json_schema_extra=_kinds)

    policy: dict[str, Days] = Field(
        min_length=1, title="Policy", description="Days by kind; the audit log is archived instead."
    )
    dry_run: bool = Field(False, title="Dry run", description="Only count what would go.")

    @field_validator("policy")
    @classmethod
    def _known(cls, policy: dict[str, int]) -> dict[str, int]:
        if unknown := sorted(policy.keys() - retained().keys()):
            raise ValueError(
                f"there is no kind {unknown[0][:64]!r}: there are {', '.join(retained())}"
            )
        return policy


class Deleted(BaseModel):
    """Of one kind."""

    kind: str
    days: int
    before: AwareDatetime = Field(title="Before", description="Older rows were looked for.")
    old: int = Field(ge=0, title="Old", description="Rows that were older, and may be deleted.")
    deleted: int = Field(ge=0, title="Deleted", description="None in a dry run.")


class RetentionEnforced(BaseModel):
    """What was deleted, by kind."""

    dry_run: bool
    kinds: list[Deleted]
    deleted: int = Field(ge=0)


def run(asked: Asked, tools: Tools) -> dict[str, Any]:
    from dataclasses import asdict

    from backend.workloads.tasks.maintenance.retention import enforce

    wanted = EnforceRetentionPolicy.model_validate(asked.parameters)
    known, share = retained(), 99 / len(wanted.policy)
    kinds = [
        enforce(
            tools.sessions,
            known[name],
            days=days,
            dry_run=wanted.dry_run,
            task=asked.task_id,
            begin=number * share,
            share=share,
        )
        for number, (name, days) in enumerate(sorted(wanted.policy.items()))
    ]
    return {
        "dry_run": wanted.dry_run,
        "kinds": [asdict(kind) for kind in kinds],
        "deleted": sum(kind.deleted for kind in kinds),
    }


TASK = TaskType(
    name="enforce_retention_policy",
    title="Enforce a retention policy",
    description="Deletes rows that are older than the policy says, a thousand at a time and"
    " beside running work.",
    queue=MAINTENANCE,
    parameters=EnforceRetentionPolicy,
    result=RetentionEnforced,
    run=run,
    subject="none",
    role=Role.ADMIN,
    isolation=Isolation.THREAD,
)
