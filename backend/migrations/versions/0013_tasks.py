"""Tasks: the queue of them, what each was asked to do, and what came of it.

Revision 0013, after 0012.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# One that is taken is no longer the one that waits, whatever becomes of it: made ready again, it is
# in nobody's way.
TAKEN = """
CREATE FUNCTION task_is_taken() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.unique_key := NULL;
  RETURN NEW;
END $$;
CREATE TRIGGER task_is_taken BEFORE UPDATE OF status ON tasks FOR EACH ROW
WHEN (OLD.unique_key IS NOT NULL AND NEW.status <> 'pending')
EXECUTE FUNCTION task_is_taken()
"""


def upgrade() -> None:
    op.create_table(
        "tasks",
        sa.Column(
            "task_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False
        ),
        sa.Column("task_type", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("submitted_by", sa.BigInteger(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("request_digest", sa.LargeBinary(), nullable=True),
        sa.Column("unique_key", sa.LargeBinary(), nullable=True),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("fairness_key", sa.Text(), server_default="", nullable=False),
        sa.Column("progress", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("progress_message", sa.Text(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default="5", nullable=False),
        sa.Column(
            "available_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("max_attempts", sa.SmallInteger(), server_default="4", nullable=False),
        sa.Column("stalls", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("rewinds", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("step", sa.Text(), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("leased_by", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("progressed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("failed_from", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(completed_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))",
            name=op.f("ck_tasks_completed"),
        ),
        sa.CheckConstraint("failed_from IN ('pending')", name=op.f("ck_tasks_failed_from")),
        sa.CheckConstraint(
            "failure IN ('policy', 'permanent', 'exhausted', 'timeout', 'poison', 'cancelled', 'human')",
            name=op.f("ck_tasks_failure_word"),
        ),
        sa.CheckConstraint(
            "num_nonnulls(failure, failed_from) = CASE WHEN status IN ('failed', 'cancelled') THEN 2 ELSE 0 END",
            name=op.f("ck_tasks_failure"),
        ),
        sa.CheckConstraint(
            "num_nonnulls(lease_token, leased_by, lease_expires_at, heartbeat_at) = CASE WHEN status IN ('running') THEN 4 ELSE 0 END",
            name=op.f("ck_tasks_lease"),
        ),
        sa.CheckConstraint(
            "queue IN ('ari_analysis', 'ffe_planning', 'edm_analysis', 'model_training', 'maintenance', 'default')",
            name=op.f("ck_tasks_queue"),
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'running', 'completed', 'failed', 'cancelled')",
            name=op.f("ck_tasks_status"),
        ),
        sa.CheckConstraint(
            "(idempotency_key IS NULL) = (request_digest IS NULL)",
            name=op.f("ck_tasks_request_digest"),
        ),
        sa.CheckConstraint(
            "attempts >= 0 AND stalls >= 0 AND rewinds >= 0 AND max_attempts >= 1",
            name=op.f("ck_tasks_counters"),
        ),
        sa.CheckConstraint(
            "length(idempotency_key) BETWEEN 1 AND 255", name=op.f("ck_tasks_idempotency_key")
        ),
        sa.CheckConstraint(
            "length(request_digest) = 32 AND length(unique_key) = 32", name=op.f("ck_tasks_digests")
        ),
        sa.CheckConstraint("length(task_type) BETWEEN 1 AND 64", name=op.f("ck_tasks_task_type")),
        sa.CheckConstraint("priority BETWEEN 1 AND 10", name=op.f("ck_tasks_priority")),
        sa.CheckConstraint("progress BETWEEN 0 AND 100", name=op.f("ck_tasks_progress")),
        sa.ForeignKeyConstraint(
            ["submitted_by"], ["users.id"], name=op.f("fk_tasks_submitted_by_users")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_tasks_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
        sa.UniqueConstraint("task_id", name=op.f("uq_tasks_task_id")),
        postgresql_with={"fillfactor": 85},
    )
    op.create_index(
        "ix_tasks_ended",
        "tasks",
        ["completed_at", "id"],
        unique=False,
        postgresql_where=sa.text("completed_at IS NOT NULL"),
    )
    op.create_index(
        "ix_tasks_held",
        "tasks",
        ["id"],
        unique=False,
        postgresql_where=sa.text("status IN ('running')"),
    )
    op.create_index(
        "ix_tasks_not_done",
        "tasks",
        ["submitted_by", "id"],
        unique=False,
        postgresql_where=sa.text("status IN ('pending', 'running', 'failed', 'cancelled')"),
    )
    op.create_index("ix_tasks_submitted_by", "tasks", ["submitted_by", "id"], unique=False)
    op.create_index(
        "ix_tasks_tasks_dead",
        "tasks",
        ["completed_at", "id"],
        unique=False,
        postgresql_where=sa.text(
            "failed_from IN ('pending') AND failure IN ('permanent', 'exhausted', 'timeout', 'poison')"
        ),
    )
    op.create_index(
        "ix_tasks_tasks_ready",
        "tasks",
        ["queue", "priority", "fairness_key", "available_at", "id"],
        unique=False,
        postgresql_where=sa.text("status IN ('pending') AND stalls < 2"),
    )
    op.create_index(
        "ix_tasks_tasks_suspect",
        "tasks",
        ["available_at", "id"],
        unique=False,
        postgresql_where=sa.text("status IN ('pending') AND stalls >= 2"),
    )
    op.create_index("ix_tasks_user_id", "tasks", ["user_id", "id"], unique=False)
    op.create_index(
        "ux_tasks_idempotency_key",
        "tasks",
        ["submitted_by", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "ux_tasks_unique_key",
        "tasks",
        ["unique_key"],
        unique=True,
        postgresql_where=sa.text("unique_key IS NOT NULL AND status = 'pending'"),
    )
    op.create_table(
        "task_inputs",
        sa.Column("task", sa.BigInteger(), nullable=False),
        sa.Column(
            "parameters", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "num_nonnulls(parameters, sealed) = 1", name=op.f("ck_task_inputs_parameters")
        ),
        sa.ForeignKeyConstraint(
            ["task"], ["tasks.id"], name=op.f("fk_task_inputs_task_tasks"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("task", name=op.f("pk_task_inputs")),
    )
    op.create_table(
        "task_results",
        sa.Column("task", sa.BigInteger(), nullable=False),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["task"], ["tasks.id"], name=op.f("fk_task_results_task_tasks"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("task", name=op.f("pk_task_results")),
    )
    op.create_index("ix_task_results_expires_at", "task_results", ["expires_at"], unique=False)
    op.execute(TAKEN)


def downgrade() -> None:
    for table in ("task_results", "task_inputs", "tasks"):
        op.drop_table(table)
    op.execute("DROP FUNCTION task_is_taken()")
