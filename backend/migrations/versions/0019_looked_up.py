"""What few packages have is looked up by functions; a new request calls one less.

Revision 0019, after 0018.

A statement pays for each part of its plan whenever it runs, also where that part finds nothing. The
plan of a function is paid for when it is called. And to call ``events_wanted`` costs each upload
more than what it asks.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

WAIVERS = """
CREATE FUNCTION waivers_shown(ids bigint[]) RETURNS json LANGUAGE sql STABLE STRICT
SET search_path = {schema}, pg_temp AS $$
SELECT json_agg(json_build_object('id', v.id, 'range', v.range, 'finding', v.finding,
  'component', v.component, 'licence', v.licence, 'reason', v.reason,
  'proposed_by', proposer.username, 'seconded_by', seconder.username,
  'seconded_at', to_char(v.seconded_at AT TIME ZONE 'UTC', {utc}),
  'expires_at', to_char(v.expires_at AT TIME ZONE 'UTC', {utc}),
  'revoked_at', to_char(v.revoked_at AT TIME ZONE 'UTC', {utc}),
  'in_force', v.seconded_at IS NOT NULL AND v.revoked_at IS NULL AND v.expires_at > now())
  ORDER BY v.id)
FROM waivers v JOIN users proposer ON proposer.id = v.proposed_by
LEFT JOIN users seconder ON seconder.id = v.seconded_by
WHERE v.id = ANY (ids)
$$
"""
FLAGS = """
CREATE FUNCTION flags_shown(artifact bigint) RETURNS json LANGUAGE sql STABLE
SET search_path = {schema}, pg_temp AS $$
SELECT json_agg(json_build_object('advisory', g.advisory_id, 'aliases', a.aliases, 'kind', g.kind,
  'severity', g.severity, 'title', a.title, 'fixed', g.fixed, 'component', g.component,
  'source', a.source, 'since', g.since) ORDER BY g.id)
FROM advisory_flags g JOIN advisories a ON a.id = g.advisory_id
WHERE g.artifact_id = artifact AND g.lifted_at IS NULL AND NOT EXISTS (
  SELECT FROM findings f
  WHERE f.scan_id = (SELECT max(c.id) FROM security_scans c
                     WHERE c.artifact_id = g.artifact_id)
    AND f.component = g.component
    AND f.advisory || f.aliases && (a.id || a.aliases)
    AND array_position({sure}, f.kind) >= array_position({sure}, g.kind)
    AND array_position({ranks}, CASE f.severity WHEN 'unknown' THEN 'high' ELSE f.severity END)
      <= array_position({ranks}, CASE g.severity WHEN 'unknown' THEN 'high' ELSE g.severity END))
$$
"""
WATCH_REQUEST = """
CREATE OR REPLACE FUNCTION watch_request() RETURNS trigger LANGUAGE plpgsql
SET search_path = {schema}, pg_temp AS $$
BEGIN
  IF {wanted} THEN
    INSERT INTO request_watches (request_id) VALUES (NEW.id);
    PERFORM events_due();
  END IF;
  RETURN NULL;
END $$
"""
EVENTS = "'request.finished', 'approval.needed'"
ASKED = f"EXISTS (SELECT FROM webhooks WHERE active AND events && ARRAY[{EVENTS}])"
WORDS = {
    "ranks": "ARRAY['critical', 'high', 'medium', 'low']",
    "sure": "ARRAY['undetermined', 'vulnerability', 'malware']",
    "utc": """'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'""",
}


def _schema() -> str:
    asked = sa.text("SELECT quote_ident(current_schema())")
    return str(op.get_bind().execute(asked).scalar_one())


def upgrade() -> None:
    for function in (FLAGS, WAIVERS, WATCH_REQUEST):
        op.execute(function.format(schema=_schema(), wanted=ASKED, **WORDS))


def downgrade() -> None:
    op.execute(WATCH_REQUEST.format(schema=_schema(), wanted=f"events_wanted({EVENTS})"))
    op.execute("DROP FUNCTION flags_shown(bigint)")
    op.execute("DROP FUNCTION waivers_shown(bigint[])")
