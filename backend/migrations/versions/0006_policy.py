"""Policy as versions; one word for what is in force; which rules made a verdict.

Revision 0006, after 0005.

Rows that were judged before name no rule, and another digest: they are judged again when they are
asked for.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from backend.workloads.packages.policies.reading import default_source, read_policy

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NEWEST = "FROM policy_versions WHERE effective_at IS NOT NULL ORDER BY id DESC LIMIT 1"
FOUR_EYES = f"""
CREATE OR REPLACE FUNCTION four_eyes_required() RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT coalesce((SELECT (document ->> 'four_eyes')::boolean {NEWEST}), true)
$$
"""
ALWAYS_FOUR_EYES = """
CREATE OR REPLACE FUNCTION four_eyes_required() RETURNS boolean LANGUAGE sql STABLE AS 'SELECT true'
"""

# One at a time: each sees what the one before it changed.
STATE = f"""
CREATE FUNCTION policy_state_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('policy', 0));
  INSERT INTO policy_state AS known (mark, digest)
  SELECT hashtextextended(now_is.digest, 0), now_is.digest
  FROM (SELECT encode(sha256(convert_to(
      coalesce((SELECT digest {NEWEST}), '') || coalesce((
        SELECT string_agg(chr(10) || identifier || '=' || status, '' ORDER BY identifier COLLATE "C")
        FROM supported_licenses), ''), 'UTF8')), 'hex') AS digest) now_is
  ON CONFLICT (single) DO UPDATE SET mark = excluded.mark, digest = excluded.digest
  WHERE known.digest <> excluded.digest;
  RETURN NULL;
END $$
"""  # noqa: S608 - constants of this module
UNCHANGING = """
CREATE FUNCTION policy_versions_unchanging() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.effective_at IS NULL AND OLD.seconded_by IS NULL
      AND to_jsonb(NEW) - '{seconded_by,seconded_at,effective_at}'::text[]
        = to_jsonb(OLD) - '{seconded_by,seconded_at,effective_at}'::text[] THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'a policy version stays as it is: propose another one'
    USING ERRCODE = 'check_violation', CONSTRAINT = 'policy_versions_unchanging';
END $$
"""
BY_ADMINS = """
CREATE FUNCTION policy_versions_by_admins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (
    SELECT FROM unnest(ARRAY[NEW.proposed_by, NEW.seconded_by]) AS person(id)
    WHERE person.id IS NOT NULL AND NOT EXISTS (
      SELECT FROM users u WHERE u.id = person.id AND u.active AND u.role = 'admin')) THEN
    RAISE EXCEPTION 'a policy is proposed and seconded by active admins'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'policy_versions_by_admins';
  END IF;
  IF NEW.effective_at IS NOT NULL AND NEW.based_on IS NOT NULL AND NOT EXISTS (
    SELECT FROM policy_versions WHERE id = NEW.based_on AND effective_at IS NOT NULL) THEN
    RAISE EXCEPTION 'a policy comes into force after the one that it is based on'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'policy_versions_by_admins';
  END IF;
  RETURN NEW;
