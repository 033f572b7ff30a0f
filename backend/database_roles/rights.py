"""What each role may do to what: the one table of it.

The owner may do everything. The others are what an API, a worker of one kind or a reader logs in
as; a login may be a member of several. Columns are named where the rest of a row is nobody's
business, or stays as it is: to lock a row takes the right to change one column of it, and an
``id`` is never given by whoever writes.
"""

from collections.abc import Mapping, Sequence
from typing import Final

OWNER: Final = "lockkeeper_owner"
API: Final = "lockkeeper_api"
VETTER: Final = "lockkeeper_vetter"
PUBLISHER: Final = "lockkeeper_publisher"
WEBHOOKS: Final = "lockkeeper_webhooks"
SPLUNK: Final = "lockkeeper_splunk"
TASKS: Final = "lockkeeper_tasks"
MAINTENANCE: Final = "lockkeeper_maintenance"
READER: Final = "lockkeeper_reader"

WORKERS: Final = (VETTER, PUBLISHER, WEBHOOKS, SPLUNK, TASKS, MAINTENANCE)
PARTS: Final = (API, *WORKERS, READER)
"""Every role but the owner."""
ROLES: Final = (OWNER, *PARTS)

Rights = Mapping[str, str]
"""Privileges by table, as GRANT takes them."""

READ: Final = "SELECT"
ADD: Final = "SELECT, INSERT"
CHANGE: Final = "SELECT, INSERT, UPDATE"
ALL: Final = "SELECT, INSERT, UPDATE, DELETE"
WORK: Final = "SELECT, UPDATE"
"""On a queue: claim rows, and settle them."""
LOCK: Final = "SELECT, UPDATE (id)"

_DEED: Final = "INSERT (actor_id, actor, action, subject, detail)"
"""What is noted is noted now: its moment and its number are the database's to say."""
_NOTE: Final[Rights] = {"audit_log": "SELECT (id), INSERT (actor, action, subject, detail)"}
"""To note a deed of its own, in nobody's name; and to read none."""
_TELL: Final[Rights] = {
    "webhooks": "SELECT (active, events)",
    "events": "INSERT",
    "event_dispatches": "SELECT, INSERT, UPDATE (id)",
}
"""To tell of an event; who hears of it, and where, is the couriers' business."""
_SERVE: Final[Rights] = {
    "alembic_version": READ,
    "attempts": ADD,
    "attempts_default": "SELECT (id, ended_at)",
    "queue_pauses": READ,
    "workers": ALL,
}
"""What every worker does: it joins the fleet, claims, and writes history."""
_PROJECTIONS: Final = (
    "indexes", "inputs", "outputs", "props", "serverclasses", "transforms",
)  # fmt: skip
_AS_A_VETTER: Final[Rights] = {
    "advisories": READ,
    "advisory_imports": READ,
    "advisory_packages": READ,
    "advisory_states": "SELECT, INSERT, UPDATE (digest, loaded_at)",
    "approved_names": "SELECT, INSERT, DELETE",
    "artifact_evidence": CHANGE,
    "artifacts": "SELECT, UPDATE (sha512, size, checked, registry_agrees, merged_into)",
    "decisions": READ,
    "denied_packages": READ,
    "findings": ADD,
    "package_status": "SELECT, UPDATE, DELETE",
    "packages": LOCK,
    "policy_state": READ,
    "policy_versions": READ,
    "request_packages": "SELECT, UPDATE (artifact_id, type)",
    "request_watches": "SELECT (request_id), INSERT",
    "requests": "SELECT (id, requestor_id, withdrawn_at)",
    "security_scans": ADD,
    "similar_names": READ,
    "supported_licenses": READ,
    "users": "SELECT (id, active, role)",
    "waiver_flags": "SELECT, INSERT, UPDATE (covered_by, since)",
    # That it was looked at, and that it is over; what it says stays.
    "waivers": "SELECT, UPDATE (applied_at, ended_at)",
}
_AS_A_SCHEDULER: Final[Rights] = {
    # In the name of whose schedule it is.
    "audit_log": f"SELECT (id), {_DEED}",
    "schedule_fires": "SELECT, INSERT, DELETE",
    "schedules": "SELECT, UPDATE (last_fired_at, moved_at, next_fire_at)",
    "task_inputs": ADD,
    "task_results": ALL,
    "tasks": CHANGE,
    "users": "SELECT (id, username, active, role)",
}

