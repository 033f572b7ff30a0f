"""What guards an approval cannot be talked round by a login that may work on packages.

Revision 0018, after 0017.

Functions that look at tables look at ours: a temporary one of the same name would come first. The
bytes of an artifact, and the artifact of a row, stay what they are once they are known. Only who may
write publications makes a package a published one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

FUNCTIONS = (
    "approved_digest(bigint)",
    "audit_log_nameless()",
    "audit_only_grows()",
    "decides(bigint)",
    "decisions_by_somebody_who_may()",
    "decisions_unchanging()",
    "emit_event(text, text, jsonb)",
    "events_due()",
    "four_eyes_required()",
    "goal_blocks_are_chained()",
    "keep_approved_name()",
    "look_at_requests()",
    "may_approve(bigint, bigint)",
    "package_status_approved()",
    "package_status_publishing_failed()",
    "package_status_recalled()",
    "policy_state_kept()",
    "policy_versions_by_admins()",
    "policy_versions_unchanging()",
    "run_is_parsed()",
    "task_is_taken()",
    "tell_advisory_hit()",
    "tell_package_rejected()",
    "tell_run_completed()",
    "waivers_by_admins()",
    "waivers_unchanging()",
    "watch_request()",
    "watch_requests_again()",
)
STAYS = """
CREATE FUNCTION stays_once_known() RETURNS trigger LANGUAGE plpgsql
SET search_path = {schema}, pg_temp AS $$
BEGIN
  RAISE EXCEPTION '% %: % stays once it is known', TG_TABLE_NAME, OLD.id, TG_ARGV[0]
    USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
END $$
"""
PUBLISHED = """
CREATE FUNCTION package_status_published() RETURNS trigger LANGUAGE plpgsql
SET search_path = {schema}, pg_temp AS $$
BEGIN
  IF has_table_privilege('publications', 'INSERT') THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'package_status %: only a publisher publishes', NEW.id
    USING ERRCODE = 'insufficient_privilege';
END $$
"""
TRIGGERS = {
    "artifacts": """
    CREATE TRIGGER artifacts_bytes BEFORE UPDATE OF sha512 ON artifacts FOR EACH ROW
    WHEN (OLD.sha512 IS DISTINCT FROM NEW.sha512 AND OLD.sha512 IS NOT NULL)
    EXECUTE FUNCTION stays_once_known('sha512')
    """,
    "package_status": """
    CREATE TRIGGER package_status_artifact BEFORE UPDATE OF artifact_id ON package_status
    FOR EACH ROW WHEN (OLD.artifact_id <> NEW.artifact_id)
    EXECUTE FUNCTION stays_once_known('artifact_id');
    CREATE TRIGGER package_status_published BEFORE UPDATE OF status ON package_status FOR EACH ROW
    WHEN (NEW.status IN ('Publishing', 'Published') AND NEW.status <> OLD.status)
    EXECUTE FUNCTION package_status_published()
    """,
}


def upgrade() -> None:
    schema = op.get_bind().execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    for function in FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} SET search_path = {schema}, pg_temp")
    for function in (STAYS, PUBLISHED):
        op.execute(function.replace("{schema}", schema))
    for triggers in TRIGGERS.values():
        op.execute(triggers)


def downgrade() -> None:
    op.execute("DROP TRIGGER artifacts_bytes ON artifacts")
    for trigger in ("artifact", "published"):
        op.execute(f"DROP TRIGGER package_status_{trigger} ON package_status")
    for function in ("stays_once_known()", "package_status_published()"):
        op.execute(f"DROP FUNCTION {function}")
    for function in FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} RESET search_path")
