"""Splunk configurations: runs, their files and stanzas, and typed columns of six conf types.

Revision 0012, after 0011.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
TIMESTAMP = sa.DateTime(timezone=True)
SHA256 = "sha256 ~ '^[0-9a-f]{64}$'"
EARLIER_KINDS = "'request.finished', 'approval.needed', 'package.rejected', 'advisory.hit'"
KINDS = f"{EARLIER_KINDS}, 'run.completed'"

RUN_RULES = {
    "status": "status IN ('pending', 'stored', 'parsing', 'complete', 'failed')",
    "lease": (
        "num_nonnulls(lease_token, leased_by, lease_expires_at, heartbeat_at)"
        " = CASE WHEN status IN ('parsing') THEN 4 ELSE 0 END"
    ),
    "failure": (
        "num_nonnulls(failure, failed_from) = CASE WHEN status IN ('failed') THEN 2 ELSE 0 END"
    ),
    "failure_word": "failure IN ('policy', 'permanent', 'exhausted', 'timeout', 'poison', 'cancelled', 'human')",
    "failed_from": "failed_from IN ('stored')",
    "completed": "(completed_at IS NOT NULL) = (status IN ('complete', 'failed'))",
    "priority": "priority BETWEEN 1 AND 10",
    "counters": "attempts >= 0 AND stalls >= 0 AND rewinds >= 0 AND max_attempts >= 1",
    "type": "type IN ('ds_etc', 'instance_etc', 'app_bundle', 'single_conf')",
    "archive_kind": "archive_kind IN ('tar', 'tar.gz', 'zip', 'conf')",
    "sha256": SHA256,
    "size_bytes": "size_bytes >= 0",
    "blob": "num_nonnulls(blob_key, data_key) IN (0, 2)",
    "metrics": (
        "num_nonnulls(archive_kind, files_parsed, stanzas_created, parse_errors,"
        " duration_seconds) IN (0, 5)"
    ),
    "parsed": "status <> 'complete' OR type IS NOT NULL",
}
PLACE_RULES = {
    "layer": ("layer IN ('system', 'app', 'deployment-app', 'manager-app', 'peer-app', 'user')"),
    "scope": "scope IN ('default', 'local', 'users', 'metadata')",
    "place": "num_nonnulls(layer, scope) IN (0, 2)",
}
FILE_RULES = {
    "kind": "kind IN ('conf', 'meta', 'other', 'skipped')",
    "skip_reason": "(kind = 'skipped') = (skip_reason IS NOT NULL)",
    "conf_type": "(kind IN ('conf', 'meta')) = (conf_type IS NOT NULL)",
    "placed": "kind NOT IN ('conf', 'meta') OR layer IS NOT NULL",
    "read": "kind = 'skipped' OR num_nonnulls(sha256, size_bytes) = 2",
    "sha256": SHA256,
    "size_bytes": "size_bytes >= 0",
    "warnings": "jsonb_typeof(warnings) = 'array'",
    **PLACE_RULES,
}
STANZA_RULES = {
    "order": "line >= 1 AND order_in_file >= 0",
    "raw_kv": "jsonb_typeof(raw_kv) = 'object'",
    "lines": "jsonb_typeof(lines) = 'object'",
    "history": "jsonb_typeof(history) = 'object'",
    "placed": "layer IS NOT NULL",
    **PLACE_RULES,
}

# At the commit, for the row's new status goes before its figures.
PARSED = """
CREATE FUNCTION run_is_parsed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (
    SELECT FROM ingestion_runs
    WHERE id = NEW.id AND status = 'complete' AND archive_kind IS NULL
  ) THEN
    RAISE check_violation USING
      MESSAGE = format('run %s is complete and has no figures', NEW.id),
      TABLE = 'ingestion_runs', CONSTRAINT = 'run_is_parsed';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER run_is_parsed AFTER INSERT OR UPDATE OF status ON ingestion_runs
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.status = 'complete')
EXECUTE FUNCTION run_is_parsed()
"""

# Told at the commit, when its figures are there as well.
TELL = """
CREATE FUNCTION tell_run_completed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF events_wanted('run.completed') THEN
    PERFORM emit_event('run.completed', 'run:' || id, jsonb_build_object(
      'run_id', id, 'type', type, 'label', label, 'status', status, 'task_id', task_id,
      'failure', failure, 'error', error, 'sha256', sha256, 'files_parsed', files_parsed,
      'stanzas_created', stanzas_created, 'parse_errors', parse_errors,
      'duration_seconds', duration_seconds))
    FROM ingestion_runs WHERE id = NEW.id AND status = NEW.status;
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER tell_run_completed AFTER UPDATE OF status ON ingestion_runs
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (
  NEW.status IN ('complete', 'failed') AND OLD.status NOT IN ('complete', 'failed'))
