"""Which rows of the webhooks workload a retention policy may delete."""

from backend.upkeep import by_age

RETENTION = (
    by_age(
        "events",
        "Events that were passed on and whose deliveries have ended, with these deliveries; by when"
        " they happened. After 30 days they go without any policy.",
        table="events",
        age="created_at",
        where="dispatched_at IS NOT NULL AND NOT EXISTS ("
        "SELECT FROM webhook_deliveries d WHERE d.event_id = events.id"
        " AND d.status IN ('pending', 'delivering'))",
    ),
)
