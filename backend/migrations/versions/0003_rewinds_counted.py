"""Rewinds counted apart from attempts; what failed in processing can be listed by age.

Revision 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

DEAD = {"packages": "Requested", "package_publisher": "Approved"}


def upgrade() -> None:
    # Outside the transaction, so first: what comes after it is done whole or not at all, and this
    # may be done again.
    with op.get_context().autocommit_block():
        for queue, ready in DEAD.items():
            create_dead_index(queue, ready)
    op.add_column(
        "package_status",
        sa.Column("rewinds", sa.SmallInteger(), server_default="0", nullable=False),
    )
    replace_counters("attempts >= 0 AND stalls >= 0 AND rewinds >= 0 AND max_attempts >= 1")


def downgrade() -> None:
    replace_counters("attempts >= 0 AND stalls >= 0 AND max_attempts >= 1")
    op.drop_column("package_status", "rewinds")
    for queue in DEAD:
        op.drop_index(f"ix_package_status_{queue}_dead", table_name="package_status")


def create_dead_index(queue: str, ready: str) -> None:
    name = f"ix_package_status_{queue}_dead"
    # What a build that was broken off leaves behind has the name, and is not used.
    op.drop_index(name, table_name="package_status", if_exists=True, postgresql_concurrently=True)
    op.create_index(
        name,
        "package_status",
        ["completed_at", "id"],
        postgresql_where=sa.text(
            f"failed_from IN ('{ready}') AND failure IN ('permanent', 'exhausted', 'timeout', 'poison')"
        ),
        postgresql_concurrently=True,
    )


def replace_counters(rule: str) -> None:
    name = op.f("ck_package_status_counters")
    op.drop_constraint(name, "package_status", type_="check")
    op.create_check_constraint(name, "package_status", rule)
