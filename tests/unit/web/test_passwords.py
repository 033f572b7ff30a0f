import pytest

from backend.identity import passwords
from backend.identity.roles import Principal, Role
from backend.problems import Malformed


def test_a_password_matches_its_own_hash_only() -> None:
    stored = passwords.hashed("correct horse battery")

    assert stored.startswith("$argon2id$")
    assert passwords.matches(stored, "correct horse battery")
    assert not passwords.matches(stored, "correct horse battery ")
    assert not passwords.outdated(stored)


def test_nobodys_password_matches_nothing() -> None:
    assert not passwords.matches(None, "nobody's password")


def test_a_damaged_hash_matches_nothing() -> None:
    assert not passwords.matches("$argon2id$garbage", "correct horse battery")


@pytest.mark.parametrize("length", [0, 11, 1025])
def test_a_short_or_endless_password_is_refused(length: int) -> None:
    with pytest.raises(Malformed) as refused:
        passwords.hashed("x" * length)

    assert refused.value.code == "weak-password"


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.USER, [Role.USER]),
        (Role.APPROVER, [Role.USER, Role.APPROVER]),
        (Role.ADMIN, [Role.USER, Role.APPROVER, Role.ADMIN]),
    ],
)
def test_each_role_may_what_the_lower_ones_may(role: Role, may: list[Role]) -> None:
    assert [other for other in Role if Principal(1, "ada", role).may(other)] == may
