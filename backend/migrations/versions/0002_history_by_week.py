"""Since when a worker's contact is steady; history in partitions of a week.

Revision 0002, after 0001.

The old lines are copied: attempts cannot end meanwhile (their settlements wait for the lock and are
repeated), while claims, commits and heartbeats go on.
"""

from datetime import datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = (
    "id, queue, row_id, token, worker, attempt, step, outcome, failure, error, started_at, ended_at"
)
WEEKS = """
    SELECT week AT TIME ZONE 'UTC', to_char(week AT TIME ZONE 'UTC', 'IYYY"_w"IW')
    FROM (SELECT date_trunc('week', ended_at, 'UTC') AS week FROM attempts_before
          UNION SELECT date_trunc('week', now(), 'UTC') + n * interval '7 days'
          FROM generate_series(0, 2) AS n) AS weeks
"""


def upgrade() -> None:
    set_aside()
    op.execute("CREATE SEQUENCE attempts_id_seq")
    create_attempts(
        sa.Column(
            "id",
            sa.BigInteger(),
            server_default=sa.text("nextval('attempts_id_seq')"),
            nullable=False,
        ),
        postgresql_partition_by="RANGE (ended_at)",
    )
    op.execute("ALTER SEQUENCE attempts_id_seq OWNED BY attempts.id")
    op.execute("CREATE TABLE attempts_default PARTITION OF attempts DEFAULT")
    for begins, name in op.get_bind().execute(sa.text(WEEKS)).all():
        create_week(name, begins)
    take_over()
    # It serves as the index on ended_at, too.
    op.create_primary_key("pk_attempts", "attempts", ["ended_at", "id"])
    op.create_index("ix_attempts_row", "attempts", ["queue", "row_id", "id"])
    # Last: workers beat while the lines are copied.
    op.add_column(
        "workers",
        sa.Column(
            "steady_since",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
    )


def downgrade() -> None:
    set_aside()
    create_attempts(sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False))
    take_over()
    op.create_primary_key("pk_attempts", "attempts", ["id"])
    op.create_index("ix_attempts_ended_at", "attempts", ["ended_at"])
    op.create_index("ix_attempts_row", "attempts", ["queue", "row_id", "id"])
    op.drop_column("workers", "steady_since")


def set_aside() -> None:
    op.execute("LOCK TABLE attempts IN ACCESS EXCLUSIVE MODE")
    op.execute("ALTER TABLE attempts RENAME TO attempts_before")
    op.execute("ALTER SEQUENCE attempts_id_seq RENAME TO attempts_before_id_seq")


def create_attempts(id_column: sa.Column[int], **options: str) -> None:
    """Without keys and indexes: those are cheaper to build once the lines are there."""
    op.create_table(
        "attempts",
        id_column,
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("row_id", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.Uuid(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("step", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('done', 'failed', 'retry', 'snoozed', 'released', 'died', 'stalled', 'cancelled')",
            name=op.f("ck_attempts_outcome"),
        ),
        **options,
    )


def create_week(name: str, begins: datetime) -> None:
    op.execute(
        f"CREATE TABLE attempts_{name} PARTITION OF attempts"
        f" FOR VALUES FROM ('{begins}+00') TO ('{begins + timedelta(days=7)}+00')"
    )


def take_over() -> None:
    op.execute(f"INSERT INTO attempts ({COLUMNS}) SELECT {COLUMNS} FROM attempts_before")  # noqa: S608 - constants
    op.execute(
        "SELECT setval('attempts_id_seq', last_value, is_called) FROM attempts_before_id_seq"
    )
    op.execute("DROP TABLE attempts_before")
