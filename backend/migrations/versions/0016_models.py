"""Text models and their training samples.

Revision 0016, after 0015.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

NOW = sa.text("now()")


def upgrade() -> None:
    op.create_table(
        "training_samples",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint("split IN ('train', 'test')", name=op.f("ck_training_samples_split")),
        sa.CheckConstraint(
            "length(model_name) BETWEEN 1 AND 64", name=op.f("ck_training_samples_model_name")
        ),
        sa.CheckConstraint(
            "length(label) BETWEEN 1 AND 64", name=op.f("ck_training_samples_label")
        ),
        sa.CheckConstraint(
            "length(text) BETWEEN 1 AND 10000", name=op.f("ck_training_samples_text")
        ),
        sa.CheckConstraint("length(digest) = 32", name=op.f("ck_training_samples_digest")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_training_samples_user_id_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_samples")),
        sa.UniqueConstraint(
            "user_id",
            "model_name",
            "digest",
            name=op.f("uq_training_samples_user_id_model_name_digest"),
        ),
    )
    op.create_index("ix_training_samples_user_id", "training_samples", ["user_id", "id"])
    op.create_table(
        "models",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("blob_key", sa.Text(), nullable=False),
        sa.Column("data_key", sa.LargeBinary(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("trained_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("task_row", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 64", name=op.f("ck_models_name")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_models_version")),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_models_sha256")),
        sa.CheckConstraint("size_bytes > 0", name=op.f("ck_models_size_bytes")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_models_user_id_users")),
        sa.ForeignKeyConstraint(
            ["task_row"], ["tasks.id"], name=op.f("fk_models_task_row_tasks"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint(
            "user_id", "name", "version", name=op.f("uq_models_user_id_name_version")
        ),
        sa.UniqueConstraint("blob_key", name=op.f("uq_models_blob_key")),
    )
    op.create_index("ix_models_user_id", "models", ["user_id", "id"])
    op.create_index(
        "ix_models_task_row",
        "models",
        ["task_row"],
        postgresql_where=sa.text("task_row IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("models")
    op.drop_table("training_samples")
