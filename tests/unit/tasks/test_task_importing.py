"""JSON lines, however they arrive: whole lines, each checked, the broken ones named."""

import json
from collections.abc import Iterable, Iterator

import pytest
from pydantic import BaseModel, ConfigDict, Field, computed_field

from backend.problems import Malformed, TooLarge
from backend.workloads.tasks import importing
from backend.workloads.tasks.importing import Staged, receive


class Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    word: str = Field(max_length=5)
    number: int = 7

    @computed_field
    def twice(self) -> int:
        return 2 * self.number


def read(pieces: Iterable[bytes]) -> list[dict[str, object]]:
    with Staged(Line) as staged:
        receive(pieces, staged)
        rows = [row for batch in staged.batches() for row in json.loads(batch)]
        assert len(rows) == staged.lines
        return rows


def wrong(body: bytes) -> list[dict[str, object]]:
    with pytest.raises(Malformed) as caught:
        read([body])
    assert caught.value.code == "invalid-lines"
    errors: list[dict[str, object]] = caught.value.extra["errors"]
    return errors


def every(size: int, body: bytes) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


BODY = '\ufeff{"word": "käse"}\r\n\n   \n{"word": "b\\n", "number": 1}'.encode()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_are_the_same_however_they_arrive(size: int) -> None:
    assert read(every(size, BODY)) == [
        {"word": "käse", "number": 7, "twice": 14},
        {"word": "b\n", "number": 1, "twice": 2},
    ]


def test_fields_and_what_is_computed_from_them_are_columns() -> None:
    with Staged(Line) as staged:
        assert staged.columns == ("word", "number", "twice")


def test_every_row_comes_in_one_batch_or_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "_BATCH_LINES", 3)
    monkeypatch.setattr(importing, "_BATCH_BYTES", 80)
    rows = read([b'{"word": "x", "number": %d}\n' % number for number in range(100)])

    assert [row["number"] for row in rows] == list(range(100))


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (b"nonsense", None),
        (b"[]", None),
        (b'{"word": "a", "word": "b"}', None),
        (b'{"word": "a", "number": NaN}', None),
        (b'{"word": "\\u0000"}', None),
        (b'{"word": "\\ud800"}', None),
        (b'{"word": "\xff"}', None),
        (b'{"word": ' + b"[" * 100, None),
        (b"{}", "word"),
        (b'{"word": "too long"}', "word"),
        (b'{"word": "a", "number": "1"}', "number"),
        (b'{"word": "a", "other": 1}', "other"),
    ],
)
def test_a_broken_line_is_named_with_its_field(line: bytes, field: str | None) -> None:
    (error,) = wrong(b'{"word": "a"}\n\n' + line + b"\n")

    assert (error["line"], error["field"]) == (3, field)
    assert error["message"]


def test_twenty_broken_lines_are_named_and_then_none() -> None:
    assert [error["line"] for error in wrong(b"x\n" * 50)] == list(range(1, 21))


def test_the_sentence_names_the_first_and_the_numbers_of_the_others() -> None:
    with pytest.raises(Malformed) as caught:
        read([b'{"word": 1}\n{"word": "a"}\nx\n'])

    said = caught.value.detail
    assert (
        said
        == "Nothing was imported: line 1, word: Input should be a valid string; wrong as well: 3"
    )


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    def endless() -> Iterator[bytes]:
        yield b"{}\n"
        while True:
            yield b"x" * 65536

    with pytest.raises(Malformed, match="Line 2 is longer"):
        read(endless())


def test_too_many_lines_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MOST_LINES", 3)

    assert len(read([b'{"word": "a"}\n' * 3])) == 3
    with pytest.raises(TooLarge):
        read([b'{"word": "a"}\n' * 4])