TABLES: Final[Mapping[str, Rights]] = {
    API: {
        **dict.fromkeys(
            (
                "advisories",
                "advisory_flags",
                "advisory_imports",
                "advisory_packages",
                "advisory_states",
                "alembic_version",
                "artifact_evidence",
                "audit_checkpoints",
                "audit_seals",
                "findings",
                "publications",
                "schedule_fires",
                "security_scans",
                "workers",
                *_PROJECTIONS,
            ),
            READ,
        ),
        **dict.fromkeys(
            (
                "decisions",
                "events",
                "request_exclusions",
                "request_notices",
                "request_packages",
                "packages",
                "similar_names",
            ),
            ADD,
        ),
        **dict.fromkeys(
            (
                "artifacts",
                "denied_packages",
                "event_dispatches",
                "licence_proposals",
                "package_status",
                "policy_state",
                "policy_versions",
                "requests",
                "users",
                "waiver_flags",
                "waivers",
                "webhook_deliveries",
            ),
            CHANGE,
        ),
        **dict.fromkeys(
            (
                "api_keys",
                "ari_snapshots",
                "debts",
                "goal_blocks",
                "goals",
                "ingestion_runs",
                "interactions",
                "logins",
                "models",
                "rate_limits",
                "reviewed_claims",
                "schedules",
                "supported_licenses",
                "training_samples",
                "webhooks",
            ),
            ALL,
        ),
        "approved_names": "SELECT, INSERT, DELETE",
        "attempts": "SELECT, INSERT, DELETE",
        "audit_actors": "SELECT, UPDATE (user_id, name)",
        "audit_log": f"SELECT, {_DEED}",
        "files": "SELECT, DELETE",
        "queue_pauses": "SELECT, INSERT, DELETE",
        "refresh_tokens": CHANGE,
        "request_watches": "SELECT (request_id), INSERT",
        "run_notices": "SELECT, DELETE",
        "stanzas": "SELECT, DELETE",
        "task_inputs": ADD,
        "task_results": READ,
        "tasks": ALL,
    },
    VETTER: {**_SERVE, **_NOTE, **_TELL, **_AS_A_VETTER},
    PUBLISHER: {
        **_SERVE,
        **_NOTE,
        **_TELL,
        "approved_names": "SELECT, DELETE",
        "artifacts": "SELECT (id, package_id, sha512)",
        "decisions": READ,
        "package_status": WORK,
        "packages": READ,
        "publication_turns": CHANGE,
        "publications": CHANGE,
        "request_packages": "SELECT (artifact_id, request_id)",
        "request_watches": "SELECT (request_id), INSERT",
        "requests": "SELECT (id, requestor_id, withdrawn_at)",
        "waivers": "SELECT (id, expires_at, revoked_at)",
    },
    WEBHOOKS: {
        **_SERVE,
        "event_dispatches": ALL,
        "events": "SELECT, INSERT, UPDATE (dispatched_at), DELETE",
        "package_status": "SELECT (artifact_id, status)",
        "request_packages": "SELECT (id, artifact_id, request_id)",
        "request_watches": "SELECT, UPDATE (awaits), DELETE",
        "requests": "SELECT (id, application_name, version, requestor_id, withdrawn_at)",
        "users": "SELECT (id, username)",
        "webhook_deliveries": CHANGE,
        "webhooks": READ,
    },
    SPLUNK: {
        **_SERVE,
        **_TELL,
        **dict.fromkeys(("files", "run_notices", "stanzas"), "SELECT, INSERT, DELETE"),
        **dict.fromkeys(_PROJECTIONS, "INSERT"),
        "ingestion_runs": WORK,
    },
    TASKS: {
        **_SERVE,
        **_AS_A_SCHEDULER,
        "ari_snapshots": READ,
        "debts": ADD,
        "goal_blocks": "SELECT, INSERT, UPDATE (depends_on), DELETE",
        "goals": "SELECT, UPDATE (planned_at)",
        "interactions": LOCK,
        "models": ADD,
        "reviewed_claims": READ,
        "training_samples": READ,
    },
    MAINTENANCE: {
        **_SERVE,
        **_TELL,
        **_AS_A_VETTER,
        **_AS_A_SCHEDULER,
        "advisories": CHANGE,
        "advisory_flags": "SELECT, INSERT, UPDATE (fixed, lifted_at, lifted_because)",
        "advisory_imports": ADD,
        "advisory_packages": "SELECT, INSERT, DELETE",
        "advisory_states": "SELECT, INSERT, UPDATE (digest, loaded_at), DELETE",
        "ari_snapshots": "SELECT (id, taken_at), UPDATE (id), DELETE",
        "attempts_default": "SELECT (id, ended_at), DELETE",
        "audit_checkpoints": READ,
        "audit_log": f"SELECT, {_DEED}",
        "audit_seals": ADD,
        "debts": "SELECT (id, interaction_id, status, resolved_at), UPDATE (id), DELETE",
        "event_dispatches": ALL,
        "events": "SELECT, INSERT, UPDATE (id), DELETE",
        "files": "SELECT (run_id, file_no), DELETE",
        "ingestion_runs": "SELECT (id, status, completed_at), UPDATE (id), DELETE",
        "interactions": "SELECT (id, occurred_at), UPDATE (id), DELETE",
        "models": "SELECT (blob_key)",
        "run_notices": "SELECT (run_id), DELETE",
        "stanzas": "SELECT (run_id, stanza_no), DELETE",
        "tasks": ALL,
        "users": "SELECT (id, username, active, role)",
        "webhook_deliveries": "SELECT (event_id, status)",
    },
    # Reports and dashboards: no secret, no word of a lock file, nobody's own data.
    READER: {
        **dict.fromkeys(
            (
                "advisories",
                "advisory_flags",
                "advisory_imports",
                "advisory_packages",
                "advisory_states",
                "alembic_version",
                "approved_names",
                "artifact_evidence",
                "artifacts",
                "attempts",
                "audit_actors",
                "audit_checkpoints",
                "audit_log",
                "audit_seals",
                "decisions",
                "denied_packages",
                "event_dispatches",
                "findings",
                "licence_proposals",
                "package_status",
                "packages",
                "policy_state",
                "policy_versions",
                "publication_turns",
                "publications",
                "queue_pauses",
                "request_exclusions",
                "request_notices",
                "request_packages",
                "request_watches",
                "schedule_fires",
                "security_scans",
                "similar_names",
                "supported_licenses",
                "tasks",
                "waiver_flags",
                "waivers",
                "webhook_deliveries",
                "workers",
            ),
            READ,
        ),
        "requests": (
            "SELECT (id, application_name, version, requestor_id, lock_format, entries, priority,"
            " created_at, withdrawn_at)"
        ),
        "users": "SELECT (id, username, role, active, created_at, updated_at)",
    },
}

SEQUENCES: Final[Mapping[str, Sequence[str]]] = dict.fromkeys((API, *WORKERS), ("attempts_id_seq",))

_TELLERS: Final = (API, *WORKERS)
_DECIDERS: Final = (API, VETTER, PUBLISHER, MAINTENANCE)

EXECUTE: Final[Mapping[str, Sequence[str]]] = {
    "approved_digest": _DECIDERS,
    "attempts_drop_week": (MAINTENANCE,),
    "attempts_make_week": WORKERS,
    "audit_archive": (MAINTENANCE,),
    "decide_by_policy": (VETTER,),
    "decides": _DECIDERS,
    "emit_event": _TELLERS,
    "events_due": _TELLERS,
    "events_wanted": _TELLERS,
    "flags_shown": (API,),
    "four_eyes_required": _DECIDERS,
    "may_approve": _DECIDERS,
    "name_keys": (API, VETTER, MAINTENANCE),
    "waivers_shown": (API,),
}
"""Functions by name. What only triggers call needs no right, and is granted to nobody."""
