"""structlog set-up: one event a line, for people or as JSON; secrets never pass."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRET_KEY = re.compile(r"pass(word|wd)?$|secret|token$|authorization|api_?key|dsn", re.IGNORECASE)
_URL_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")

Event = MutableMapping[str, Any]


def redact(_logger: Any, _method: str, event: Event) -> Event:
    """Mask values whose key is a secret's, and user-info inside URLs."""
    for key, value in event.items():
        if _SECRET_KEY.search(key) and key != "lease_token":
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = _URL_USER_INFO.sub("***@", value)
    return event


def configure(*, level: str = "INFO", log_format: str = "human") -> None:
    """Set up structlog and the standard library's logging to write to standard error."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # It prints the traceback of every malformed header a registry may send.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # It says at each start which database it is for, which is none of our events.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
