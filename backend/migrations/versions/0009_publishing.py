"""What was published, and where.

Revision 0009, after 0008.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TIMESTAMP = sa.DateTime(timezone=True)

# What failed there keeps its approval: it is told from a package that nobody approved by its step.
FAILED = """
CREATE FUNCTION package_status_publishing_failed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.step := 'Publishing';
  RETURN NEW;
END $$
"""
FAILING = """
CREATE TRIGGER package_status_publishing_failed BEFORE UPDATE ON package_status FOR EACH ROW
WHEN (OLD.status = 'Publishing' AND NEW.status = 'Rejected')
EXECUTE FUNCTION package_status_publishing_failed()
"""


def upgrade() -> None:
    create_publications()
    op.create_table(
        "publication_turns",
        sa.Column("ecosystem", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("row_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["row_id"],
            ["package_status.id"],
            name=op.f("fk_publication_turns_row_id_package_status"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("ecosystem", "name", name=op.f("pk_publication_turns")),
    )
    op.create_index(op.f("ix_publication_turns_row_id"), "publication_turns", ["row_id"])
    op.execute(FAILED)
    op.execute(FAILING)


def create_publications() -> None:
    op.create_table(
        "publications",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("artifact_id", sa.BigInteger(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("integrity", sa.Text(), nullable=False),
        sa.Column("shasum", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=True),
        sa.Column("verdict_digest", sa.Text(), nullable=True),
        sa.Column("published_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.Column("taken_back", sa.Text(), nullable=True),
        sa.Column("taken_back_at", TIMESTAMP, nullable=True),
        sa.CheckConstraint(
            "taken_back IN ('deprecated', 'unpublished', 'absent')",
            name=op.f("ck_publications_taken_back"),
        ),
        sa.CheckConstraint(
            "num_nonnulls(taken_back, taken_back_at) IN (0, 2)",
            name=op.f("ck_publications_taken_back_at"),
        ),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_publications_artifact_id_artifacts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_publications")),
        sa.UniqueConstraint(
            "artifact_id", "target", name=op.f("uq_publications_artifact_id_target")
        ),
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER package_status_publishing_failed ON package_status")
    op.execute("DROP FUNCTION package_status_publishing_failed()")
    op.drop_table("publication_turns")
    op.drop_table("publications")
