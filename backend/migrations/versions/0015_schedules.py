"""Schedules of tasks, and tasks that are nobody's but the product's own.

Revision 0015, after 0014.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# What the product does for itself. Caches are made again, and statistics are only read; what is
# moved out of the audit log needs a folder, so that an operator is to resume that.
OWN = """
INSERT INTO schedules (name, task_type, parameters, priority, cron, next_fire_at)
VALUES
  ('cleanup-cache', 'cleanup_cache', '{}', 3, '17 3 * * *',
   (date_trunc('day', now() AT TIME ZONE 'UTC') + interval '27 hours 17 minutes') AT TIME ZONE 'UTC'),
  ('maintain-database', 'maintain_database', '{}', 3, '37 3 * * *',
   (date_trunc('day', now() AT TIME ZONE 'UTC') + interval '27 hours 37 minutes') AT TIME ZONE 'UTC'),
  ('archive-audit-logs', 'archive_audit_logs', '{}', 3, '57 3 1 * *', NULL)
"""


def upgrade() -> None:
    op.alter_column("tasks", "submitted_by", existing_type=sa.BigInteger(), nullable=True)
    op.create_check_constraint(
        op.f("ck_tasks_own"),
        "tasks",
        "submitted_by IS NOT NULL OR num_nonnulls(user_id, idempotency_key) = 0",
        postgresql_not_valid=True,
    )
    op.execute("ALTER TABLE tasks VALIDATE CONSTRAINT ck_tasks_own")
    op.create_table(
        "schedules",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_by", sa.BigInteger(), nullable=True),
        sa.Column("task_type", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("parameters", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("priority", sa.SmallInteger(), server_default="5", nullable=False),
        sa.Column("unique_pending", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), server_default="UTC", nullable=False),
        sa.Column("catch_up", sa.Text(), server_default="one", nullable=False),
        sa.Column("next_fire_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "moved_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("last_fired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "catch_up IN ('one', 'all', 'none')", name=op.f("ck_schedules_catch_up")
        ),
        sa.CheckConstraint("name ~ '^[a-z][a-z0-9._-]{0,63}$'", name=op.f("ck_schedules_name")),
        sa.CheckConstraint(
            "created_by IS NOT NULL OR user_id IS NULL", name=op.f("ck_schedules_own")
        ),
        sa.CheckConstraint("length(cron) BETWEEN 9 AND 100", name=op.f("ck_schedules_cron")),
        sa.CheckConstraint(
            "length(task_type) BETWEEN 1 AND 64", name=op.f("ck_schedules_task_type")
        ),
        sa.CheckConstraint("length(timezone) BETWEEN 1 AND 64", name=op.f("ck_schedules_timezone")),
        sa.CheckConstraint(
            "num_nonnulls(parameters, sealed) = 1", name=op.f("ck_schedules_parameters")
        ),
        sa.CheckConstraint("priority BETWEEN 1 AND 10", name=op.f("ck_schedules_priority")),
        sa.ForeignKeyConstraint(
            ["created_by"], ["users.id"], name=op.f("fk_schedules_created_by_users")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_schedules_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
    )
    op.create_index("ix_schedules_created_by", "schedules", ["created_by", "id"], unique=False)
    op.create_index(
        "ix_schedules_moved_at",
        "schedules",
        ["moved_at"],
        unique=False,
        postgresql_where=sa.text("next_fire_at IS NOT NULL"),
    )
    op.create_index("ix_schedules_next_fire_at", "schedules", ["next_fire_at"], unique=False)
    op.create_index(
        "ix_schedules_user_id",
        "schedules",
        ["user_id"],
        unique=False,
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )
    op.create_index(
        "ux_schedules_name",
        "schedules",
        [sa.literal_column("coalesce(created_by, 0)"), "name"],
        unique=True,
    )
    op.create_table(
        "schedule_fires",
        sa.Column("schedule_id", sa.BigInteger(), nullable=False),
        sa.Column("fire_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("task_row", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("fired_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(outcome = 'refused') = (reason IS NOT NULL)", name=op.f("ck_schedule_fires_reason")
        ),
        sa.CheckConstraint(
            "outcome IN ('submitted', 'waiting', 'skipped', 'refused')",
            name=op.f("ck_schedule_fires_outcome"),
        ),
        sa.CheckConstraint(
            "task_row IS NULL OR outcome IN ('submitted', 'waiting')",
            name=op.f("ck_schedule_fires_task_row"),
        ),
        sa.ForeignKeyConstraint(
            ["schedule_id"],
            ["schedules.id"],
            name=op.f("fk_schedule_fires_schedule_id_schedules"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["task_row"],
            ["tasks.id"],
            name=op.f("fk_schedule_fires_task_row_tasks"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("schedule_id", "fire_at", name=op.f("pk_schedule_fires")),
    )
    op.create_index(
        "ix_schedule_fires_task_row",
        "schedule_fires",
        ["task_row"],
        unique=False,
        postgresql_where=sa.text("task_row IS NOT NULL"),
    )
    op.execute(OWN)


def downgrade() -> None:
    op.drop_table("schedule_fires")
    op.drop_table("schedules")
    op.drop_constraint(op.f("ck_tasks_own"), "tasks")
    # An earlier release knows no task without a submitter.
    op.execute("DELETE FROM tasks WHERE submitted_by IS NULL")
    op.alter_column("tasks", "submitted_by", existing_type=sa.BigInteger(), nullable=False)
