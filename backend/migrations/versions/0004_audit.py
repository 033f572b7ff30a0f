"""The audit log is append-only, and chained; the names of those who acted lie apart from it.

Revision 0004, after 0003.

An actor has the number of its user: what is there, and what the release before writes meanwhile,
names the right one. Names that stand in old entries are taken out of them before they are sealed.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

XID = "CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
TIMESTAMP = sa.DateTime(timezone=True)

FOLLOW_USERS = """
CREATE FUNCTION audit_actors_follow_users() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
  CASE TG_OP
    WHEN 'INSERT' THEN
      INSERT INTO audit_actors (id, user_id, name) VALUES (NEW.id, NEW.id, NEW.username)
      ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id, name = excluded.name;
    WHEN 'UPDATE' THEN
      UPDATE audit_actors SET name = NEW.username WHERE user_id = NEW.id;
    ELSE
      UPDATE audit_actors SET name = 'erased-' || OLD.id, user_id = NULL WHERE user_id = OLD.id;
  END CASE;
  RETURN NULL;
END $$
"""
FOLLOWING = """
CREATE TRIGGER users_known_to_audit AFTER INSERT OR DELETE OR UPDATE OF username ON users
FOR EACH ROW EXECUTE FUNCTION audit_actors_follow_users()
"""
KNOWN_USERS = """
INSERT INTO audit_actors (id, user_id, name) SELECT id, id, username FROM users
ON CONFLICT DO NOTHING
"""
WITHOUT_NAMES = """
UPDATE audit_log SET actor = CASE WHEN actor_id IS NULL THEN actor ELSE '' END,
  detail = CASE action WHEN 'user.created' THEN detail - 'username' ELSE detail END
WHERE actor_id IS NOT NULL AND actor <> '' OR action = 'user.created' AND detail ? 'username'
"""

# The release before writes both.
NAMELESS = """
CREATE FUNCTION audit_log_nameless() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.actor := '';
  RETURN NEW;
END $$
"""
ONLY_GROWS = """
CREATE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% only grows: % is refused to everybody', TG_TABLE_NAME, TG_OP
    USING ERRCODE = 'insufficient_privilege', HINT = 'lockkeeper audit archive removes what is sealed and old.';
END $$
"""
LEAVES_A_CHECKPOINT = """
CREATE FUNCTION audit_leaves_a_checkpoint() RETURNS trigger LANGUAGE plpgsql
SET search_path = {schema}, pg_temp AS $$
DECLARE
  through bigint := (SELECT max(seal) FROM audit_checkpoints WHERE xid = {xid});
  others boolean := through IS NULL;
BEGIN
  IF others THEN
    NULL;
  ELSIF TG_TABLE_NAME = 'audit_seals' THEN
    others := EXISTS (SELECT FROM gone WHERE id > through);
  ELSE
    others := EXISTS (
      SELECT id FROM gone EXCEPT SELECT unnest(entries) FROM audit_seals WHERE id <= through);
  END IF;
  IF others THEN
    RAISE EXCEPTION '% only grows: DELETE is refused to everybody', TG_TABLE_NAME
      USING ERRCODE = 'insufficient_privilege', HINT = 'lockkeeper audit archive removes what is sealed and old.';
  END IF;
  RETURN NULL;
END $$
"""
FOLLOWS = """
CREATE FUNCTION audit_seals_follow() RETURNS trigger LANGUAGE plpgsql
SET search_path = {schema}, pg_temp AS $$
BEGIN
  IF NOT EXISTS (
    SELECT FROM (
      SELECT id, head, total FROM audit_seals
      UNION ALL SELECT seal, head, total FROM audit_checkpoints
      UNION ALL SELECT 0, decode(repeat('00', 32), 'hex'), 0
      ORDER BY id DESC LIMIT 1) AS last
    WHERE NEW.id = last.id + 1 AND NEW.previous = last.head
      AND NEW.total = last.total + cardinality(NEW.entries)) THEN
    RAISE EXCEPTION 'seal % does not follow the newest one', NEW.id
      USING ERRCODE = 'check_violation', CONSTRAINT = 'audit_seals_follow';
  END IF;
  RETURN NEW;
