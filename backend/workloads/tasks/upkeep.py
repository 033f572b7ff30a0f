"""Which rows of the tasks workload a retention policy may delete."""

from backend.upkeep import by_age

RETENTION = (
    by_age(
        "tasks",
        "Tasks that have ended, with their parameters, results and idempotency keys; by when they"
        " ended.",
        table="tasks",
        age="completed_at",
        where="status IN ('completed', 'failed', 'cancelled')",
    ),
    by_age(
        "ari_snapshots",
        "ARI snapshots; by when they were taken.",
        table="ari_snapshots",
        age="taken_at",
    ),
    by_age(
        "interactions",
        "Interactions without an open debt, with their resolved ones; by when they took place.",
        table="interactions",
        age="occurred_at",
        where="NOT EXISTS (SELECT FROM debts d"
        " WHERE d.interaction_id = interactions.id AND d.status = 'open')",
    ),
    by_age(
        "resolved_debts",
        "Debts that are resolved; by when they were. An analysis that still reaches the interaction"
        " raises them anew.",
        table="debts",
        age="resolved_at",
        where="status = 'resolved'",
    ),
)
