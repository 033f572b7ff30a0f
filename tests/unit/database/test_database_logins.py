"""What DATABASE_LOGINS may say."""

import pytest

from backend.database_roles.logins import Login, parsed
from backend.settings import SettingsError

URL = "postgresql://api:se%40cret@db:5432/lockkeeper"


def test_each_entry_is_a_user_its_password_and_its_roles() -> None:
    said = f"api={URL}\n  vetter,tasks=postgresql://worker:word@one:5432,two:5432/lockkeeper?x=1"

    assert parsed(said) == [
        Login("api", "se@cret", frozenset({"lockkeeper_api"})),
        Login("worker", "word", frozenset({"lockkeeper_vetter", "lockkeeper_tasks"})),
    ]


def test_a_user_of_two_entries_is_in_the_roles_of_both() -> None:
    (login,) = parsed(f"api={URL} publisher={URL}")

    assert login.roles == {"lockkeeper_api", "lockkeeper_publisher"}


def test_no_password_is_shown() -> None:
    assert "se@cret" not in repr(parsed(f"api={URL}"))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (f"owner={URL}", "entry 1: no such roles"),
        (f"api={URL} vetter,admin={URL}", "entry 2: no such roles"),
        (URL, "entry 1: no such roles"),
        ("api", "it has no PostgreSQL URL"),
        ("api=mysql://api:se%40cret@db/x", "it has no PostgreSQL URL"),
        ("api=postgresql://api@db/x", "no user or no password"),
        ("api=postgresql://:se%40cret@db/x", "no user or no password"),
        ('api=postgresql://a";DROP:se%40cret@db/x', "its user is no login"),
        ("api=postgresql://lockkeeper_owner:se%40cret@db/x", "its user is no login"),
        (f"api={URL} vetter=postgresql://api:other@db/x", "api has two passwords"),
    ],
)
def test_what_it_may_not_say_is_named_without_the_password(said: str, why: str) -> None:
    with pytest.raises(SettingsError, match="DATABASE_LOGINS") as refused:
        parsed(said)

    assert why in str(refused.value)
    assert "cret" not in str(refused.value)
