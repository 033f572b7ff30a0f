"""Events and webhooks.

Revision 0008, after 0007.

Nothing of this costs anything but a look at an empty table until a webhook is there. What is done
while an old release is still running is told as well: triggers see it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
FAILED_IN_PROCESSING = "failure IN ('permanent', 'exhausted', 'timeout', 'poison')"
KINDS = "'request.finished', 'approval.needed', 'package.rejected', 'advisory.hit'"

EVENTS_WANTED = """
CREATE FUNCTION events_wanted(VARIADIC kinds text[]) RETURNS boolean LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM webhooks WHERE active AND events && kinds)
"""

# What happens within half a second shares one row, which is due half a second later: nobody takes it
# before all who count on it have committed, for they have it locked. Nobody waits for anybody here.
EVENTS_DUE = """
CREATE FUNCTION events_due() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  moment CONSTANT timestamptz := clock_timestamp();
BEGIN
  PERFORM FROM event_dispatches
  WHERE status = 'due' AND stalls < 2 AND attempts = 0
    AND priority = 5 AND available_at > moment + interval '0.5 seconds'
  LIMIT 1 FOR SHARE SKIP LOCKED;
  IF NOT FOUND THEN
    INSERT INTO event_dispatches (status, max_attempts, available_at)
    VALUES ('due', 20, moment + interval '1 second');
    PERFORM pg_notify('lockkeeper_ready', 'events');
  END IF;
