"""A URL may name several servers; whatever reads it, SQLAlchemy or libpq, finds the same ones."""

from typing import Any

import pytest
from psycopg2.extensions import parse_dsn

from backend.database_url import shown
from backend.db import make_engine, network_limits
from backend.settings import Settings, SettingsError, psycopg2_url

TWO = {"host": "one,two", "port": "5432,5433", "target_session_attrs": "read-write"}
WAYS = {
    "libpq": "postgresql://u:p@one:5432,two:5433/d",
    "libpq, a default port": "postgresql://u:p@one,two:5433/d",
    "libpq, an empty port": "postgres://u:p@one:,two:5433/d",
    "libpq, in the query": "postgresql:///d?user=u&password=p&host=one,two&port=5432,5433",
    "SQLAlchemy": "postgresql+psycopg2://u:p@/d?host=one:5432&host=two:5433",
    "SQLAlchemy, a default port": "postgresql://u:p@/d?host=one&host=two:5433",
}


def for_libpq(url: str) -> dict[str, Any]:
    return parse_dsn(psycopg2_url(url).replace("+psycopg2", "", 1))


def for_sqlalchemy(url: str) -> dict[str, Any]:
    engine = make_engine(psycopg2_url(url))
    _, given = engine.dialect.create_connect_args(engine.url)
    return {name: str(value) for name, value in given.items()}


@pytest.mark.parametrize("url", WAYS.values(), ids=WAYS)
def test_every_way_to_name_two_servers_means_the_same_and_the_one_that_writes(url: str) -> None:
    whole = {**TWO, "user": "u", "password": "p", "dbname": "d"}

    assert for_libpq(url) == for_sqlalchemy(url) == whole
    assert psycopg2_url(psycopg2_url(url)) == psycopg2_url(url)
    assert shown(url) == "one:5432, two:5433"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@db.example.test/d", {"host": "db.example.test"}),
        ("postgresql://u@[::1]:5432/d", {"host": "::1", "port": "5432"}),
        ("postgresql://u@/d?host=/run/a", {"host": "/run/a"}),
        ("postgresql://u@[::1]:1,[::2]/d", {"host": "::1,::2", "port": "1,5432"}),
        ("postgresql://u@/d?host=[::1]:1&host=b", {"host": "::1,b", "port": "1,5432"}),
        ("postgresql://u@%2Frun%2Fa,b:2/d", {"host": "/run/a,b", "port": "5432,2"}),
        ("postgresql://u@a,b/d?target_session_attrs=any", {"target_session_attrs": "any"}),
        ("postgresql://u:x%40y%2Cz@a,b/d?sslmode=require",
         {"password": "x@y,z", "host": "a,b", "sslmode": "require"}),
        ("postgresql://u:x,y@a/d", {"password": "x,y", "host": "a"}),
        ("postgresql://a,b,c/d?application_name=me@home", {"host": "a,b,c"}),
    ],
)  # fmt: skip
def test_libpq_and_sqlalchemy_read_the_same_of_odd_urls(url: str, expected: dict[str, str]) -> None:
    for read in (for_libpq(url), for_sqlalchemy(url)):
        assert {name: read.get(name) for name in expected} == expected
    assert ("target_session_attrs" in for_libpq(url)) == ("," in for_libpq(url)["host"])


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:secret@a/d", "mysql://u:secret@a,b/d", "no url, secret", "",
        "postgresql://u:secret@a:x/d", "postgresql://u:secret@a:1,b:x/d",
        "postgresql://u:secret@a:1,,b/d", "postgresql://u:secret@a,b/d?host=c",
        "postgresql://u:secret@a,b/d?port=3", "postgresql://u:secret@/d?host=a:1&host=b:2&port=3",
        "postgresql://u:secret@a/d?host=b&host=c", "postgresql://u:secret@[::1,b/d",
    ],
)  # fmt: skip
def test_what_is_no_url_of_servers_is_refused_in_one_line_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings(DATABASE_URL=url or "x").require_database_url()

    assert "secret" not in str(refused.value)
    assert str(refused.value).startswith("DATABASE_URL is not a PostgreSQL URL")
    assert refused.value.__cause__ is None


def test_a_server_of_several_is_given_up_sooner_and_the_url_overrules_all_limits() -> None:
    one, two = psycopg2_url("postgresql://a/d"), psycopg2_url("postgresql://a,b/d")
    own = psycopg2_url("postgresql://a,b/d?connect_timeout=9&keepalives_idle=60")

    assert network_limits(one)["connect_timeout"] == 5
    assert network_limits(two) == network_limits(one) | {"connect_timeout": 3}
    assert set(network_limits(two)) - set(network_limits(own)) == {
        "connect_timeout", "keepalives_idle",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:secret@a/d", "a:5432"),
        ("postgresql://u:secret@/d?host=/run/x", "/run/x:5432"),
        ("postgresql:///d", "localhost:5432"),
        ("postgresql:///d?host=a,b&port=7", "a:7, b:7"),
    ],
)
def test_servers_are_shown_without_what_is_secret(url: str, expected: str) -> None:
    assert shown(url) == expected
