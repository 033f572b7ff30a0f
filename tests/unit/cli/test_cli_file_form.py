from pathlib import Path

import pytest

from backend.cli.errors import WRONG_USAGE, CommandError
from backend.cli.file_form import FileForm
from backend.workloads.splunk.upload_form import read_form


def body_of(form: FileForm) -> bytes:
    return b"".join(form)


@pytest.mark.parametrize("size", [0, 1, 65_536, 200_000])
def test_the_server_reads_what_was_written(tmp_path: Path, size: int) -> None:
    path = tmp_path / 'été "1"\r\n.tgz'
    path.write_bytes(bytes(size))
    form = FileForm(path, {"type": "ds_etc", "label": "Köln\r\n--x"})
    boundary = form.headers["Content-Type"].rpartition("=")[2]
    pieces = iter(form)

    read = read_form(
        lambda _size: next(pieces, b""), boundary,
        take=lambda name, _fields, file: (name, b"".join(file)), file_bytes=size, seconds=60,
    )  # fmt: skip

    assert read.fields == {"type": "ds_etc", "label": "Köln\r\n--x"}
    assert read.taken == (path.name, bytes(size))
    assert len(body_of(form)) == int(form.headers["Content-Length"])
    assert body_of(form) == body_of(form)  # sent again, it is the same


def test_a_file_that_grows_meanwhile_is_sent_as_long_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "etc.tgz"
    path.write_bytes(b"x" * 100)
    form = FileForm(path, {})
    with path.open("ab") as growing:
        growing.write(b"y" * 100)

    assert len(body_of(form)) == int(form.headers["Content-Length"])


@pytest.mark.parametrize("name", ["none", "."])
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(CommandError, match="cannot read") as refused:
        FileForm(tmp_path / name, {})
    assert refused.value.exit_code == WRONG_USAGE
