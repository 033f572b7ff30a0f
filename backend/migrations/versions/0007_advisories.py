"""Advisories, and which artifacts they concern.

Revision 0007, after 0006.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BUNDLING = "ix_artifact_evidence_bundling"
SEVERITIES = "severity IN ('critical', 'high', 'medium', 'low', 'unknown')"
NOW = sa.text("now()")


def upgrade() -> None:
    # Outside the transaction, so first: what comes after it is done whole or not at all, and this
    # may be done again.
    with op.get_context().autocommit_block():
        create_bundling_index()
    create_imports()
    create_advisories()
    create_flags()


def downgrade() -> None:
    for table in ("advisory_flags", "advisory_packages", "advisories", "advisory_imports"):
        op.drop_table(table)
    op.drop_index(BUNDLING, table_name="artifact_evidence")


def create_bundling_index() -> None:
    # What a build that was broken off leaves behind has the name, and is not used.
    op.drop_index(
        BUNDLING, table_name="artifact_evidence", if_exists=True, postgresql_concurrently=True
    )
    op.create_index(
        BUNDLING,
        "artifact_evidence",
        ["artifact_id"],
        postgresql_where=sa.text("jsonb_array_length(inspection -> 'components') > 0"),
        postgresql_concurrently=True,
    )


def create_imports() -> None:
    counts = ("read", "added", "changed", "records", "checked", "raised", "lifted", "reopened")
    op.create_table(
        "advisory_imports",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("newest", sa.DateTime(timezone=True), nullable=True),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in counts),
        sa.Column("imported_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_advisory_imports")),
    )


def create_advisories() -> None:
    op.create_table(
        "advisories",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("aliases", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint(SEVERITIES, name=op.f("ck_advisories_severity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_advisories")),
    )
    op.create_index(op.f("ix_advisories_modified_at"), "advisories", ["modified_at"])
    op.create_table(
        "advisory_packages",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("advisory_id", sa.Text(), nullable=False),
        sa.Column("affected", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["advisory_id"],
            ["advisories.id"],
            name=op.f("fk_advisory_packages_advisory_id_advisories"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("name", "advisory_id", name=op.f("pk_advisory_packages")),
    )
    op.create_index(op.f("ix_advisory_packages_advisory_id"), "advisory_packages", ["advisory_id"])


def create_flags() -> None:
    op.create_table(
        "advisory_flags",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("artifact_id", sa.BigInteger(), nullable=False),
        sa.Column("advisory_id", sa.Text(), nullable=False),
        sa.Column("component", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("fixed", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lifted_because", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('malware', 'vulnerability', 'undetermined')",
            name=op.f("ck_advisory_flags_kind"),
        ),
        sa.CheckConstraint(SEVERITIES, name=op.f("ck_advisory_flags_severity")),
        sa.CheckConstraint(
            "lifted_because IN ('withdrawn', 'not affected', 'in the verdict', 'changed')",
            name=op.f("ck_advisory_flags_lifted_because"),
        ),
        sa.CheckConstraint(
            "(lifted_at IS NULL) = (lifted_because IS NULL)", name=op.f("ck_advisory_flags_lifted")
        ),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_advisory_flags_artifact_id_artifacts")
        ),
        sa.ForeignKeyConstraint(
            ["advisory_id"],
            ["advisories.id"],
            name=op.f("fk_advisory_flags_advisory_id_advisories"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_advisory_flags")),
    )
    op.create_index(op.f("ix_advisory_flags_advisory_id"), "advisory_flags", ["advisory_id"])
    op.create_index(
        "uq_advisory_flags_standing",
        "advisory_flags",
        ["artifact_id", "advisory_id", "component"],
        unique=True,
        postgresql_where=sa.text("lifted_at IS NULL"),
    )
