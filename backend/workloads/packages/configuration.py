"""What an admin may know of the packages workload's settings: never a secret's value."""

from typing import Any

from backend.settings import Settings
from backend.workloads.packages.lockfile import redact_url

SHOWN = (
    "source_repository_url", "source_repository_cdns", "target_repository_url", "target_ca_file",
    "auto_publish", "recall_unpublishes", "internal_scopes",
    "package_cache_dir", "download_timeout", "download_max_bytes", "vetting_max_age", "osv_path",
    "osv_path_complete", "osv_api_url", "osv_api_complete", "advisory_max_age", "advisories_url",
    "advisories_ca_file", "advisories_complete", "source_ca_file",
    "trivy_binary", "trivy_cache_dir", "trivy_complete", "trivy_url", "trivy_timeout",
    "trivy_max_retries", "guarddog_binary", "guarddog_timeout", "max_content_length",
    "cors_origins", "worker_type", "worker_sleep_interval", "worker_max_packages_per_cycle",
    "worker_stall_timeout",
)  # fmt: skip
SECRETS = (
    "database_url", "jwt_secret", "source_token", "target_token", "metrics_token", "webhook_key",
)  # fmt: skip

WITHOUT = {
    "source_repository_url": "packages come from the ecosystem's public registry",
    "target_repository_url": "approved packages are not published",
    "trivy_binary": "no scan for secrets in package files",
    "guarddog_binary": "no rules over package files that tell malicious ones",
}


def described(settings: Settings) -> tuple[dict[str, Any], dict[str, str]]:
    """(configured, missing), by variable name; durations in seconds, URLs redacted."""
    configured: dict[str, Any] = {}
    names = {name: field.alias or name for name, field in Settings.model_fields.items()}
    for name in SHOWN:
        value = getattr(settings, name)
        if value is not None:
            configured[names[name]] = _plain(value)
    configured |= {names[name]: "***" for name in SECRETS if getattr(settings, name) is not None}
    missing = {
        names[name]: effect for name, effect in WITHOUT.items() if getattr(settings, name) is None
    }
    sources = (settings.osv_path, settings.osv_api_url, settings.advisories_url)
    if not any(sources):
        missing["OSV_PATH"] = "no vulnerability source: no package is covered"
    return configured, missing


def _plain(value: Any) -> Any:
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    if isinstance(value, str) and "://" in value:
        return redact_url(value)
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, int) else str(value)
