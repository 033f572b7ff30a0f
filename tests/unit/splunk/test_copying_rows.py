"""The worker's part: the run before each row, in pieces that end with a row."""

import io

import pytest

from backend.workloads.splunk import recording
from backend.workloads.splunk.recording import Rows


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "PIECE", 10)
    monkeypatch.setattr(recording, "CHUNK", 4)


def pieces(content: bytes) -> list[bytes]:
    rows, found = Rows(io.BytesIO(content), 7), []
    while rows.more():
        found.append(b"".join(iter(lambda: rows.read(8192), b"")))
    return found


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"a\n",
        b"a",
        b"abc\nd\n",
        b"abc\nde\tf\n\n\n",
        b"x" * 50 + b"\ny\n",
        b"a\nb" * 40,
    ],
)
def test_each_row_has_its_run_before_it_and_pieces_end_with_rows(content: bytes) -> None:
    found = pieces(content)

    assert b"".join(found) == b"".join(b"7\t" + row for row in io.BytesIO(content))
    assert all(piece.endswith(b"\n") for piece in found[:-1])
    assert all(found)


@pytest.mark.usefixtures("small")
def test_a_long_file_comes_in_many_pieces() -> None:
    found = pieces(b"row\n" * 30)

    assert len(found) == 10
    assert {len(piece) for piece in found} == {18}
