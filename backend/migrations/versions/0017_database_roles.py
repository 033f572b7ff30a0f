"""What roles that own nothing are to do as the owner would, as functions: this much, and no more.

Revision 0017, after 0016.

Weeks of history are made and dropped; what the policy in force approves is decided.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# 168 hours: a week of days has an hour more or less where the session's clock is changed.
MAKE = """
CREATE FUNCTION attempts_make_week(week timestamptz) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
  begins timestamptz := date_trunc('week', week, 'UTC');
  name text := to_char(begins AT TIME ZONE 'UTC', '"attempts_"IYYY"_w"IW');
BEGIN
  -- Attempts go on ending meanwhile: CREATE … PARTITION OF would lock everybody out.
  EXECUTE format('CREATE TABLE %I (LIKE attempts INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
  EXECUTE format('ALTER TABLE attempts ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
    name, begins, begins + interval '168 hours');
END $$
"""
DROP = """
CREATE FUNCTION attempts_drop_week(week timestamptz) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
  EXECUTE format('DROP TABLE %I', to_char(
    date_trunc('week', week, 'UTC') AT TIME ZONE 'UTC', '"attempts_"IYYY"_w"IW'));
END $$
"""
# Who vets writes no decision: the one that the policy takes is looked at here once more.
DECIDE = """
CREATE FUNCTION decide_by_policy(package bigint) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
  WITH judged AS (
    SELECT id, artifact_id, verdict_digest FROM package_status s
    WHERE id = package AND status = 'Pending Approval'
      AND policy_digest = (SELECT digest FROM policy_state) AND NOT EXISTS (
        SELECT FROM decisions d WHERE d.artifact_id = s.artifact_id AND d.decision <> 'approve')
  ), policy AS (
    SELECT id, seconded_by, proposed_by, document FROM policy_versions
    WHERE effective_at IS NOT NULL ORDER BY id DESC LIMIT 1
  ), decided AS (
    INSERT INTO decisions (artifact_id, decision, decided_by, reason, verdict_digest)
    SELECT artifact_id, 'approve', person.id, 'approved by policy version ' || policy.id,
      verdict_digest
    FROM judged, policy, LATERAL (
      SELECT who.id FROM unnest(ARRAY[policy.seconded_by, policy.proposed_by]) AS who(id)
      WHERE who.id IS NOT NULL AND may_approve(judged.artifact_id, who.id) LIMIT 1) person
    WHERE (policy.document ->> 'auto_approve')::boolean
    RETURNING decided_by, reason
  )
  INSERT INTO audit_log (actor, action, subject, detail)
  SELECT 'policy', 'package.approved', 'package:' || judged.id,
    jsonb_build_object('reason', decided.reason, 'decided_by', decided.decided_by)
  FROM judged, decided;
END $$
"""
FUNCTIONS = {
    "attempts_make_week(timestamptz)": MAKE,
    "attempts_drop_week(timestamptz)": DROP,
    "decide_by_policy(bigint)": DECIDE,
}


def upgrade() -> None:
    schema = op.get_bind().execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    for signature, function in FUNCTIONS.items():
        op.execute(function.replace("{schema}", schema))
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")


def downgrade() -> None:
    for signature in FUNCTIONS:
        op.execute(f"DROP FUNCTION {signature}")
