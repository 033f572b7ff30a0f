"""structlog set-up: one event a line, for people or as JSON; secrets never pass."""

import logging
import re
import sys
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, NamedTuple, TextIO, cast

import structlog

from backend.at_once import Outlet

STANDARD_ERROR: Final = 2

_SECRET_KEY = re.compile(r"pass(word|wd)?$|secret|token$|authorization|api_?key|dsn", re.IGNORECASE)
_NEEDS_QUOTES = re.compile(r"[ \t=\r\n\"']")
_URL_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")

Event = MutableMapping[str, Any]


def redact(_logger: Any, _method: str, event: Event) -> Event:
    """Mask values whose key is a secret's, and user-info inside URLs."""
    for key, value in event.items():
        if _is_secret(key):
            event[key] = "***"
        elif isinstance(value, str) and "://" in value:
            event[key] = _URL_USER_INFO.sub("***@", value)
    return event


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return key != "lease_token" and _SECRET_KEY.search(key) is not None


def plain(_logger: Any, _method: str, event: Event) -> str:
    """The console renderer's line without its colours, for a small part of its price."""
    head = f"{event.pop('timestamp')} [{event.pop('level'):9}] {event.pop('event')!s:30}"
    exception = event.pop("exception", None)
    pairs = [f"{key}={_word(value)}" for key, value in sorted(event.items())]
    line = " ".join([head, *pairs]).rstrip()
    return f"{line}\n{exception}" if exception else line


def _word(value: Any) -> str:
    if not isinstance(value, str):
        return repr(value)
    # A stranger's text may hold what moves a terminal's cursor, or ends a line for some readers.
    return value if value.isprintable() and not _NEEDS_QUOTES.search(value) else repr(value)


class _Patient:
    """A stream that drops what it cannot take, as the standard library's handlers do.

    A full disk, or a reader that is gone, must end neither a request nor a worker's thread.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._outlet: Outlet | None = None
        with suppress(OSError, ValueError):  # it may be none of the system's
            if stream.fileno() == STANDARD_ERROR:  # another may be closed, and its number another's
                self._outlet = Outlet(STANDARD_ERROR)

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError, RuntimeError):  # closed; reentered by a signal
            if self._outlet is None or not self._outlet.take(
                text.encode(self._stream.encoding, "backslashreplace")
            ):
                self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError, RuntimeError):
            self._stream.flush()


class _Direct(NamedTuple):
    """How :func:`configure` wants events, for :func:`told`."""

    processors: list[Any]
    stamp: Callable[[Any, str, Event], Event]
    render: Callable[[Any, str, Event], str]
    stream: _Patient

    def stands(self) -> bool:
        """Whether nobody has other wishes by now, such as a test that gathers events."""
        now = structlog.get_config()["processors"]
        return now is self.processors and now[-1] is self.render


_direct: _Direct | None = None


def told(event: str, **fields: Any) -> None:
    """``info``, for what is told of each request: the same line by a shorter way.

    No value is an exception, and what is bound elsewhere is given here.
    """
    direct = _direct
    if direct is None or not direct.stands():
        structlog.get_logger(__name__).info(event, **fields)
        return
    entry = {**fields, "event": event, "level": "info"}
    line = direct.render(None, "info", redact(None, "info", direct.stamp(None, "info", entry)))
    direct.stream.write(f"{line}\n")


def configure(*, level: str = "INFO", log_format: str = "human") -> None:
    """Set up structlog and the standard library's logging to write to standard error.

    Events of our own go there directly: by way of the standard library a line costs twice as much.
    """
    begin: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else plain
    )
    end: list[Any] = [structlog.processors.format_exc_info, redact, renderer]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=begin,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *end],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # It prints the traceback of every malformed header a registry may send.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # It says at each start which database it is for, which is none of our events.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    processors, stream = [*begin, *end], _Patient(sys.stderr)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", stream)),
        cache_logger_on_first_use=True,
    )
    global _direct  # noqa: PLW0603 - as structlog's own configuration
    _direct = _Direct(processors, begin[-1], renderer, stream) if _tells(root) else None


def _tells(root: logging.Logger) -> bool:
    return root.level <= logging.INFO