END $$
"""
TRIGGERS = (
    """
    CREATE TRIGGER policy_versions_unchanging BEFORE UPDATE OR DELETE ON policy_versions
    FOR EACH ROW EXECUTE FUNCTION policy_versions_unchanging()
    """,
    """
    CREATE TRIGGER policy_versions_by_admins BEFORE INSERT OR UPDATE ON policy_versions
    FOR EACH ROW EXECUTE FUNCTION policy_versions_by_admins()
    """,
    """
    CREATE TRIGGER policy_versions_state AFTER INSERT OR UPDATE OR DELETE ON policy_versions
    FOR EACH STATEMENT EXECUTE FUNCTION policy_state_kept()
    """,
    """
    CREATE TRIGGER supported_licenses_state
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON supported_licenses
    FOR EACH STATEMENT EXECUTE FUNCTION policy_state_kept()
    """,
)
TIERS = "status IN ('always_allowed', 'allowed', 'avoid', 'blocked')"


def upgrade() -> None:
    create_versions()
    create_state()
    create_licence_proposals()
    for statement in (STATE, UNCHANGING, BY_ADMINS, *TRIGGERS, FOUR_EYES):
        op.execute(statement)
    ship()
    op.add_column("package_status", sa.Column("rulings", postgresql.JSONB(), nullable=True))
    op.add_column(
        "package_status", sa.Column("verdict_until", sa.DateTime(timezone=True), nullable=True)
    )


def seconded(table: str) -> list[sa.schema.SchemaItem]:
    people = ("proposed_by", "seconded_by")
    return [
        *(
            sa.ForeignKeyConstraint([who], ["users.id"], name=op.f(f"fk_{table}_{who}_users"))
            for who in people
        ),
        sa.CheckConstraint(
            "num_nonnulls(seconded_by, seconded_at) IN (0, 2)", name=op.f(f"ck_{table}_seconded")
        ),
        sa.CheckConstraint("seconded_by <> proposed_by", name=op.f(f"ck_{table}_second_person")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    ]


def people(*, nullable: bool) -> list[sa.Column[object]]:
    moment = sa.DateTime(timezone=True)
    return [
        sa.Column("proposed_by", sa.BigInteger(), nullable=nullable),
        sa.Column("proposed_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("seconded_by", sa.BigInteger(), nullable=True),
        sa.Column("seconded_at", moment, nullable=True),
    ]


def create_versions() -> None:
    op.create_table(
        "policy_versions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("based_on", sa.BigInteger(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("document", postgresql.JSONB(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("loosens", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        *people(nullable=True),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "effective_at IS NULL OR cardinality(loosens) = 0 OR seconded_by IS NOT NULL",
            name=op.f("ck_policy_versions_loosening_seconded"),
        ),
        sa.CheckConstraint(
            "num_nonnulls(based_on, proposed_by) IN (0, 2)", name=op.f("ck_policy_versions_shipped")
        ),
        sa.ForeignKeyConstraint(
            ["based_on"],
            ["policy_versions.id"],
            name=op.f("fk_policy_versions_based_on_policy_versions"),
        ),
        *seconded("policy_versions"),
    )
    op.create_index(
        "uq_policy_versions_chain",
        "policy_versions",
        ["based_on"],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("effective_at IS NOT NULL"),
    )


def create_state() -> None:
    op.create_table(
        "policy_state",
        sa.Column("single", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("mark", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.CheckConstraint("single", name=op.f("ck_policy_state_single")),
        sa.PrimaryKeyConstraint("single", name=op.f("pk_policy_state")),
    )


def create_licence_proposals() -> None:
    op.create_table(
        "licence_proposals",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("replaces", sa.Text(), nullable=True),
        sa.Column("identifier", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("was", sa.Text(), nullable=True),
        *people(nullable=False),
        sa.CheckConstraint(TIERS, name=op.f("ck_licence_proposals_status")),
        *seconded("licence_proposals"),
    )


def ship() -> None:
    policy = read_policy(default_source())
    op.get_bind().execute(
        sa.text(
            "INSERT INTO policy_versions (digest, document, source, loosens, effective_at)"
            " VALUES (:digest, CAST(:document AS jsonb), :source, '{}', now())"
        ),
        {"digest": policy.digest, "document": policy.canonical(), "source": default_source()},
    )


def downgrade() -> None:
    for column in ("rulings", "verdict_until"):
        op.drop_column("package_status", column)
    op.execute(ALWAYS_FOUR_EYES)
    op.execute("DROP TRIGGER supported_licenses_state ON supported_licenses")
    for table in ("policy_versions", "policy_state", "licence_proposals"):
        op.drop_table(table)
    for function in (
        "policy_versions_by_admins",
        "policy_versions_unchanging",
        "policy_state_kept",
    ):
        op.execute(f"DROP FUNCTION {function}()")
