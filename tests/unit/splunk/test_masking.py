"""Secrets are hidden by the names of settings, by their shape, and nothing else is."""

import re
import time

import pytest

from backend.workloads.splunk.conf.parsing import parse
from backend.workloads.splunk.masking import Masking, names_a_secret

MASKING = Masking(b"a key of the house for the tests")
MASK = re.compile(r"<masked:[0-9a-f]{16}>")
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJB\nabc=\n-----END RSA PRIVATE KEY-----"


def masked(key: str, value: str, conf: str = "server", stanza: str = "general") -> str:
    return MASKING.masked(conf, stanza, key, value)


@pytest.mark.parametrize(
    "key",
    [
        "pass4SymmKey", "sslPassword", "sslKeysfilePassword", "bindDNpassword", "password",
        "PASSWORD", "auth_password", "proxy_password", "secret", "client_secret", "clientSecret",
        "token", "httpEventCollectorToken", "access_token", "api_key", "apikey", "X-Api-Key",
        "remote.s3.secret_key", "remote.s3.access_key", "aws_secret_access_key", "passphrase",
        "action.email.auth_password", "action.page.param.integration_key", "HASHED_PASSWORD",
        "password1", "password_encrypted", "secret_id", "webhook_url", "privateKey", "db.pass",
        "snmp_community",
    ],
)  # fmt: skip
def test_a_value_is_hidden_by_the_name_of_its_setting(key: str) -> None:
    assert MASK.fullmatch(masked(key, "correct horse"))
    assert MASK.fullmatch(masked(key, "12345678"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("password_min_length", "12"), ("passwordHistoryCount", "24"), ("sslKeysfile", "x.pem"),
        ("caCertFile", "/opt/ca.pem"), ("privateKey", "private.pem"), ("token_ttl", "30days"),
        ("privKeyPath", "$SPLUNK_HOME/etc/auth/server.pem"), ("SOURCE_KEY", "_raw"),
        ("DEST_KEY", "MetaData:Index"), ("TOKENIZER", r"(\w+)"), ("password", ""),
        ("change_own_password", "enabled"), ("useToken", "true"), ("secret", "0"),
        ("index", "main"), ("KEY_VALUE", "x"), ("bypass", "everything"), ("key", "word"),
        ("tokenizer", "whatever"), ("sourcetype", "access_combined"), ("passAuth", "admin"),
        ("EXTRACT-token", r"token=(?<token>\S+)"), ("REPORT-password", "extract_password"),
    ],
)  # fmt: skip
def test_what_only_speaks_of_a_secret_stays(key: str, value: str) -> None:
    assert masked(key, value, "props") == value


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        (PEM, "MIIBOgIBAAJB"),
        ("$7$ZmFrZUZha2U=", "ZmFrZUZha2U="),
        ("$1$b2xkT2xk", "b2xkT2xk"),
        ("$6$salt$0123456789abcdef", "0123456789abcdef"),
        ("https://bob:hunter2@proxy.example.test:8080/x", "hunter2"),
        ("https://bob:p@ss@proxy.example.test", "p@ss"),
        ("https://0123456789abcdef0123@api.example.test/x", "0123456789abcdef0123"),
        ("Authorization: Bearer abcdef0123456789", "abcdef0123456789"),
        ('curl -H "authorization: Splunk 0f0f0f0f-aaaa"', "0f0f0f0f-aaaa"),
        (f"x {JWT} y", JWT),
        ("id AKIAABCDEFGHIJKLMNOP there", "AKIAABCDEFGHIJKLMNOP"),
        ("ghp_0123456789abcdefghijABCDEFGHIJ012345", "ghp_0123456789"),
        ("Server=db;User=x;Password=hunter2;", "hunter2"),
        ('{"client_secret": "hunter2"}', "hunter2"),
        ("--api-key=hunter2abc --go", "hunter2abc"),
        ("https://api.example.test/v1?token=hunter2abc&x=1", "hunter2abc"),
        ("C:\\logs\npass4SymmKey = hunter2", "hunter2"),
        ("C:\\logs\ntoken = hunter2", "hunter2"),
    ],
)
def test_a_secret_is_hidden_by_its_shape(value: str, secret: str) -> None:
    shown = masked("search", value, "savedsearches")
    assert secret not in shown
    assert MASK.search(shown)
    assert MASKING.masked("savedsearches", "s", "search", shown) == shown


