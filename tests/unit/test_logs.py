"""What is logged: secrets masked whoever speaks, and no harm where nobody can take it."""

import errno
import io
import json
import logging
import re
import sys
from collections.abc import Iterator

import pytest
import structlog
import structlog.testing

from backend import logs

URL = "postgresql://ada:hunter2@db/x"


class Full(io.StringIO):
    """A disk without room."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(autouse=True)
def _configured_as_before() -> Iterator[None]:
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


def test_our_own_events_and_those_of_libraries_are_one_format_without_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure(log_format="json")

    structlog.get_logger("ours").warning(f"at {URL}", password="hunter2", row_id=7)
    logging.getLogger("library").error("at %s", URL)
    structlog.get_logger("ours").error("broken", exc_info=RuntimeError(URL))
    logging.getLogger("library").critical("broken too", exc_info=RuntimeError(URL))

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["level"] for line in lines] == ["warning", "error", "error", "critical"]
    assert [line["event"] for line in lines[:2]] == ["at postgresql://***@db/x"] * 2
    assert (lines[0]["password"], lines[0]["row_id"]) == ("***", 7)
    assert ["RuntimeError" in line.get("exception", "") for line in lines[2:]] == [True, True]
    assert "hunter2" not in stream.getvalue()


@pytest.mark.parametrize("closed", [False, True])
def test_a_log_that_nobody_can_take_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    stream = Full()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure()
    if closed:
        stream.close()

    structlog.get_logger("ours").warning("lost")


@pytest.mark.parametrize(
    "event",
    [
        {"event": "request.served", "path": "/a", "ms": 1.5, "user_id": None},
        {"event": "alone"},
        {"event": "quoted", "said": "it's", "pair": "a=b", "lines": "a\nb", "empty": "", "of": [1]},
        {"event": "failed", "row_id": 7, "exception": "Traceback\n  of two lines"},
    ],
)
def test_a_line_for_people_is_the_console_renderers_own(event: dict[str, object]) -> None:
    said = {"timestamp": "2026-01-01T00:00:00Z", "level": "info", **event}

    line = logs.plain(None, "info", dict(said))

    theirs = structlog.dev.ConsoleRenderer(colors=False)(None, "info", dict(said))
    assert line == theirs


@pytest.mark.parametrize("moves", ["a\x1b[2Jb", "a\x0bb", "a\x85b", "a\u2028b", "a\u202eb", "\x00"])
def test_a_strangers_text_neither_ends_a_line_nor_moves_a_cursor(moves: str) -> None:
    said = {"timestamp": "2026-01-01T00:00:00Z", "level": "info", "event": "said", "by": moves}

    assert logs.plain(None, "info", said).endswith(f" by={moves!r}")


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_what_is_told_of_each_request_is_the_line_that_structlog_writes(
    capfd: pytest.CaptureFixture[str], log_format: str
) -> None:
    said = {"request_id": "1a", "path": "/a b", "status": 200, "user_id": None, "at": URL}
    with (
        open(2, "w", encoding="utf-8", closefd=False, buffering=1) as stream,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "stderr", stream)
        logs.configure(log_format=log_format)
        logs.told("request.served", **said)
        structlog.get_logger("ours").info("request.served", **said)

    ours, structlogs = (
        re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "now", line)
        for line in capfd.readouterr().err.splitlines()
    )
    assert ours == structlogs
    assert "hunter2" not in ours


def test_what_is_told_is_gathered_and_left_out_as_any_other_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure()
    with structlog.testing.capture_logs() as gathered:
        logs.told("request.served", status=200)
    logs.configure(level="WARNING")
    logs.told("request.served", status=201)

    assert gathered == [{"event": "request.served", "status": 200, "log_level": "info"}]
    assert stream.getvalue() == ""
