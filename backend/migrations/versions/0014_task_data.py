"""The data that tasks work on: snapshots, goals, interactions, debts and reviewed claims.

Revision 0014, after 0013.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# Looked at when the transaction ends: a plan may be written, and replaced, in any order.
CHAINED = """
CREATE FUNCTION goal_blocks_are_chained() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  missing integer;
  written goal_blocks%ROWTYPE;
BEGIN
  written := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
  SELECT wanted INTO missing
  FROM goal_blocks block CROSS JOIN LATERAL unnest(block.depends_on) wanted
  WHERE block.goal_id = written.goal_id AND NOT EXISTS (
    SELECT FROM goal_blocks other
    WHERE other.goal_id = block.goal_id AND other.block_no = wanted
  )
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'block % of goal % is depended on, and is not there', missing, written.goal_id
    USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'goal_blocks_are_chained';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER goal_blocks_are_chained
AFTER INSERT OR DELETE OR UPDATE OF depends_on ON goal_blocks
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION goal_blocks_are_chained()
"""


def upgrade() -> None:
    op.create_table(
        "ari_snapshots",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "taken_at >= '1900-01-01T00:00:00Z' AND taken_at < '2200-01-01T00:00:00Z'",
            name=op.f("ck_ari_snapshots_taken_at_range"),
        ),
        sa.CheckConstraint(
            "value > '-Infinity' AND value < 'Infinity'", name=op.f("ck_ari_snapshots_value")
        ),
        sa.CheckConstraint(
            "length(metric) BETWEEN 1 AND 64", name=op.f("ck_ari_snapshots_metric_length")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_ari_snapshots_user_id_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ari_snapshots")),
        sa.UniqueConstraint(
            "user_id", "taken_at", "metric", name=op.f("uq_ari_snapshots_user_id_taken_at_metric")
        ),
    )
    op.create_index("ix_ari_snapshots_user_id", "ari_snapshots", ["user_id", "id"], unique=False)
    op.create_index("ix_ari_snapshots_taken_at", "ari_snapshots", ["taken_at", "id"], unique=False)
    op.create_table(
        "goals",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("complexity_level", sa.Text(), server_default="medium", nullable=False),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column("target_date", sa.Date(), nullable=True),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "complexity_level IN ('low', 'medium', 'high')", name=op.f("ck_goals_complexity_level")
        ),
        sa.CheckConstraint("status IN ('open', 'done', 'abandoned')", name=op.f("ck_goals_status")),
        sa.CheckConstraint(
            "target_date >= DATE '1900-01-01' AND target_date < DATE '2200-01-01'",
            name=op.f("ck_goals_target_date_range"),
        ),
        sa.CheckConstraint(
            "length(description) BETWEEN 0 AND 20000", name=op.f("ck_goals_description_length")
        ),
        sa.CheckConstraint(
            "length(external_id) BETWEEN 1 AND 200", name=op.f("ck_goals_external_id_length")
        ),
        sa.CheckConstraint("length(title) BETWEEN 1 AND 200", name=op.f("ck_goals_title_length")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_goals_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_goals")),
        sa.UniqueConstraint("user_id", "external_id", name=op.f("uq_goals_user_id_external_id")),
    )
    op.create_index("ix_goals_user_id", "goals", ["user_id", "id"], unique=False)
    op.create_table(
        "interactions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("citations", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "occurred_at >= '1900-01-01T00:00:00Z' AND occurred_at < '2200-01-01T00:00:00Z'",
            name=op.f("ck_interactions_occurred_at_range"),
        ),
        sa.CheckConstraint(
            "cardinality(citations) BETWEEN 0 AND 50 AND array_position(citations, NULL) IS NULL",
            name=op.f("ck_interactions_citations"),
        ),
        sa.CheckConstraint(
            "length(external_id) BETWEEN 1 AND 200", name=op.f("ck_interactions_external_id_length")
        ),
        sa.CheckConstraint(
            "length(source) BETWEEN 1 AND 200", name=op.f("ck_interactions_source_length")
        ),
        sa.CheckConstraint(
            "length(text) BETWEEN 1 AND 20000", name=op.f("ck_interactions_text_length")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_interactions_user_id_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_interactions")),
        sa.UniqueConstraint("id", "user_id", name=op.f("uq_interactions_id_user_id")),
        sa.UniqueConstraint(
            "user_id", "external_id", name=op.f("uq_interactions_user_id_external_id")
        ),
    )
    op.create_index("ix_interactions_user_id", "interactions", ["user_id", "id"], unique=False)
    op.create_index(
        "ix_interactions_occurred_at", "interactions", ["occurred_at", "id"], unique=False
    )
    op.create_index(
        "ux_interactions_said",
        "interactions",
        ["user_id", "occurred_at", sa.literal_column("md5(text)")],
        unique=True,
    )
    op.create_table(
        "reviewed_claims",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("claim", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("explanation", sa.Text(), nullable=False),
        sa.Column("sources", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("topic", sa.Text(), nullable=True),
        sa.Column("reviewed_by", sa.BigInteger(), nullable=False),
        sa.Column(
            "reviewed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "reviewed_at >= '1900-01-01T00:00:00Z' AND reviewed_at < '2200-01-01T00:00:00Z'",
            name=op.f("ck_reviewed_claims_reviewed_at_range"),
        ),
        sa.CheckConstraint(
            "verdict IN ('supported', 'refuted', 'misleading', 'unproven')",
            name=op.f("ck_reviewed_claims_verdict"),
        ),
        sa.CheckConstraint(
            "cardinality(sources) BETWEEN 1 AND 50 AND array_position(sources, NULL) IS NULL",
            name=op.f("ck_reviewed_claims_sources"),
        ),
        sa.CheckConstraint(
            "length(claim) BETWEEN 1 AND 2000", name=op.f("ck_reviewed_claims_claim_length")
        ),
        sa.CheckConstraint(
            "length(explanation) BETWEEN 1 AND 20000",
            name=op.f("ck_reviewed_claims_explanation_length"),
        ),
        sa.CheckConstraint(
            "length(topic) BETWEEN 1 AND 200", name=op.f("ck_reviewed_claims_topic_length")
        ),
        sa.ForeignKeyConstraint(
            ["reviewed_by"], ["users.id"], name=op.f("fk_reviewed_claims_reviewed_by_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviewed_claims")),
    )
    op.create_index(
        "ix_reviewed_claims_reviewed_by", "reviewed_claims", ["reviewed_by"], unique=False
    )
    op.create_index(
        "ux_reviewed_claims_claim",
        "reviewed_claims",
        [sa.literal_column("md5(claim)")],
        unique=True,
    )
    op.create_table(
        "debts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("interaction_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("sentence_digest", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column("resolution_method", sa.Text(), nullable=True),
        sa.Column("resolution_note", sa.Text(), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "kind IN ('unfalsifiable', 'unverified', 'vague')", name=op.f("ck_debts_kind")
        ),
        sa.CheckConstraint(
            "num_nonnulls(resolved_at, resolution_method) = CASE WHEN status = 'resolved' THEN 2 ELSE 0 END",
            name=op.f("ck_debts_resolved"),
        ),
        sa.CheckConstraint(
            "resolution_method IN ('verified', 'corrected', 'retracted', 'cited', 'clarified', 'dismissed')",
            name=op.f("ck_debts_resolution_method"),
        ),
        sa.CheckConstraint(
            "resolution_note IS NULL OR status = 'resolved'", name=op.f("ck_debts_note")
        ),
        sa.CheckConstraint(
            "resolved_at >= '1900-01-01T00:00:00Z' AND resolved_at < '2200-01-01T00:00:00Z'",
            name=op.f("ck_debts_resolved_at_range"),
        ),
        sa.CheckConstraint(
            "severity IN ('low', 'medium', 'high', 'critical')", name=op.f("ck_debts_severity")
        ),
        sa.CheckConstraint("status IN ('open', 'resolved')", name=op.f("ck_debts_status")),
        sa.CheckConstraint(
            "length(reason) BETWEEN 1 AND 2000", name=op.f("ck_debts_reason_length")
        ),
        sa.CheckConstraint(
            "length(resolution_note) BETWEEN 1 AND 2000",
            name=op.f("ck_debts_resolution_note_length"),
        ),
        sa.CheckConstraint(
            "length(sentence) BETWEEN 1 AND 20000", name=op.f("ck_debts_sentence_length")
        ),
        sa.CheckConstraint("length(sentence_digest) = 32", name=op.f("ck_debts_sentence_digest")),
        sa.ForeignKeyConstraint(
            ["interaction_id", "user_id"],
            ["interactions.id", "interactions.user_id"],
            name=op.f("fk_debts_interaction_id_user_id_interactions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_debts")),
        sa.UniqueConstraint(
            "interaction_id",
            "kind",
            "sentence_digest",
            name=op.f("uq_debts_interaction_id_kind_sentence_digest"),
        ),
    )
    op.create_index("ix_debts_user_id", "debts", ["user_id", "id"], unique=False)
    op.create_table(
        "goal_blocks",
        sa.Column("goal_id", sa.BigInteger(), nullable=False),
        sa.Column("block_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column(
            "depends_on", sa.ARRAY(sa.Integer()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("status", sa.Text(), server_default="todo", nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(status = 'done') = (done_at IS NOT NULL)", name=op.f("ck_goal_blocks_done_at")
        ),
        sa.CheckConstraint(
            "done_at >= '1900-01-01T00:00:00Z' AND done_at < '2200-01-01T00:00:00Z'",
            name=op.f("ck_goal_blocks_done_at_range"),
        ),
        sa.CheckConstraint(
            "status IN ('todo', 'doing', 'done')", name=op.f("ck_goal_blocks_status")
        ),
        sa.CheckConstraint(
            "array_position(depends_on, NULL) IS NULL AND 0 < ALL (depends_on) AND block_no > ALL (depends_on)",
            name=op.f("ck_goal_blocks_depends_on"),
        ),
        sa.CheckConstraint("block_no BETWEEN 1 AND 100", name=op.f("ck_goal_blocks_block_no")),
        sa.CheckConstraint(
            "length(description) BETWEEN 0 AND 20000",
            name=op.f("ck_goal_blocks_description_length"),
        ),
        sa.CheckConstraint(
            "length(title) BETWEEN 1 AND 200", name=op.f("ck_goal_blocks_title_length")
        ),
        sa.CheckConstraint("minutes BETWEEN 15 AND 90", name=op.f("ck_goal_blocks_minutes")),
        sa.ForeignKeyConstraint(
            ["goal_id"], ["goals.id"], name=op.f("fk_goal_blocks_goal_id_goals"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("goal_id", "block_no", name=op.f("pk_goal_blocks")),
    )
    op.execute(CHAINED)


def downgrade() -> None:
    for table in (
        "debts",
        "interactions",
        "goal_blocks",
        "goals",
        "ari_snapshots",
        "reviewed_claims",
    ):
        op.drop_table(table)
    op.execute("DROP FUNCTION goal_blocks_are_chained()")
