from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from backend.cli import accounts
from backend.cli.folder import Credentials, Folder, owned_folder
from backend.db import Sessions
from backend.identity import passwords, service
from backend.identity.roles import Role


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with owned_folder(tmp_path / "data") as folder:
        yield folder


@pytest.fixture
def url(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def works(sessions: Sessions, account: Credentials, role: Role) -> bool:
    with sessions() as session:
        user = service.user_named(session, account.username)
        assert user is not None
        return user.role == role and passwords.matches(user.password_hash, account.password)


def test_an_admin_and_a_user_are_made_and_known_again(
    url: str, sessions: Sessions, folder: Folder
) -> None:
    made = accounts.ensure(url, folder)

    assert {role: account.username for role, account in made.items()} == {
        "admin": "admin",
        "user": "user",
    }
    assert works(sessions, made["admin"], Role.ADMIN)
    assert works(sessions, made["user"], Role.USER)
    assert made["admin"].password != made["user"].password
    assert accounts.ensure(url, folder) == made == folder.credentials()


def test_somebody_elses_account_of_the_same_name_is_left_alone(
    url: str, sessions: Sessions, folder: Folder
) -> None:
    theirs = Credentials("Admin", "correct horse battery staple")
    with sessions.begin() as session:
        service.create_user(
            session,
            "test",
            username=theirs.username,
            password_hash=passwords.hashed(theirs.password),
            role=Role.ADMIN,
        )

    made = accounts.ensure(url, folder)

    assert made["admin"].username.startswith("admin-")
    assert works(sessions, made["admin"], Role.ADMIN)
    assert works(sessions, theirs, Role.ADMIN)