@pytest.mark.parametrize(
    "value",
    [
        "https://splunk.example.test:8089/services/x@y", "udp://:514", "$1::$2", "$2$3 $1$2",
        "index=main password=* | stats count by user", "search secret=$token$",
        "| eval secret=case(a=1, 2)", r"password=\S+", "basic authentication failed",
        "user@example.test", "ssh://git@host.example.test", "eyJust a word", "0", "true",
    ],
)  # fmt: skip
def test_ordinary_text_stays(value: str) -> None:
    assert masked("search", value, "savedsearches") == value


def test_equal_secrets_stay_equal_under_one_key_and_differ_under_another() -> None:
    assert masked("password", "one") == masked("sslPassword", "one") != masked("password", "two")
    assert Masking(b"another").masked("server", "a", "password", "one") != masked("password", "one")


def test_a_url_keeps_all_but_its_password() -> None:
    assert re.fullmatch(
        r"https://bob:<masked:[0-9a-f]{16}>@h\.example\.test/x",
        masked("url", "https://bob:hunter2@h.example.test/x"),
    )


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("monitor://https://bob:hunter2@h.example.test", "hunter2"),
        ("http://b0221cd8-c4b4-465a-9a3c-273e3a75aa29", "b0221cd8"),
        ("my_input://password=hunter2", "hunter2"),
    ],
)
def test_a_stanzas_name_loses_its_secret(name: str, secret: str) -> None:
    shown = MASKING.masked_name("inputs", name)
    assert secret not in shown
    assert MASK.search(shown)


@pytest.mark.parametrize("name", ["credential:realm:svc:", "source::...pass...", "http://web", ""])
def test_an_ordinary_stanzas_name_stays(name: str) -> None:
    assert MASKING.masked_name("passwords", name) == name


def test_a_whole_stanza_is_masked_with_keys_lines_and_history() -> None:
    text = f"""[client_secret]
value = one
value = two
https://bob:hunter2@h.example.test/?a = 1
{"Ab1" * 20}==
index = main
"""
    (stanza,) = parse(text.encode()).stanzas
    shown = MASKING.stanza("inputs", stanza)
    assert (shown.name, shown.line, shown.order) == ("client_secret", 1, 1)
    assert MASK.fullmatch(shown.settings["value"])
    ((line, before),) = shown.history["value"]
    assert line == 2
    assert MASK.fullmatch(before)
    assert shown.settings["index"] == "main"
    assert list(shown.lines.values()) == [3, 4, 5, 6]
    assert shown.lines.keys() == shown.settings.keys()
    everything = repr(shown)
    assert not any(secret in everything for secret in ("one", "two", "hunter2", "Ab1Ab1"))


@pytest.mark.parametrize(
    "path",
    ["etc/auth/splunk.secret", "etc/passwd", "a/server.PEM", "x/id_rsa", "b/auth.key", "k.p12"],
)
def test_files_that_are_secrets_as_a_whole(path: str) -> None:
    assert names_a_secret(path)


@pytest.mark.parametrize(
    "path", ["etc/apps/a/local/passwords.conf", "etc/keys.conf", "apps/x/secret/a.conf", "key"]
)
def test_files_that_are_read(path: str) -> None:
    assert not names_a_secret(path)


@pytest.mark.parametrize(
    "piece",
    ["://", "://a:", "eyJ", "-eyJ", "-----BEGIN ", "$1$", "password", 'password="', "bearer ",
     "authorization:", "xox", "a" * 7, "$6$a", "pwd= ", "\nx =", "://aaaaaaaaaaaaaaaaaaaaaaaaa"],
)  # fmt: skip
def test_no_text_takes_more_than_linear_time(piece: str) -> None:
    text = piece * (60_000 // len(piece))
    started = time.process_time()
    masked("search", text + " password", "savedsearches")
    assert time.process_time() - started < 1  # seconds; a quadratic pattern takes minutes
