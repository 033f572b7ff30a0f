"""What a child left in its folder: opened only where it is a file of its own."""

import os
from pathlib import Path

import pytest

from backend.storage.files import plain_file


def test_a_plain_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "left").write_bytes(b"bytes")

    with plain_file(tmp_path / "left") as file:
        assert file.read() == b"bytes"


def test_a_link_to_a_file_of_the_workers_own_is_refused(tmp_path: Path) -> None:
    secret, linked = tmp_path / "secret", tmp_path / "left"
    secret.write_text("secret")
    linked.symlink_to(secret)
    with pytest.raises(OSError, match="symbolic"):
        plain_file(linked)

    linked.unlink()
    linked.hardlink_to(secret)
    with pytest.raises(ValueError, match="no plain file"):
        plain_file(linked)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "left")

    with pytest.raises(ValueError, match="no plain file"):
        plain_file(tmp_path / "left")
