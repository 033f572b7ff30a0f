import stat
from pathlib import Path

import pytest

from backend.cli.errors import CommandError
from backend.cli.folder import Credentials, owned_folder


def test_the_signing_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    with owned_folder(tmp_path / "data") as folder:
        made = folder.signing_secret()
        assert folder.signing_secret() == made
    with owned_folder(tmp_path / "data") as folder:
        assert folder.signing_secret() == made

    assert len(made) == 64
    assert stat.S_IMODE((tmp_path / "data" / "jwt-secret").stat().st_mode) == 0o600


def test_a_secret_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    with owned_folder(tmp_path) as folder:
        (tmp_path / "jwt-secret").write_text("0123")

        assert len(folder.signing_secret()) == 64


def test_credentials_are_kept_for_their_owner_alone(tmp_path: Path) -> None:
    accounts = {"admin": Credentials("admin", "p"), "user": Credentials("user", "q")}
    with owned_folder(tmp_path) as folder:
        assert folder.credentials() == {}
        folder.keep_credentials(accounts)
        assert folder.credentials() == accounts

    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".cred")] == []


def test_the_databases_address_is_for_its_owner_alone(tmp_path: Path) -> None:
    with owned_folder(tmp_path) as folder:
        folder.keep_database_url("postgresql://u:p@127.0.0.1:1/d")
        folder.keep_database_url("postgresql://u:p@127.0.0.1:2/d")

    file = tmp_path / "database-url"
    assert file.read_text() == "postgresql://u:p@127.0.0.1:2/d\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "[]", '{"admin": 1}', '{"admin": {}}', "\udcff"])
def test_damaged_credentials_are_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "credentials.json"
    file.write_bytes(text.encode(errors="surrogateescape"))

    with (
        owned_folder(tmp_path) as folder,
        pytest.raises(CommandError, match="is damaged: remove it"),
    ):
        folder.credentials()


def test_a_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    with (
        owned_folder(tmp_path),
        pytest.raises(CommandError, match=r"in use by process \d+"),
        owned_folder(tmp_path),
    ):
        pass
    with owned_folder(tmp_path):
        pass


def test_the_folder_keeps_itself_out_of_version_control(tmp_path: Path) -> None:
    with owned_folder(tmp_path / "data"):
        assert (tmp_path / "data" / ".gitignore").read_text() == "*\n"
