"""Secrets are hidden by the names of settings, by their shape, and nothing else is."""

import re
import time

import pytest

from backend.workloads.splunk.conf.parsing import parse
from backend.workloads.splunk.masking import Masking
from backend.workloads.splunk.secret_names import holds_private_key, names_a_secret

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
        "snmp_community", "pass4symmkey", "PASS4SYMMKEY", "symmkey", "appKey", "hmac_key", "dbpass",
        "ldapPass", "cert_pass_phrase", "passcode", "psk", "credentials", "PASSWORDHASH", "cookie",
        "password_b64", "scriptSecureArguments", "action.webhook.param.url",
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
        ("field.token", "string"), ("compass", "north"), ("turkey", "x"), ("lookup_key", "user"),
        ("action.email.param.url", "https://h.example.test/x"), ("REGEX", r"password=[^&]+&x"),
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
        (f"npm npm_{'a1' * 18} there", "a1" * 18),
        (f"vault hvs.{'Ab3' * 10}", "Ab3" * 10),
        (f"google ya29.{'Ab3-' * 8}", "Ab3-" * 8),
        (f"slack xapp-1-{'A0' * 12}", "A0" * 12),
        ("ghp_0123456789abcdefghijABCDEFGHIJ012345", "ghp_0123456789"),
        ("Server=db;User=x;Password=hunter2;", "hunter2"),
        ('{"client_secret": "hunter2"}', "hunter2"),
        ("--api-key=hunter2abc --go", "hunter2abc"),
        ("https://api.example.test/v1?token=hunter2abc&x=1", "hunter2abc"),
        ("C:\\logs\npass4SymmKey = hunter2", "hunter2"),
        ("C:\\logs\ntoken = hunter2", "hunter2"),
        ('{"token": "hunter2"}', "hunter2"),
        ('"{\\"token\\": \\"hunter2\\"}"', "hunter2"),
        ('if(token=="hunter2", 1, 2)', "hunter2"),
        ("EndpointsProtocol=https;AccountKey=hunter2abc==;Suffix=x", "hunter2abc"),
        ("X-Api-Key: hunter2", "hunter2"),
        ("Cookie: session=hunter2abc", "hunter2abc"),
        ("sync.py --password hunter2 --go", "hunter2"),
        ("--db-token hunter2", "hunter2"),
        ("curl -u admin:hunter2 https://h.example.test", "hunter2"),
        ('curl --proxy-user "admin:hunter2" x', "hunter2"),
        ("https://h.example.test/f?code=hunter2abc&x=1", "hunter2abc"),
        ("https://h.example.test/f?X-Amz-Signature=hunter2abc", "hunter2abc"),
        ("https://bob:a/hunter2@h.example.test", "hunter2"),
        ("bob:hunter2@proxy.example.test:8080", "hunter2"),
        ("jdbc:oracle:thin:scott/hunter2@//h:1521/x", "hunter2"),
        ("{SSHA}aGVsbG8gd29ybGQ=", "aGVsbG8gd29ybGQ"),
        ("$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGVsbG8", "aGVsbG8"),
        ("$y$j9T$c2FsdA$aGVsbG8gd29", "aGVsbG8gd29"),
        ("eyJhbGciOiJkaXIifQ..aXY.Y2lwaGVy.dGFn", "dGFn"),
        ("github_pat_0123456789abcdefghij0123", "0123456789abcdefghij"),
        ("sk_live_0123456789abcdefghij", "0123456789abcdefghij"),
        ("MIIEvQIBADAN" + "Bgkqhkiy" * 9 + "\nBgkqhkiz\nAQE=", "Bgkqhkiz"),
        ("LS0tLS1CRUdJTiBSU0EgUFJJVkFURQ==", "UFJJVkFURQ"),
        ("İ password=hunter2", "hunter2"),
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
        'map user="$user$" pass="$pass$"', "https://h.example.test:8089/a/b:c@d", "task-run x",
        "| fields - token, key | sort -count", "key=value monkey=3 compass=north",
        "password_min_length=12 token_ttl: 30days", "https://h.example.test/?q=x&token_count=123",
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
        ("script://./bin/x.sh --password hunter2", "hunter2"),
        ("credential:realm:user:hunter2", "hunter2"),
    ],
)
def test_a_stanzas_name_loses_its_secret(name: str, secret: str) -> None:
    shown = MASKING.masked_name("inputs", name)
    assert secret not in shown
    assert MASK.search(shown)


@pytest.mark.parametrize("name", [
    "credential:realm:svc:", "credential:https\\://h:svc:", "source::...pass...", "http://web", "",
    "serverClass:token:app:web",
])  # fmt: skip
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


def test_a_secret_in_the_name_of_a_broken_setting_is_hidden() -> None:
    for key in (
        "token: hunter2",
        "password hunter2",
        "--password hunter2 x",
        "sslPassword:hunter2",
    ):
        (stanza,) = parse(f"[a]\n{key} = 1\n".encode()).stanzas
        assert "hunter2" not in repr(MASKING.stanza("inputs", stanza))


def test_the_short_last_line_of_a_key_is_hidden_and_a_setting_without_a_value_is_not() -> None:
    text = "[a]\nc2VjcmV0IGtleQ1=\nindex =\nserverclass =\nAbc+/E==\n"
    (stanza,) = parse(text.encode()).stanzas
    first, *others, last = MASKING.stanza("inputs", stanza).settings
    assert MASK.fullmatch(first)
    assert others == ["index", "serverclass"]
    assert MASK.fullmatch(last)


def test_a_password_is_never_taken_for_the_name_of_a_file() -> None:
    for key in ("password", "sslPassword", "secret", "token"):
        assert MASK.fullmatch(masked(key, "hunter2.pem"))
    assert masked("private_key", "/opt/splunk/etc/auth/x.key") == "/opt/splunk/etc/auth/x.key"


@pytest.mark.parametrize("key", ["unarchive_cmd", "external_cmd"])
def test_a_command_among_patterns_loses_its_password(key: str) -> None:
    assert "hunter2" not in masked(key, "gpg --passphrase hunter2", "props")
    assert "hunter2" not in masked(key, "look.py password=hunter2", "transforms")


def test_a_fields_value_that_has_a_tag_stays() -> None:
    assert MASKING.masked_name("tags", "token=abcdef") == "token=abcdef"


@pytest.mark.parametrize(
    "path", ["etc/auth/splunk.secret.bak", "passwd~", "x/server.pem.20240101", "a.key.old.2"]
)
def test_a_copy_of_a_secret_file_is_one(path: str) -> None:
    assert names_a_secret(path)


def test_a_private_key_is_told_by_its_content() -> None:
    assert holds_private_key(f"a certificate\n{PEM.replace('MIIBOgIBAAJB', 'M' * 64)}".encode())
    assert holds_private_key(
        b"-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\n\r\n" + b"A" * 64
    )
    assert not holds_private_key(b'_START = "-----BEGIN RSA PRIVATE KEY-----"\n_END = "x"\n' * 3)
