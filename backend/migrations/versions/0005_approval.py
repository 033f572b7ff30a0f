"""Decisions, and who may take them.

Revision 0005, after 0004.

``four_eyes_required`` and ``may_approve`` are functions of their own: what they rest on may change
without the triggers that ask them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_package_status_waiting": "package_status (id) WHERE status = 'Pending Approval'",
    "ix_artifact_evidence_components": (
        "artifact_evidence USING gin ((inspection -> 'components') jsonb_path_ops)"
    ),
}

FOUR_EYES = """
CREATE FUNCTION four_eyes_required() RETURNS boolean LANGUAGE sql STABLE AS 'SELECT true'
"""
DECIDES = """
CREATE FUNCTION decides(person bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (
    SELECT FROM users WHERE id = $1 AND active AND role IN ('approver', 'admin'))
$$
"""
MAY_APPROVE = """
CREATE FUNCTION may_approve(artifact bigint, person bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT decides($2) AND NOT (four_eyes_required() AND EXISTS (
    SELECT FROM request_packages w JOIN requests r ON r.id = w.request_id
    WHERE w.artifact_id = $1 AND r.requestor_id = $2))
$$
"""
APPROVED_DIGEST = """
CREATE FUNCTION approved_digest(artifact bigint) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT CASE decision WHEN 'approve' THEN verdict_digest END
  FROM decisions WHERE artifact_id = $1 ORDER BY id DESC LIMIT 1
$$
"""

# A publish that failed keeps its approval, whatever has become of who gave it.
APPROVED = """
CREATE FUNCTION package_status_approved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  last record;
  failed_publish boolean := TG_OP = 'UPDATE';
BEGIN
  SELECT decision, decided_by, verdict_digest INTO last
  FROM decisions WHERE artifact_id = NEW.artifact_id ORDER BY id DESC LIMIT 1;
  IF failed_publish THEN
    failed_publish := coalesce(OLD.failed_from = 'Approved', false);
  END IF;
  IF NEW.recall IS NOT NULL AND last.decision = 'recall' THEN
    RETURN NEW;
  END IF;
  IF coalesce(NEW.recall IS NULL AND last.decision = 'approve'
      AND last.verdict_digest = NEW.verdict_digest
      AND (failed_publish OR may_approve(NEW.artifact_id, last.decided_by)), false) THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'package_status %: nobody who may has approved this verdict', NEW.id
    USING ERRCODE = 'check_violation', CONSTRAINT = 'package_status_approved';
END $$
"""

# The publisher's queue has one word for "done"; what it did is known here.
RECALLED = """
CREATE FUNCTION package_status_recalled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.status = 'Approved' AND NEW.status = 'Publishing' THEN
    NEW.recall := 'running';
  ELSIF OLD.status = 'Publishing' AND NEW.status = 'Published' AND OLD.recall = 'running' THEN
    NEW.status := 'Recalled';
    NEW.recall := NULL;
  ELSIF OLD.status = 'Publishing' AND NEW.status = 'Published' THEN
    -- Recalled while it was being published: now it can be taken back.
    NEW.status := 'Approved';
    NEW.available_at := now();
    NEW.completed_at := NULL;
    NEW.attempts := 0;
    NEW.step := NULL;
  ELSIF OLD.status = 'Publishing' THEN
    NEW.recall := 'asked';
  END IF;
  RETURN NEW;
END $$
"""
UNCHANGING = """
CREATE FUNCTION decisions_unchanging() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a decision stays as it was taken: take another one'
    USING ERRCODE = 'check_violation', CONSTRAINT = 'decisions_unchanging';
END $$
"""
BY_SOMEBODY = """
CREATE FUNCTION decisions_by_somebody_who_may() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF decides(NEW.decided_by) THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'user % is no active approver or admin', NEW.decided_by
    USING ERRCODE = 'check_violation', CONSTRAINT = 'decisions_by_somebody_who_may';
END $$
"""
TRIGGERS = (
    """
    CREATE TRIGGER package_status_approved BEFORE UPDATE ON package_status FOR EACH ROW
    WHEN (NEW.status IN ('Approved', 'Publishing', 'Published')
      AND OLD.status NOT IN ('Approved', 'Publishing', 'Published'))
    EXECUTE FUNCTION package_status_approved()
    """,
    """
    CREATE TRIGGER package_status_approved_at_once BEFORE INSERT ON package_status FOR EACH ROW
    WHEN (NEW.status IN ('Approved', 'Publishing', 'Published'))
    EXECUTE FUNCTION package_status_approved()
    """,
    """
    CREATE TRIGGER package_status_recalled BEFORE UPDATE ON package_status FOR EACH ROW
    WHEN (OLD.recall IS NOT NULL AND NEW.status <> OLD.status)
    EXECUTE FUNCTION package_status_recalled()
    """,
    """
    CREATE TRIGGER decisions_unchanging BEFORE UPDATE OR DELETE ON decisions FOR EACH ROW
    EXECUTE FUNCTION decisions_unchanging()
    """,
    """
    CREATE TRIGGER decisions_by_somebody_who_may BEFORE INSERT ON decisions FOR EACH ROW
    EXECUTE FUNCTION decisions_by_somebody_who_may()
    """,
)
RECALL = """
recall IS NULL OR recall = 'asked' AND status IN ('Approved', 'Publishing', 'Rejected')
 OR recall = 'running' AND status = 'Publishing'
"""


def upgrade() -> None:
    # Outside the transaction, so first: what comes after it is done whole or not at all, and this
    # may be done again.
    with op.get_context().autocommit_block():
        for name, what in INDEXES.items():
            # What a build that was broken off leaves behind has the name, and is not used.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {what}")
    op.add_column("package_status", sa.Column("verdict_digest", sa.Text(), nullable=True))
    op.add_column("package_status", sa.Column("recall", sa.Text(), nullable=True))
    op.create_check_constraint(op.f("ck_package_status_recall"), "package_status", RECALL)
    create_denied_packages()
    for statement in (FOUR_EYES, DECIDES, MAY_APPROVE, APPROVED_DIGEST, APPROVED, RECALLED):
        op.execute(statement)
    for statement in (UNCHANGING, BY_SOMEBODY, *TRIGGERS):
        op.execute(statement)


def create_denied_packages() -> None:
    op.create_table(
        "denied_packages",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("ecosystem", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("range", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("denied_by", sa.BigInteger(), nullable=False),
        sa.Column(
            "denied_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("lifted_by", sa.BigInteger(), nullable=True),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "num_nonnulls(lifted_by, lifted_at) IN (0, 2)", name=op.f("ck_denied_packages_lifted")
        ),
        sa.CheckConstraint("lifted_by <> denied_by", name=op.f("ck_denied_packages_second_person")),
        sa.ForeignKeyConstraint(
            ["denied_by"], ["users.id"], name=op.f("fk_denied_packages_denied_by_users")
        ),
        sa.ForeignKeyConstraint(
            ["lifted_by"], ["users.id"], name=op.f("fk_denied_packages_lifted_by_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_denied_packages")),
    )
    op.create_index(
        "uq_denied_packages_in_force",
        "denied_packages",
        ["ecosystem", "name", "range"],
        unique=True,
        postgresql_where=sa.text("lifted_at IS NULL"),
    )


def downgrade() -> None:
    for trigger in ("approved", "approved_at_once", "recalled"):
        op.execute(f"DROP TRIGGER package_status_{trigger} ON package_status")
    for trigger in ("unchanging", "by_somebody_who_may"):
        op.execute(f"DROP TRIGGER decisions_{trigger} ON decisions")
    for function in (
        "decisions_by_somebody_who_may()",
        "decisions_unchanging()",
        "package_status_recalled()",
        "package_status_approved()",
        "approved_digest(bigint)",
        "may_approve(bigint, bigint)",
        "decides(bigint)",
        "four_eyes_required()",
    ):
        op.execute(f"DROP FUNCTION {function}")
    op.drop_table("denied_packages")
    op.drop_column("package_status", "recall")
    op.drop_column("package_status", "verdict_digest")
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
