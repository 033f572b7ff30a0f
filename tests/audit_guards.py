"""What only the owner of the audit log's tables can do: set the guards aside."""

TABLES = ("audit_log", "audit_seals", "audit_checkpoints")
_GUARDS = (
    ("audit_log", "only_grows"),
    ("audit_log", "leaves_a_checkpoint"),
    ("audit_seals", "only_grows"),
    ("audit_seals", "leaves_a_checkpoint"),
    ("audit_seals", "follow"),
    ("audit_checkpoints", "only_grows"),
)


def unguarded(statement: str) -> str:
    """``statement``, which the guards do not see; to be sent as one message."""
    return "; ".join([_guards("DISABLE"), statement, _guards("ENABLE ALWAYS")])


def _guards(change: str) -> str:
    return "; ".join(
        f"ALTER TABLE {table} {change} TRIGGER {table}_{guard}" for table, guard in _GUARDS
    )


EMPTY = unguarded(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY")