END $$
"""
OF_A_SEAL = """
CREATE FUNCTION audit_checkpoints_of_a_seal() RETURNS trigger LANGUAGE plpgsql
SET search_path = {schema}, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM audit_seals
                 WHERE id = NEW.seal AND head = NEW.head AND total = NEW.total) THEN
    RAISE EXCEPTION 'there is no seal % with this head', NEW.seal
      USING ERRCODE = 'check_violation', CONSTRAINT = 'audit_checkpoints_of_a_seal';
  END IF;
  RETURN NEW;
END $$
"""
ARCHIVE = """
CREATE FUNCTION audit_archive(
  seal bigint, head bytea, total bigint, made_at timestamptz, file_sha256 bytea,
  public_key bytea, signature bytea
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
  removed bigint;
BEGIN
  INSERT INTO audit_checkpoints VALUES ($1, $2, $3, $4, $5, $6, $7);
  -- As one array: nobody knows how many entries the seals have, and a join may be nested loops.
  DELETE FROM audit_log WHERE id = ANY (ARRAY(
    SELECT unnest(entries) FROM audit_seals WHERE audit_seals.id <= $1));
  GET DIAGNOSTICS removed = ROW_COUNT;
  DELETE FROM audit_seals WHERE id <= $1;
  RETURN removed;
END $$
"""
"""The one way to remove entries: a prefix that is sealed, in whose place a checkpoint stays."""

TRIGGERS = (
    """CREATE TRIGGER audit_log_nameless BEFORE INSERT ON audit_log FOR EACH ROW
    WHEN (NEW.actor_id IS NOT NULL AND NEW.actor <> '') EXECUTE FUNCTION audit_log_nameless()""",
    """CREATE TRIGGER audit_seals_follow BEFORE INSERT ON audit_seals FOR EACH ROW
    EXECUTE FUNCTION audit_seals_follow()""",
    """CREATE TRIGGER audit_checkpoints_of_a_seal BEFORE INSERT ON audit_checkpoints FOR EACH ROW
    EXECUTE FUNCTION audit_checkpoints_of_a_seal()""",
)
FUNCTIONS = {
    "audit_actors_follow_users()": FOLLOW_USERS,
    "audit_log_nameless()": NAMELESS,
    "audit_only_grows()": ONLY_GROWS,
    "audit_leaves_a_checkpoint()": LEAVES_A_CHECKPOINT,
    "audit_seals_follow()": FOLLOWS,
    "audit_checkpoints_of_a_seal()": OF_A_SEAL,
    "audit_archive(bigint, bytea, bigint, timestamptz, bytea, bytea, bytea)": ARCHIVE,
}
SIGNED = "num_nonnulls(public_key, signature) IN (0, 2)"
SIGNATURE = "length(public_key) = 32 AND length(signature) = 64"


def upgrade() -> None:
    create_actors()
    create_seals()
    create_checkpoints()
    schema = op.get_bind().execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    for function in FUNCTIONS.values():
        op.execute(function.replace("{schema}", schema).replace("{xid}", XID))
    op.execute(FOLLOWING)
    op.execute(KNOWN_USERS)
    # First without a lock that anybody waits for, then what has been written since.
    op.execute(WITHOUT_NAMES)
    change_log()
    op.execute(WITHOUT_NAMES)
    for trigger in TRIGGERS:
        op.execute(trigger)
    for table in ("audit_log", "audit_seals", "audit_checkpoints"):
        refuse(
            table,
            "UPDATE OR DELETE OR TRUNCATE"
            if table == "audit_checkpoints"
            else "UPDATE OR TRUNCATE",
        )
    for table in ("audit_log", "audit_seals"):
        refuse_deletion(table)
    for function in FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")


def create_actors() -> None:
    op.create_table(
        "audit_actors",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.CheckConstraint("user_id = id", name=op.f("ck_audit_actors_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_actors")),
        sa.UniqueConstraint("user_id", name=op.f("uq_audit_actors_user_id")),
    )


def create_seals() -> None:
    op.create_table(
        "audit_seals",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entries", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("last_xid", sa.BigInteger(), nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", TIMESTAMP, nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=True),
        sa.Column("signature", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("cardinality(entries) > 0", name=op.f("ck_audit_seals_entries")),
        sa.CheckConstraint(
            "length(previous) = 32 AND length(head) = 32", name=op.f("ck_audit_seals_sha256")
        ),
        sa.CheckConstraint(SIGNED, name=op.f("ck_audit_seals_signed")),
        sa.CheckConstraint(SIGNATURE, name=op.f("ck_audit_seals_signature")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_seals")),
        sa.UniqueConstraint("previous", name=op.f("uq_audit_seals_previous")),
    )


def create_checkpoints() -> None:
    op.create_table(
        "audit_checkpoints",
        sa.Column("seal", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("made_at", TIMESTAMP, nullable=False),
        sa.Column("file_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=True),
        sa.Column("signature", sa.LargeBinary(), nullable=True),
        sa.Column("xid", sa.BigInteger(), server_default=sa.text(XID), nullable=False),
        sa.CheckConstraint(
            "length(head) = 32 AND length(file_sha256) = 32",
            name=op.f("ck_audit_checkpoints_sha256"),
        ),
        sa.CheckConstraint(SIGNED, name=op.f("ck_audit_checkpoints_signed")),
        sa.CheckConstraint(SIGNATURE, name=op.f("ck_audit_checkpoints_signature")),
        sa.PrimaryKeyConstraint("seal", name=op.f("pk_audit_checkpoints")),
    )


def change_log() -> None:
    # What is there is older than any transaction to come; a constant default rewrites nothing.
    op.add_column(
        "audit_log", sa.Column("xid", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.alter_column("audit_log", "xid", server_default=sa.text(XID))
    op.alter_column("audit_log", "actor", server_default="")
    # Its pages tell the transactions apart well enough, and it costs an insert next to nothing.
    op.create_index("ix_audit_log_xid", "audit_log", ["xid"], postgresql_using="brin")
    op.drop_constraint(op.f("fk_audit_log_actor_id_users"), "audit_log", type_="foreignkey")
    op.create_foreign_key(
        op.f("fk_audit_log_actor_id_audit_actors"),
        "audit_log",
        "audit_actors",
        ["actor_id"],
        ["id"],
    )


def refuse(table: str, what: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_only_grows BEFORE {what} ON {table}"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows()"
    )
    # A session that plays a replica sets the others aside.
    op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_only_grows")


def refuse_deletion(table: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_leaves_a_checkpoint AFTER DELETE ON {table}"
        " REFERENCING OLD TABLE AS gone"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_leaves_a_checkpoint()"
    )
    op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_leaves_a_checkpoint")


def downgrade() -> None:
    for table in ("audit_log", "audit_seals", "audit_checkpoints"):
        op.execute(f"DROP TRIGGER {table}_only_grows ON {table}")
    for trigger in ("leaves_a_checkpoint", "nameless"):
        op.execute(f"DROP TRIGGER audit_log_{trigger} ON audit_log")
    op.execute("DROP TRIGGER users_known_to_audit ON users")
    op.drop_constraint(op.f("fk_audit_log_actor_id_audit_actors"), "audit_log", type_="foreignkey")
    op.execute(
        "UPDATE audit_log SET actor = name,"
        " actor_id = (SELECT id FROM users WHERE users.id = audit_actors.user_id)"
        " FROM audit_actors WHERE audit_actors.id = actor_id"
    )
    op.create_foreign_key(
        op.f("fk_audit_log_actor_id_users"), "audit_log", "users", ["actor_id"], ["id"]
    )
    op.drop_index("ix_audit_log_xid", table_name="audit_log")
    op.alter_column("audit_log", "actor", server_default=None)
    op.drop_column("audit_log", "xid")
    for table in ("audit_checkpoints", "audit_seals", "audit_actors"):
        op.drop_table(table)
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
