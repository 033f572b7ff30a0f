"""Waivers: two people bear one finding or licence of one package, for a while.

Revision 0010, after 0009.

Who authored a waiver that a verdict rests on approves nothing by it, where four eyes are required.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TIMESTAMP = sa.DateTime(timezone=True)
NOW = sa.text("now()")
RESTING = "ix_package_status_waived"

REQUESTED = """
    SELECT FROM request_packages w JOIN requests r ON r.id = w.request_id
    WHERE w.artifact_id = $1 AND r.requestor_id = $2
"""
AUTHORED = """
    SELECT FROM package_status s JOIN waivers v ON v.id = ANY (s.waivers)
    WHERE s.artifact_id = $1 AND v.proposed_by = $2
"""
MAY_APPROVE = f"""
CREATE OR REPLACE FUNCTION may_approve(artifact bigint, person bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT decides($2) AND NOT (
    four_eyes_required() AND (EXISTS ({REQUESTED}) OR EXISTS ({AUTHORED})))
$$
"""
MIGHT_APPROVE = f"""
CREATE OR REPLACE FUNCTION may_approve(artifact bigint, person bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT decides($2) AND NOT (four_eyes_required() AND EXISTS ({REQUESTED}))
$$
"""

# What happens to a waiver happens once; all else stays as it was proposed.
UNCHANGING = """
CREATE FUNCTION waivers_unchanging() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  happens CONSTANT text[] :=
    '{seconded_by,seconded_at,applied_at,revoked_by,revoked_at,revoked_because,ended_at}';
BEGIN
  IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - happens = to_jsonb(OLD) - happens
      AND jsonb_strip_nulls(to_jsonb(NEW)) @> jsonb_strip_nulls(to_jsonb(OLD)) THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'a waiver stays as it was proposed: revoke it, and propose another one'
    USING ERRCODE = 'check_violation', CONSTRAINT = 'waivers_unchanging';
END $$
"""
BY_ADMINS = """
CREATE FUNCTION waivers_by_admins() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  people bigint[] := ARRAY[NEW.proposed_by, NEW.seconded_by, NEW.revoked_by];
BEGIN
  IF TG_OP = 'UPDATE' THEN
    people := ARRAY[
      CASE WHEN OLD.seconded_by IS DISTINCT FROM NEW.seconded_by THEN NEW.seconded_by END,
      CASE WHEN OLD.revoked_by IS DISTINCT FROM NEW.revoked_by THEN NEW.revoked_by END];
    IF OLD.seconded_by IS NULL AND NEW.seconded_by IS NOT NULL AND OLD.revoked_at IS NOT NULL THEN
      RAISE EXCEPTION 'a waiver that was revoked is not seconded any more'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'waivers_by_admins';
    END IF;
  END IF;
  IF EXISTS (
    SELECT FROM unnest(people) AS person(id)
    WHERE person.id IS NOT NULL AND NOT EXISTS (
      SELECT FROM users u WHERE u.id = person.id AND u.active AND u.role = 'admin')) THEN
    RAISE EXCEPTION 'a waiver is proposed, seconded and revoked by active admins'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'waivers_by_admins';
  END IF;
  RETURN NEW;
END $$
"""
TRIGGERS = (
    """
    CREATE TRIGGER waivers_unchanging BEFORE UPDATE OR DELETE ON waivers
    FOR EACH ROW EXECUTE FUNCTION waivers_unchanging()
    """,
    """
    CREATE TRIGGER waivers_by_admins BEFORE INSERT OR UPDATE ON waivers
    FOR EACH ROW EXECUTE FUNCTION waivers_by_admins()
    """,
)
RULES = {
    "one_matter": "num_nonnulls(finding, licence) = 1",
    "component": "component IS NULL OR finding IS NOT NULL",
    "no_malware": "finding NOT ILIKE 'MAL-%'",
    "not_everything": "name <> '' AND trim(range) NOT IN ('', '*')",
    "expires": "expires_at > proposed_at AND expires_at - proposed_at <= interval '180 days'",
    "seconded": "num_nonnulls(seconded_by, seconded_at) IN (0, 2)",
    "second_person": "seconded_by <> proposed_by",
    "seconded_in_time": "seconded_at < expires_at",
    "revoked": "num_nonnulls(revoked_by, revoked_at, revoked_because) IN (0, 3)",
    "acted_upon": "num_nonnulls(applied_at, ended_at) = 0 OR seconded_at IS NOT NULL",
}


def upgrade() -> None:
    # The index is built outside the transaction, so first, and its column must be there by then:
    # both may be done again.
    op.execute("ALTER TABLE package_status ADD COLUMN IF NOT EXISTS waivers bigint[]")
    with op.get_context().autocommit_block():
        # What a build that was broken off leaves behind has the name, and is not used.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {RESTING}")
        op.execute(
            f"CREATE INDEX CONCURRENTLY {RESTING} ON package_status (id) WHERE waivers IS NOT NULL"
        )
    create_waivers()
    create_flags()
    for statement in (UNCHANGING, BY_ADMINS, *TRIGGERS, MAY_APPROVE):
        op.execute(statement)


def create_waivers() -> None:
    people = ("proposed_by", "seconded_by", "revoked_by")
    op.create_table(
        "waivers",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("ecosystem", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("range", sa.Text(), nullable=False),
        sa.Column("finding", sa.Text(), nullable=True),
        sa.Column("component", sa.Text(), nullable=True),
        sa.Column("licence", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("proposed_by", sa.BigInteger(), nullable=False),
        sa.Column("proposed_at", TIMESTAMP, server_default=NOW, nullable=False),
        sa.Column("expires_at", TIMESTAMP, nullable=False),
        sa.Column("seconded_by", sa.BigInteger(), nullable=True),
        sa.Column("seconded_at", TIMESTAMP, nullable=True),
        sa.Column("applied_at", TIMESTAMP, nullable=True),
        sa.Column("revoked_by", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", TIMESTAMP, nullable=True),
        sa.Column("revoked_because", sa.Text(), nullable=True),
        sa.Column("ended_at", TIMESTAMP, nullable=True),
        *(
            sa.CheckConstraint(rule, name=op.f(f"ck_waivers_{name}"))
            for name, rule in RULES.items()
        ),
        *(
            sa.ForeignKeyConstraint([who], ["users.id"], name=op.f(f"fk_waivers_{who}_users"))
            for who in people
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_waivers")),
    )
    op.create_index(
        "ix_waivers_package",
        "waivers",
        ["ecosystem", "name"],
        postgresql_where=sa.text("seconded_at IS NOT NULL AND revoked_at IS NULL"),
    )
    op.create_index(
        "ix_waivers_due",
        "waivers",
        ["expires_at"],
        postgresql_where=sa.text("seconded_at IS NOT NULL AND ended_at IS NULL"),
    )


def create_flags() -> None:
    references = {"artifact_id": "artifacts", "waiver_id": "waivers", "covered_by": "waivers"}
    op.create_table(
        "waiver_flags",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("artifact_id", sa.BigInteger(), nullable=False),
        sa.Column("waiver_id", sa.BigInteger(), nullable=False),
        sa.Column("since", TIMESTAMP, server_default=NOW, nullable=False),
        sa.Column("covered_by", sa.BigInteger(), nullable=True),
        *(
            sa.ForeignKeyConstraint(
                [column], [f"{table}.id"], name=op.f(f"fk_waiver_flags_{column}_{table}")
            )
            for column, table in references.items()
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_waiver_flags")),
    )
    op.create_index(
        "uq_waiver_flags_once", "waiver_flags", ["artifact_id", "waiver_id"], unique=True
    )
    for column in ("waiver_id", "covered_by"):
        op.create_index(op.f(f"ix_waiver_flags_{column}"), "waiver_flags", [column])


def downgrade() -> None:
    op.execute(MIGHT_APPROVE)
    op.drop_table("waiver_flags")
    op.drop_table("waivers")
    for function in ("waivers_by_admins", "waivers_unchanging"):
        op.execute(f"DROP FUNCTION {function}()")
    op.drop_index(RESTING, table_name="package_status")
    op.drop_column("package_status", "waivers")