EXECUTE FUNCTION tell_run_completed()
"""

PROJECTED = {
    "inputs": (
        "kind target disabled:flag index sourcetype source host interval whitelist blacklist"
        " recursive:flag queue connection_host tcp_routing"
    ),
    "props": (
        "kind pattern sourcetype priority:number rename category charset line_breaker"
        " should_linemerge:flag truncate:number time_prefix time_format"
        " max_timestamp_lookahead:number tz indexed_extractions kv_mode no_binary_check:flag"
    ),
    "transforms": (
        "regex format source_key dest_key write_meta:flag ingest_eval mv_add:flag filename"
        " collection external_cmd external_type case_sensitive_match:flag"
    ),
    "indexes": (
        "kind disabled:flag datatype home_path cold_path thawed_path remote_path path"
        " max_total_data_size_mb:number frozen_time_period_in_secs:number cold_to_frozen_dir"
        " max_data_size max_hot_buckets rep_factor"
    ),
    "outputs": (
        "kind target disabled:flag server default_group index_and_forward:flag"
        " send_cooked_data:flag use_ack:flag compressed:flag auto_lb_frequency:number"
        " client_cert ssl_verify_server_cert:flag uri type"
    ),
    "serverclasses": (
        "server_class deployed_app filter_type machine_types_filter state_on_client"
        " restart_splunkd:flag restart_splunk_web:flag continue_matching:flag endpoint"
        " repository_location target_repository_location"
    ),
}
TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "": sa.Text(),
    "flag": sa.Boolean(),
    "number": sa.BigInteger(),
}


def upgrade() -> None:
    create_runs()
    create_notices()
    create_files()
    create_stanzas()
    for table, columns in PROJECTED.items():
        create_projection(table, columns)
    widen_kinds(KINDS)
    op.execute(PARSED)
    op.execute(TELL)


def downgrade() -> None:
    for table in (*PROJECTED, "stanzas", "files", "run_notices", "ingestion_runs"):
        op.drop_table(table)
    op.execute("DROP FUNCTION tell_run_completed()")
    op.execute("DROP FUNCTION run_is_parsed()")
    op.execute("DELETE FROM webhooks WHERE events = ARRAY['run.completed']")
    op.execute("UPDATE webhooks SET events = array_remove(events, 'run.completed')")
    op.execute("DELETE FROM events WHERE kind = 'run.completed'")
    widen_kinds(EARLIER_KINDS)


def widen_kinds(kinds: str) -> None:
    """Both CHECKs in one step each, and validated without a lock that anybody waits for."""
    rules = {
        ("webhooks", "ck_webhooks_events"): (
            f"cardinality(events) > 0 AND events <@ ARRAY[{kinds}]::text[]"
        ),
        ("events", "ck_events_kind"): f"kind IN ({kinds}, 'ping')",
    }
    for (table, name), rule in rules.items():
        op.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT {name},"
            f" ADD CONSTRAINT {name} CHECK ({rule}) NOT VALID"
        )
        op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


def checks(table: str, rules: dict[str, str]) -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint(rule, name=op.f(f"ck_{table}_{name}")) for name, rule in rules.items()
    ]


def create_runs() -> None:
    table = "ingestion_runs"
    op.create_table(
        table,
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("uploaded_by", sa.BigInteger(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("duplicate_of", sa.BigInteger(), nullable=True),
        sa.Column("blob_key", sa.Text(), nullable=True),
        sa.Column("data_key", sa.LargeBinary(), nullable=True),
        sa.Column(
            "task_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False
        ),
        sa.Column("stored_at", TIMESTAMP, nullable=True),
        sa.Column("pruned_at", TIMESTAMP, nullable=True),
        sa.Column("archive_kind", sa.Text(), nullable=True),
        sa.Column("files_parsed", sa.Integer(), nullable=True),
        sa.Column("stanzas_created", sa.Integer(), nullable=True),
        sa.Column("parse_errors", sa.Integer(), nullable=True),
        sa.Column("duration_seconds", sa.Double(), nullable=True),
        sa.Column("fairness_key", sa.Text(), server_default="", nullable=False),
        *claimable(),
        *checks(table, RUN_RULES),
        sa.ForeignKeyConstraint(
            ["uploaded_by"], ["users.id"], name=op.f(f"fk_{table}_uploaded_by_users")
        ),
        sa.ForeignKeyConstraint(
            ["duplicate_of"],
            [f"{table}.id"],
            name=op.f(f"fk_{table}_duplicate_of_{table}"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.UniqueConstraint("blob_key", name=op.f(f"uq_{table}_blob_key")),
        sa.UniqueConstraint("task_id", name=op.f(f"uq_{table}_task_id")),
        postgresql_with={"fillfactor": 85},
    )
    failed = "failure IN ('permanent', 'exhausted', 'timeout', 'poison')"
    indexes: dict[str, tuple[list[str], str | None]] = {
        "held": (["id"], "status IN ('parsing')"),
        "splunk_ready": (
            ["priority", "fairness_key", "available_at", "id"],
            "status IN ('stored') AND stalls < 2",
        ),
        "splunk_suspect": (["available_at", "id"], "status IN ('stored') AND stalls >= 2"),
        "splunk_dead": (["completed_at", "id"], f"failed_from IN ('stored') AND {failed}"),
        "uploaded_by": (["uploaded_by", "id"], None),
        "sha256": (["sha256", "uploaded_by"], None),
        "duplicate_of": (["duplicate_of"], "duplicate_of IS NOT NULL"),
        "pending": (["created_at"], "status = 'pending'"),
        "kept": (["stored_at"], "blob_key IS NOT NULL"),
    }
    for name, (columns, where) in indexes.items():
        only = sa.text(where) if where else None
        op.create_index(f"ix_{table}_{name}", table, columns, postgresql_where=only)


def create_notices() -> None:
    op.create_table(
        "run_notices",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("notice_no", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["ingestion_runs.id"],
            name=op.f("fk_run_notices_run_id_ingestion_runs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "notice_no", name=op.f("pk_run_notices")),
    )


def claimable() -> list[sa.Column[object]]:
    """What ``Claimable`` brings."""
    return [
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default="5", nullable=False),
        sa.Column("available_at", TIMESTAMP, server_default=NOW, nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("max_attempts", sa.SmallInteger(), server_default="4", nullable=False),
        sa.Column("stalls", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("rewinds", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("step", sa.Text(), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("leased_by", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", TIMESTAMP, nullable=True),
        sa.Column("heartbeat_at", TIMESTAMP, nullable=True),
        sa.Column("progressed_at", TIMESTAMP, nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("failed_from", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", TIMESTAMP, server_default=NOW, nullable=False),
        sa.Column("started_at", TIMESTAMP, nullable=True),
        sa.Column("completed_at", TIMESTAMP, nullable=True),
        sa.Column("updated_at", TIMESTAMP, server_default=NOW, nullable=False),
    ]


def place() -> list[sa.Column[object]]:
    return [
        sa.Column(name, sa.Text(), nullable=True) for name in ("layer", "scope", "app", "user_name")
    ]


def create_files() -> None:
    op.create_table(
        "files",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("file_no", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("encoding", sa.Text(), nullable=True),
        sa.Column("conf_type", sa.Text(), nullable=True),
        sa.Column("warnings", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("skip_reason", sa.Text(), nullable=True),
        *place(),
        *checks("files", FILE_RULES),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["ingestion_runs.id"],
            name=op.f("fk_files_run_id_ingestion_runs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "file_no", name=op.f("pk_files")),
    )


def create_stanzas() -> None:
    op.create_table(
        "stanzas",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("stanza_no", sa.Integer(), nullable=False),
        sa.Column("file_no", sa.Integer(), nullable=False),
        sa.Column("order_in_file", sa.Integer(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("conf_type", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("raw_kv", postgresql.JSONB(), nullable=False),
        sa.Column("lines", postgresql.JSONB(), nullable=False),
        sa.Column("history", postgresql.JSONB(), nullable=True),
        *place(),
        *checks("stanzas", STANZA_RULES),
        sa.ForeignKeyConstraint(
            ["run_id", "file_no"],
            ["files.run_id", "files.file_no"],
            name=op.f("fk_stanzas_run_id_file_no_files"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "stanza_no", name=op.f("pk_stanzas")),
        sa.UniqueConstraint(
            "file_no",
            "run_id",
            "order_in_file",
            name=op.f("uq_stanzas_file_no_run_id_order_in_file"),
        ),
    )
    op.create_index(
        "ix_stanzas_name", "stanzas", ["conf_type", "run_id", sa.text("hashtextextended(name, 0)")]
    )


def create_projection(table: str, columns: str) -> None:
    typed = (column.partition(":")[::2] for column in columns.split())
    op.create_table(
        table,
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("stanza_no", sa.Integer(), nullable=False),
        *(sa.Column(name, TYPES[type_], nullable=True) for name, type_ in typed),
        sa.ForeignKeyConstraint(
            ["run_id", "stanza_no"],
            ["stanzas.run_id", "stanzas.stanza_no"],
            name=op.f(f"fk_{table}_run_id_stanza_no_stanzas"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "stanza_no", name=op.f(f"pk_{table}")),
    )
