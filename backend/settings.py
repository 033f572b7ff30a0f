"""What the environment says. Read once, at a process's start, and passed down from there."""

from collections.abc import Iterable
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Seconds = Annotated[timedelta, Field(gt=timedelta(0))]

EXAMPLE: Final = "change-me-"
"""What every secret of ``.env.example`` has in it; ``scripts/init-env`` makes random ones."""


class SettingsError(Exception):
    """A setting is missing or wrong; the message names it and what was expected."""

    exit_code: ClassVar = 2


class PortTaken(SettingsError):
    """Somebody else listens there, maybe for a moment: another port may do."""

    exit_code = 4


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


class Settings(BaseSettings):
    """Every variable Lockkeeper reads. ``docs/configuration.md`` documents each; a test compares.

    Durations are given in seconds and sizes in bytes.
    """

    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    # Database
    database_url: SecretStr | None = Field(None, alias="DATABASE_URL")
    listen_database_url: SecretStr | None = Field(None, alias="LISTEN_DATABASE_URL")
    database_pool_size: int = Field(10, alias="DATABASE_POOL_SIZE", ge=1, le=100)
    database_logins: SecretStr | None = Field(None, alias="DATABASE_LOGINS")

    # API
    jwt_secret: SecretStr | None = Field(None, alias="JWT_SECRET")
    jwt_issuer: str = Field("lockkeeper", alias="JWT_ISSUER", min_length=1)
    access_token_ttl: Seconds = Field(seconds(900), alias="ACCESS_TOKEN_TTL", le=seconds(900))
    refresh_token_ttl: Seconds = Field(seconds(7 * 86400), alias="REFRESH_TOKEN_TTL")
    api_host: str = Field("127.0.0.1", alias="API_HOST")
    api_port: int = Field(8000, alias="API_PORT", ge=0, le=65535)
    api_processes: int = Field(2, alias="API_PROCESSES", ge=1, le=64)
    api_threads: int = Field(8, alias="API_THREADS", ge=1, le=256)
    trusted_proxies: int = Field(0, alias="TRUSTED_PROXIES", ge=0, le=10)
    metrics_token: SecretStr | None = Field(None, alias="METRICS_TOKEN", min_length=16)
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field((), alias="CORS_ORIGINS")
    max_content_length: int = Field(20 * 1024 * 1024, alias="MAX_CONTENT_LENGTH", ge=1024)
    login_rate_per_minute: int = Field(10, alias="LOGIN_RATE_PER_MINUTE", ge=1)
    upload_rate_per_minute: int = Field(30, alias="UPLOAD_RATE_PER_MINUTE", ge=1)

    # Packages
    source_repository_url: str | None = Field(None, alias="SOURCE_REPOSITORY_URL")
    source_repository_cdns: Annotated[tuple[str, ...], NoDecode] = Field(
        (), alias="SOURCE_REPOSITORY_CDNS"
    )
    source_ca_file: Path | None = Field(None, alias="SOURCE_CA_FILE")
    source_token: SecretStr | None = Field(None, alias="SOURCE_TOKEN")
    target_repository_url: str | None = Field(None, alias="TARGET_REPOSITORY_URL")
    target_ca_file: Path | None = Field(None, alias="TARGET_CA_FILE")
    target_token: SecretStr | None = Field(None, alias="TARGET_TOKEN")
    auto_publish: bool = Field(False, alias="AUTO_PUBLISH")
    recall_unpublishes: bool = Field(False, alias="RECALL_UNPUBLISHES")
    internal_scopes: Annotated[tuple[str, ...], NoDecode] = Field((), alias="INTERNAL_SCOPES")
    package_cache_dir: Path = Field(Path(".lockkeeper/cache"), alias="PACKAGE_CACHE_DIR")
    download_timeout: Seconds = Field(seconds(120), alias="DOWNLOAD_TIMEOUT")
    download_max_bytes: int = Field(100 * 1024 * 1024, alias="DOWNLOAD_MAX_BYTES", ge=1024)
    vetting_max_age: Seconds = Field(seconds(7 * 86400), alias="VETTING_MAX_AGE")
    osv_path: Path | None = Field(None, alias="OSV_PATH")
    osv_path_complete: bool = Field(False, alias="OSV_PATH_COMPLETE")
    osv_api_url: str | None = Field(None, alias="OSV_API_URL")
    osv_api_complete: bool = Field(False, alias="OSV_API_COMPLETE")
    advisory_max_age: Seconds = Field(seconds(86400), alias="ADVISORY_MAX_AGE")
    advisories_url: str | None = Field(None, alias="ADVISORIES_URL")
    advisories_ca_file: Path | None = Field(None, alias="ADVISORIES_CA_FILE")
    advisories_complete: bool = Field(False, alias="ADVISORIES_COMPLETE")
    trivy_binary: str | None = Field(None, alias="TRIVY_BINARY")
    trivy_cache_dir: Path = Field(Path(".lockkeeper/trivy"), alias="TRIVY_CACHE_DIR")
    trivy_complete: bool = Field(False, alias="TRIVY_COMPLETE")
    trivy_url: str | None = Field(None, alias="TRIVY_URL")
    trivy_timeout: Seconds = Field(seconds(300), alias="TRIVY_TIMEOUT")
    trivy_max_retries: int = Field(3, alias="TRIVY_MAX_RETRIES", ge=0, le=20)
    guarddog_binary: str | None = Field(None, alias="GUARDDOG_BINARY")
    guarddog_timeout: Seconds = Field(seconds(60), alias="GUARDDOG_TIMEOUT")

    # Webhooks
    webhook_key: SecretStr | None = Field(None, alias="WEBHOOK_KEY", min_length=32)
    webhook_internal_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), alias="WEBHOOK_INTERNAL_HOSTS"
    )
    webhook_ca_file: Path | None = Field(None, alias="WEBHOOK_CA_FILE")
    webhook_timeout: Seconds = Field(seconds(10), alias="WEBHOOK_TIMEOUT")

    # Storage
    storage_backend: Literal["local", "s3"] = Field("local", alias="STORAGE_BACKEND")
    storage_dir: Path = Field(Path(".lockkeeper/storage"), alias="STORAGE_DIR")
    s3_bucket: str | None = Field(None, alias="S3_BUCKET")
    s3_endpoint_url: str | None = Field(None, alias="S3_ENDPOINT_URL", pattern="^https?://")
    s3_region: str | None = Field(None, alias="S3_REGION")

    # Splunk
    splunk_key: SecretStr | None = Field(None, alias="SPLUNK_KEY", min_length=32)
    splunk_max_upload_bytes: int = Field(
        512 * 1024 * 1024, alias="SPLUNK_MAX_UPLOAD_BYTES", ge=1024
    )
    splunk_archive_retention: Seconds = Field(seconds(30 * 86400), alias="SPLUNK_ARCHIVE_RETENTION")

    # Tasks
    task_key: SecretStr | None = Field(None, alias="TASK_KEY", min_length=32)
    task_result_retention: Seconds = Field(seconds(3600), alias="TASK_RESULT_RETENTION")
    task_concurrency: Annotated[dict[str, Annotated[int, Field(ge=1)]], NoDecode] = Field(
        {"model_training": 1, "maintenance": 1}, alias="TASK_CONCURRENCY"
    )
    task_rate_per_minute: int = Field(600, alias="TASK_RATE_PER_MINUTE", ge=1)
    data_max_import_bytes: int = Field(64 * 1024 * 1024, alias="DATA_MAX_IMPORT_BYTES", ge=1024)

    # Inference
    inference_url: str | None = Field(
        None, alias="INFERENCE_URL", pattern=r"^https?://[^\s@?#]+$", max_length=2048
    )
    inference_token: SecretStr | None = Field(None, alias="INFERENCE_TOKEN")
    inference_model: str | None = Field(None, alias="INFERENCE_MODEL", max_length=256)
    inference_timeout: Seconds = Field(seconds(60), alias="INFERENCE_TIMEOUT", le=seconds(600))

    # Worker
    worker_type: str = Field("all", alias="WORKER_TYPE")
    worker_name: str | None = Field(None, alias="WORKER_NAME")
    worker_sleep_interval: Seconds = Field(seconds(10), alias="WORKER_SLEEP_INTERVAL")
    worker_max_packages_per_cycle: int = Field(
        5, alias="WORKER_MAX_PACKAGES_PER_CYCLE", ge=1, le=1000
    )
    worker_stall_timeout: Seconds = Field(seconds(1800), alias="WORKER_STALL_TIMEOUT")
    worker_concurrency: int = Field(8, alias="WORKER_CONCURRENCY", ge=1, le=256)
    worker_grace_period: Seconds = Field(seconds(25), alias="WORKER_GRACE_PERIOD")
    worker_metrics_host: str = Field("127.0.0.1", alias="WORKER_METRICS_HOST")
    worker_metrics_port: int | None = Field(None, alias="WORKER_METRICS_PORT", ge=0, le=65535)
    lease_ttl: Seconds = Field(seconds(12), alias="LEASE_TTL", ge=seconds(2))
    attempts_retention: Seconds = Field(
        seconds(90 * 86400), alias="ATTEMPTS_RETENTION", ge=seconds(86400)
    )

    # Audit log
    audit_signing_key_file: Path | None = Field(None, alias="AUDIT_SIGNING_KEY_FILE")
    audit_archive_dir: Path | None = Field(None, alias="AUDIT_ARCHIVE_DIR")

    # Logs
    log_level: str = Field("INFO", alias="LOG_LEVEL")
    log_format: str = Field("human", alias="LOG_FORMAT", pattern="^(human|json)$")

    @field_validator(
        "cors_origins",
        "source_repository_cdns",
        "internal_scopes",
        "webhook_internal_hosts",
        mode="before",
    )
    @classmethod
    def _comma_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator(
        "access_token_ttl", "refresh_token_ttl", "download_timeout", "vetting_max_age",
        "advisory_max_age", "trivy_timeout", "guarddog_timeout", "worker_sleep_interval",
        "worker_stall_timeout", "webhook_timeout", "worker_grace_period", "lease_ttl",
        "attempts_retention", "splunk_archive_retention", "task_result_retention",
        "inference_timeout",
        mode="before",
    )  # fmt: skip
    @classmethod
    def _in_seconds(cls, value: Any) -> Any:
        return (
            timedelta(seconds=TypeAdapter(float).validate_python(value))
            if isinstance(value, str | int | float)
            else value
        )

    @field_validator("task_concurrency", mode="before")
    @classmethod
    def _queues_with_limits(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        limits = [part.strip().partition("=") for part in value.split(",") if part.strip()]
        return {queue.strip(): limit.strip() for queue, _, limit in limits}

    @model_validator(mode="after")
    def _no_example_is_a_secret(self) -> Self:
        examples = [
            str(field.alias)
            for name, field in type(self).model_fields.items()
            if isinstance(value := getattr(self, name), SecretStr)
            and EXAMPLE in value.get_secret_value().lower()
        ]
        if examples:
            raise ValueError(f"{', '.join(examples)}: an example value is no secret")
        return self

    @model_validator(mode="after")
    def _storage_is_whole(self) -> Self:
        if self.storage_backend == "s3" and self.s3_bucket is None:
            raise ValueError("S3_BUCKET: STORAGE_BACKEND=s3 needs it")
        if self.storage_backend == "s3" and find_spec("boto3") is None:
            raise ValueError("STORAGE_BACKEND: s3 needs boto3: install lockkeeper[s3]")
        return self

    @model_validator(mode="after")
    def _inference_is_whole(self) -> Self:
        if self.inference_url is not None and self.inference_model is None:
            raise ValueError("INFERENCE_MODEL: INFERENCE_URL needs it")
        return self

    @classmethod
    def load(cls, **overrides: Any) -> "Settings":
        """Read the environment.

        Raises:
            SettingsError: one line that names every wrong variable; never its value.
        """
        try:
            return cls(**overrides)
        except ValidationError as error:
            wrong = "; ".join(map(_shown, error.errors()))
            raise SettingsError(f"wrong setting: {wrong}") from None

    def require_database_url(self) -> str:
        """The SQLAlchemy URL of the database, always with the psycopg2 driver named."""
        if self.database_url is None:
            raise SettingsError(
                "DATABASE_URL is not set: give postgresql://user:password@host/name"
            )
        return psycopg2_url(self.database_url.get_secret_value())


def of_a_broker(variables: Iterable[str]) -> list[str]:
    """Those that told a predecessor where its broker is: there is none, and nothing reads them."""
    return sorted(name for name in variables if name == "REDIS_URL" or name.startswith("CELERY_"))


def _shown(error: "ErrorDetails") -> str:
    """What several settings have wrong together names them itself."""
    place = ".".join(str(part) for part in error["loc"])
    return f"{place}: {error['msg']}" if place else error["msg"].removeprefix("Value error, ")


def psycopg2_url(url: str) -> str:
    """``url`` in the form that engine and libpq both read, with the driver named.

    Raises:
        SettingsError: it is not a PostgreSQL URL.
    """
    # Here: a container's health check, which starts anew every few seconds, needs none of it.
    from sqlalchemy.exc import ArgumentError

    from backend import database_url

    try:
        return database_url.parsed(url).render_as_string(hide_password=False)
    except (ValueError, ArgumentError):
        raise SettingsError(
            "DATABASE_URL is not a PostgreSQL URL: give postgresql://user:password@host/name"
        ) from None
