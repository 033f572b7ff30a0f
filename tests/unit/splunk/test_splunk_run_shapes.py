"""How failures are told, and the models of typed columns."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from backend.identity.schemas import GivenMoment
from backend.queue.lifecycle import FAILURES
from backend.queue.retry import Transient
from backend.storage.encryption import encrypted, new_key
from backend.workloads.splunk.contents_schemas import TYPED, OfStanza, TypedIn
from backend.workloads.splunk.failures import error_type, of_last_parse, place
from backend.workloads.splunk.projections import PROJECTIONS
from backend.workloads.splunk.resolution.schemas import PageIn
from backend.workloads.splunk.runs_schemas import paging
from backend.workloads.splunk.steps import parse as parse_step


@dataclass(frozen=True)
class Line:
    """A line of the history of attempts."""

    attempt: int = 1
    outcome: str = "retry"
    failure: str | None = None
    error: str | None = None
    step: str | None = None


@pytest.mark.parametrize(
    ("failure", "error", "word"),
    [
        (None, None, None),
        ("permanent", "truncated: …", "permanent"),
        ("exhausted", "the store does not answer", "transient_exhausted"),
        ("exhausted", "KeyError in parsing.py:42: 'x'", "unexpected"),
        ("timeout", "soft limit of 3240 s", "timeout"),
        ("poison", "killed by SIGKILL", "unexpected"),
        ("cancelled", "cancelled by root", "unexpected"),
    ],
)
def test_a_failure_in_one_word(failure: str | None, error: str | None, word: str | None) -> None:
    assert error_type(failure, error) == word


def test_every_failure_has_a_word() -> None:
    assert all(error_type(failure, None) for failure in FAILURES)


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("KeyError in parsing.py:42: 'hunter2'", ": KeyError in parsing.py:42"),
        ("OperationalError: connection to hunter2 refused", ": OperationalError"),
        ("killed by SIGKILL after 3.10 s (peak 9 MiB of 1024 MiB)", ": killed by SIGKILL"),
        ("exited with 1 (ValueError: hunter2)", ": exited with 1"),
        ("out of its memory limit of 1024 MiB after 2 s", ": out of its memory limit of 1024 MiB"),
        ("killed at the hard limit of 3600 s (peak)", ": killed at the hard limit of 3600 s"),
        ("stalled 2 time(s); last held by w", ": stalled 2 time(s)"),
        ("hunter2: truncated at byte 7", ""),
        ("hunter2 in parsing.py", ""),
        ("", ""),
        (None, ""),
    ],
)  # fmt: skip
def test_of_what_was_said_only_what_is_known_here_is_shown(error: str | None, shown: str) -> None:
    assert place(Line(2, "retry", error=error)) == f"attempt 2, parse: retry{shown}"


def test_of_a_broken_archive_nothing_is_shown_but_that_it_was_refused() -> None:
    refused = "parse: its result cannot be stored: DataError"

    assert place(Line(1, "failed", "permanent", "PasswordError: truncated")) == (
        "attempt 1, parse: permanent"
    )
    assert place(Line(1, "failed", "permanent", refused)).endswith(f"permanent: {refused}")


def test_a_fault_of_our_own_says_where_and_not_with_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_key()
    (tmp_path / parse_step.ARCHIVE).write_bytes(b"".join(encrypted([b"[a]\n"], key)))
    monkeypatch.chdir(tmp_path)
    nothing: dict[str, bool] = {}
    monkeypatch.setattr(parse_step, "names_a_secret", lambda _path: nothing["hunter2"])
    run = {"filename": "a.conf", "type": "single_conf", "data_key": key.hex()}

    with pytest.raises(Transient) as raised:
        parse_step.parse({**run, "masking_key": "00" * 32})

    assert re.fullmatch(r"KeyError in parse\.py:\d+", raised.value.detail)


def test_the_attempts_of_the_last_parse_alone_oldest_first() -> None:
    before = [Line(4, "failed", "exhausted"), Line(3), Line(1, "done")]
    last = [Line(2, "failed", "permanent"), Line(1, "died"), Line(1)]

    assert of_last_parse([*last, *before]) == last[::-1]
    assert of_last_parse([Line(1), Line(1, "done")]) == [Line(1)]
    assert of_last_parse([]) == []


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda one: one.table)
def test_no_typed_column_hides_what_every_row_has(projection: object) -> None:
    models = TYPED[projection.table]  # type: ignore[attr-defined]
    columns = {name for name, _ in models.projection.columns}

    assert not columns & OfStanza.model_fields.keys()
    assert not columns & TypedIn.model_fields.keys()
    assert set(models.row.model_fields) == columns | OfStanza.model_fields.keys()
    assert set(models.asked.model_fields) == columns | TypedIn.model_fields.keys()


def test_only_columns_that_are_asked_for_are_filters() -> None:
    models = TYPED["props"]
    asked = models.asked.model_validate({"truncate": "0", "should_linemerge": "false", "app": "a"})

    assert models.filters(asked) == {"truncate": 0, "should_linemerge": False}
    for wrong in ({"truncate": 2**63}, {"truncate": "many"}, {"should_linemerge": "perhaps"}):
        with pytest.raises(ValidationError):
            models.asked.model_validate(wrong)


@pytest.mark.parametrize(
    ("page", "total", "following"), [(1, 0, None), (1, 10, None), (1, 11, 2), (2, 20, None)]
)
def test_the_next_page(page: int, total: int, following: int | None) -> None:
    assert paging(PageIn(page=page, per_page=10), total)["next"] == following


def test_a_moment_is_taken_in_any_zone_and_none_that_a_database_does_not_know() -> None:
    moments = TypeAdapter(GivenMoment)

    assert moments.validate_python("2026-01-01T00:00:00-18:12").isoformat() == (
        "2026-01-01T18:12:00+00:00"
    )
    with pytest.raises(ValidationError, match="out of range"):
        moments.validate_python("0001-01-01T00:00:00+10:00")