END $$
"""

EMIT_EVENT = """
CREATE FUNCTION emit_event(event_kind text, event_subject text, event_detail jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  IF events_wanted(event_kind) THEN
    INSERT INTO events (kind, subject, detail) VALUES (event_kind, event_subject, event_detail);
    PERFORM events_due();
  END IF;
END $$
"""

WATCH_REQUEST = """
CREATE FUNCTION watch_request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF events_wanted('request.finished', 'approval.needed') THEN
    INSERT INTO request_watches (request_id) VALUES (NEW.id);
    PERFORM events_due();
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER watch_request AFTER INSERT ON requests
FOR EACH ROW EXECUTE FUNCTION watch_request()
"""

WATCH_REQUESTS_AGAIN = """
CREATE FUNCTION watch_requests_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF events_wanted('request.finished', 'approval.needed') THEN
    INSERT INTO request_watches (request_id)
    SELECT DISTINCT request_id
    FROM request_packages JOIN requests ON requests.id = request_id
    WHERE artifact_id = NEW.artifact_id AND withdrawn_at IS NULL
    ORDER BY request_id
    ON CONFLICT DO NOTHING;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER watch_requests_again AFTER UPDATE OF status ON package_status
FOR EACH ROW WHEN (
  OLD.status = 'Rejected' AND NEW.status = 'Requested' AND OLD.failure <> 'policy')
EXECUTE FUNCTION watch_requests_again()
"""

PACKAGE_REJECTED = """
CREATE FUNCTION tell_package_rejected() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF events_wanted('package.rejected') THEN
    PERFORM emit_event('package.rejected', 'package:' || NEW.id, jsonb_build_object(
      'package_id', NEW.id, 'purl', p.purl, 'name', p.name, 'version', p.version,
      'failure', NEW.failure, 'error', NEW.error))
    FROM artifacts a JOIN packages p ON p.id = a.package_id
    WHERE a.id = NEW.artifact_id;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER tell_package_rejected AFTER UPDATE OF status ON package_status
FOR EACH ROW WHEN (
  NEW.status = 'Rejected' AND OLD.status <> 'Rejected' AND NEW.failure <> 'cancelled')
EXECUTE FUNCTION tell_package_rejected()
"""

VETTING_ENDED = """
CREATE FUNCTION look_at_requests() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF events_wanted('request.finished', 'approval.needed') THEN
    PERFORM events_due();
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER look_at_requests AFTER UPDATE OF status ON package_status
FOR EACH ROW WHEN (
  NEW.status IN ('Pending Approval', 'Rejected')
  AND OLD.status IN
    ('Requested', 'Checking Licence', 'Downloading', 'Downloaded', 'Security Scanning'))
EXECUTE FUNCTION look_at_requests()
"""

ADVISORY_HIT = """
CREATE FUNCTION tell_advisory_hit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF events_wanted('advisory.hit') THEN
    PERFORM emit_event('advisory.hit', 'package:' || s.id, jsonb_build_object(
      'package_id', s.id, 'purl', p.purl, 'name', p.name, 'version', p.version,
      'status', s.status, 'advisories', hit.advisories))
    FROM (
      SELECT artifact_id, jsonb_agg(jsonb_build_object(
        'id', advisory_id, 'component', component, 'kind', kind, 'severity', severity)
        ORDER BY advisory_id, component) AS advisories
      FROM raised GROUP BY artifact_id) hit
    JOIN package_status s USING (artifact_id)
    JOIN artifacts a ON a.id = artifact_id
    JOIN packages p ON p.id = a.package_id;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER tell_advisory_hit AFTER INSERT ON advisory_flags
REFERENCING NEW TABLE AS raised
FOR EACH STATEMENT EXECUTE FUNCTION tell_advisory_hit()
"""

TRIGGERS = {
    "watch_request": "requests",
    "watch_requests_again": "package_status",
    "tell_package_rejected": "package_status",
    "look_at_requests": "package_status",
    "tell_advisory_hit": "advisory_flags",
}


def upgrade() -> None:
    create_webhooks()
    create_events()
    create_queue("event_dispatches", "events", ready="due", held="dispatching", done="dispatched")
    create_queue(
        "webhook_deliveries",
        "deliveries",
        sa.Column("webhook_id", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("response_status", sa.SmallInteger(), nullable=True),
        sa.Column("fairness_key", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.id"],
            name=op.f("fk_webhook_deliveries_webhook_id_webhooks"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["events.id"],
            name=op.f("fk_webhook_deliveries_event_id_events"),
            ondelete="CASCADE",
        ),
        ready="pending",
        held="delivering",
        done="delivered",
        fair=True,
    )
    for column in ("webhook_id", "event_id"):
        op.create_index(op.f(f"ix_webhook_deliveries_{column}"), "webhook_deliveries", [column])
    op.create_table(
        "request_watches",
        sa.Column("request_id", sa.BigInteger(), nullable=False),
        sa.Column("awaits", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name=op.f("fk_request_watches_request_id_requests")
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_request_watches")),
    )
    for function in (EVENTS_WANTED, EVENTS_DUE, EMIT_EVENT):
        op.execute(function)
    for trigger in (
        WATCH_REQUEST, WATCH_REQUESTS_AGAIN, PACKAGE_REJECTED, VETTING_ENDED, ADVISORY_HIT,
    ):  # fmt: skip
        op.execute(trigger)


def downgrade() -> None:
    for name, table in TRIGGERS.items():
        op.execute(f"DROP TRIGGER {name} ON {table}")
        op.execute(f"DROP FUNCTION {name}()")
    op.execute("DROP FUNCTION emit_event(text, text, jsonb)")
    op.execute("DROP FUNCTION events_due()")
    op.execute("DROP FUNCTION events_wanted(text[])")
    for table in (
        "request_watches", "webhook_deliveries", "event_dispatches", "events", "webhooks",
    ):  # fmt: skip
        op.drop_table(table)


def create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("events", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("secret_check", sa.LargeBinary(), nullable=False),
        sa.Column("created_by", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint(
            f"cardinality(events) > 0 AND events <@ ARRAY[{KINDS}]::text[]",
            name=op.f("ck_webhooks_events"),
        ),
        sa.CheckConstraint(
            "length(salt) = 32 AND length(secret_check) = 8", name=op.f("ck_webhooks_secret")
        ),
        sa.ForeignKeyConstraint(
            ["created_by"], ["users.id"], name=op.f("fk_webhooks_created_by_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )


def create_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("uid", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(f"kind IN ({KINDS}, 'ping')", name=op.f("ck_events_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_created_at"), "events", ["created_at"])
    op.create_index(
        "ix_events_waiting",
        "events",
        ["id"],
        postgresql_where=sa.text("dispatched_at IS NULL"),
    )


def create_queue(
    table: str,
    queue: str,
    *own: sa.schema.SchemaItem,
    ready: str,
    held: str,
    done: str,
    fair: bool = False,
) -> None:
    """What ``Claimable`` brings, for a lifecycle of four words."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        table,
        *(item for item in own if isinstance(item, sa.Column)),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default="5", nullable=False),
        sa.Column("available_at", moment, server_default=NOW, nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("max_attempts", sa.SmallInteger(), server_default="4", nullable=False),
        sa.Column("stalls", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("rewinds", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("step", sa.Text(), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("leased_by", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", moment, nullable=True),
        sa.Column("heartbeat_at", moment, nullable=True),
        sa.Column("progressed_at", moment, nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("failed_from", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", moment, server_default=NOW, nullable=False),
        sa.Column("started_at", moment, nullable=True),
        sa.Column("completed_at", moment, nullable=True),
        sa.Column("updated_at", moment, server_default=NOW, nullable=False),
        *(item for item in own if not isinstance(item, sa.Column)),
        *(
            sa.CheckConstraint(rule, name=op.f(f"ck_{table}_{name}"))
            for name, rule in rules(ready, held, done).items()
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        postgresql_with={"fillfactor": 100},
    )
    lane = ["priority", *(["fairness_key"] if fair else []), "available_at", "id"]
    indexes = {
        "held": (["id"], f"status IN ('{held}')"),
        f"{queue}_ready": (lane, f"status IN ('{ready}') AND stalls < 2"),
        f"{queue}_suspect": (["available_at", "id"], f"status IN ('{ready}') AND stalls >= 2"),
        f"{queue}_dead": (
            ["completed_at", "id"],
            f"failed_from IN ('{ready}') AND {FAILED_IN_PROCESSING}",
        ),
    }
    for name, (columns, where) in indexes.items():
        op.create_index(f"ix_{table}_{name}", table, columns, postgresql_where=sa.text(where))


def rules(ready: str, held: str, done: str) -> dict[str, str]:
    return {
        "status": f"status IN ('{ready}', '{held}', '{done}', 'failed')",
        "lease": (
            "num_nonnulls(lease_token, leased_by, lease_expires_at, heartbeat_at)"
            f" = CASE WHEN status IN ('{held}') THEN 4 ELSE 0 END"
        ),
        "failure": (
            "num_nonnulls(failure, failed_from) = CASE WHEN status IN ('failed') THEN 2 ELSE 0 END"
        ),
        "failure_word": "failure IN ('policy', 'permanent', 'exhausted', 'timeout', 'poison', 'cancelled', 'human')",
        "failed_from": f"failed_from IN ('{ready}')",
        "completed": f"(completed_at IS NOT NULL) = (status IN ('{done}', 'failed'))",
        "priority": "priority BETWEEN 1 AND 10",
        "counters": "attempts >= 0 AND stalls >= 0 AND rewinds >= 0 AND max_attempts >= 1",
    }
