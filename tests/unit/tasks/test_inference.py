import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from socket import create_server
from threading import Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import BaseModel, ConfigDict, Field

from backend.queue.reporting import reported_to
from backend.queue.retry import Permanent, Transient
from backend.settings import Settings, SettingsError
from backend.workloads.tasks.inference import MAX_ANSWER, Inference, Unusable
from backend.workloads.tasks.pipeline import pipelines
from tests.callers import make_settings
from tests.inference_server import MODEL, TOKEN, InferenceServer, completion


class Colour(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=10)
    red: int


TEAL = '{"name": "teal", "red": 0}'


class Quiet:
    """Reports to nobody, and is never taken back: another test's worker may have left its own."""

    def report(self, percent: int, message: str) -> None:
        """Nobody listens."""

    def interruptible(self, _stop: Callable[[], None]) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.fixture(autouse=True)
def _nobody_listens() -> Iterator[None]:
    with reported_to(Quiet()):
        yield


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[InferenceServer]:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # must be ignored
    with InferenceServer() as made:
        yield made


def inference(server: InferenceServer, **changes: Any) -> Inference:
    made = Inference.of(make_settings(**{**server.settings, **changes}))
    assert made is not None
    return made


def ask(server: InferenceServer, **changes: Any) -> Colour:
    return inference(server, **changes).ask("You know colours.", "A cool one?", Colour)


def test_nothing_is_configured_by_default() -> None:
    assert Inference.of(make_settings()) is None


def test_an_answer_comes_back_as_what_was_asked_for(server: InferenceServer) -> None:
    server.replies = [TEAL]
    assert ask(server) == Colour(name="teal", red=0)
    (asked,) = server.asked
    assert server.paths == ["/v1/chat/completions"]
    assert asked["model"] == MODEL
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert asked["messages"][1]["content"] == "A cool one?"
    assert asked["response_format"]["json_schema"]["schema"] == Colour.model_json_schema()


def test_a_fence_around_the_json_is_taken_off(server: InferenceServer) -> None:
    server.replies = [f"```json\n{TEAL}\n```"]
    assert ask(server).name == "teal"


def test_an_endpoint_that_knows_no_options_is_asked_without(server: InferenceServer) -> None:
    server.knows_options, server.replies = False, [TEAL]
    assert ask(server).name == "teal"
    (asked,) = server.asked
    assert asked.keys() == {"model", "messages"}


MALFORMED = [
    "teal, I should think",
    "",
    '{"name": "teal"}',
    '{"name": "teal", "red": "0"}',
    '{"name": "teal", "red": 0, "green": 1}',
    '{"name": "teal", "name": "blue", "red": 0}',
    '{"name": "teal", "red": NaN}',
    '{"name": "\\u0000", "red": 0}',
    "[" * 100_000,
]


@pytest.mark.parametrize("malformed", MALFORMED)
def test_a_malformed_answer_is_asked_for_once_more_and_told_why(
    server: InferenceServer, malformed: str
) -> None:
    server.replies = [malformed, TEAL]
    assert ask(server).name == "teal"
    first, second = server.asked
    added = second["messages"][len(first["messages"]) :]
    assert [message["role"] for message in added] == ["assistant", "user"]
    assert added[0]["content"] == malformed
    assert "cannot be used" in added[1]["content"]


@pytest.mark.parametrize(
    "body",
    [
        b"<html>hello</html>",
        b'{"choices": []}',
        completion(None),
        completion("\ud800"),
        b" " * (MAX_ANSWER + 1),
    ],
)
def test_an_answer_that_is_twice_of_no_use_is_said_to_be(
    server: InferenceServer, body: bytes
) -> None:
    server.replies = [body]
    with pytest.raises(Unusable, match="there is no complete answer"):
        ask(server)
    assert len(server.asked) == 2


def test_an_answer_that_was_cut_short_is_none(server: InferenceServer) -> None:
    server.replies, server.finish_reason = [TEAL], "length"
    with pytest.raises(Unusable):
        ask(server)


def test_an_answer_with_a_fault_is_asked_for_again(server: InferenceServer) -> None:
    server.replies = ['{"name": "rust", "red": 183}', TEAL]

    def too_red(colour: Colour) -> str | None:
        return "it is too red" if colour.red > 100 else None

    found = inference(server).ask("You know colours.", "A cool one?", Colour, fault=too_red)
    assert found.name == "teal"
    assert "it is too red" in server.asked[1]["messages"][-1]["content"]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_an_endpoint_that_is_busy_or_down_is_worth_another_attempt(
    server: InferenceServer, status: int
) -> None:
    server.replies, server.headers = [status], {"Retry-After": "7"}
    with pytest.raises(Transient, match=str(status)) as error:
        ask(server)
    assert error.value.retry_after == timedelta(seconds=7)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"INFERENCE_TOKEN": "sk-another-one"}, "INFERENCE_TOKEN"),
        ({"INFERENCE_TOKEN": None}, "INFERENCE_TOKEN"),
        ({"INFERENCE_MODEL": "a-model-it-has-not"}, "INFERENCE_MODEL"),
    ],
)
def test_a_setting_that_is_wrong_is_named_and_no_secret_is(
    server: InferenceServer, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(Permanent, match=named) as error:
        ask(server, **changes)
    assert "sk-" not in error.value.detail


def test_redirects_are_not_followed(server: InferenceServer) -> None:
    with InferenceServer(replies=[TEAL]) as elsewhere:
        server.replies, server.headers = [307], {"Location": elsewhere.url}
        with pytest.raises(Permanent, match="answered 307"):
            ask(server)
        assert not elsewhere.paths


def test_nobody_there_is_worth_another_attempt() -> None:
    with InferenceServer() as server:
        gone = inference(server)
    with pytest.raises(Transient, match="could not be asked: NewConnectionError") as error:
        gone.ask("", "", Colour)
    assert TOKEN not in f"{error.value!r} {gone!r}"


def test_an_answer_that_does_not_come_is_given_up(server: InferenceServer) -> None:
    server.holding = True
    with pytest.raises(Transient, match=r"did not answer within 0\.1 s"):
        ask(server, INFERENCE_TIMEOUT="0.1")


def certified(folder: Path) -> ssl.SSLContext:
    """A server's context with a certificate that is its own authority, in ``folder``/own.pem."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "endpoint")])
    address = x509.IPAddress(IPv4Address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    own = folder / "own.pem"
    own.write_bytes(certificate.public_bytes(Encoding.PEM))
    secret = folder / "key.pem"
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own, secret)
    return context


def test_a_certificate_that_nobody_vouches_for_is_not_spoken_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with InferenceServer(replies=[TEAL], tls=certified(tmp_path)) as server:
        with pytest.raises(Transient, match="SSLCertVerificationError"):
            ask(server)
        assert not server.paths
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
        assert ask(server).name == "teal"


class TakenBack(Quiet):
    """Takes the row back once the endpoint has heard."""

    def __init__(self, server: InferenceServer) -> None:
        self._server = server

    @contextmanager
    def interruptible(self, stop: Callable[[], None]) -> Iterator[None]:
        def once_heard() -> None:
            assert self._server.heard.wait(10)
            stop()

        interrupter = Thread(target=once_heard)
        interrupter.start()
        yield
        interrupter.join()


def test_a_task_that_is_taken_back_waits_no_longer(server: InferenceServer) -> None:
    server.holding = True
    with reported_to(TakenBack(server)), pytest.raises(Transient, match="could not be asked"):
        ask(server)


def test_half_an_answer_whose_end_never_comes_is_no_answer_in_time() -> None:
    """Where nothing says how long it is, the end of a connection looks like that of an answer."""

    def speak() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + completion(TEAL)[:-1])
            while connection.recv(65536):  # ends when it hangs up
                pass

    with create_server(("127.0.0.1", 0)) as listener:
        speaker = Thread(target=speak)
        speaker.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        short = Inference(url, MODEL, timeout=timedelta(seconds=0.2))
        with pytest.raises(Transient, match=r"did not answer within 0\.2 s"):
            short.ask("You know colours.", "A cool one?", Colour)
        speaker.join()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):  # it was not asked once more
            listener.accept()


@pytest.mark.parametrize(
    "changes",
    [
        {"INFERENCE_URL": "http://host:port/v1"},
        {"INFERENCE_URL": "https://a..b/v1"},
        {"INFERENCE_TOKEN": "line\nline"},
    ],
)
def test_settings_that_cannot_be_used_are_named_and_not_repeated(changes: dict[str, str]) -> None:
    whole = {"INFERENCE_URL": "https://models.example.test/v1", "INFERENCE_MODEL": "m", **changes}
    ((name, value),) = changes.items()
    with pytest.raises(SettingsError, match=name) as error:
        Inference.of(make_settings(**whole))
    assert value not in str(error.value)


def test_what_is_sent_is_json_whatever_the_question_holds(server: InferenceServer) -> None:
    server.replies = [json.dumps({"name": "é", "red": 1})]
    question = 'quote " and \u2028 and "}]'
    assert inference(server).ask("", question, Colour).name == "é"
    assert server.asked[0]["messages"][1]["content"] == question


def test_a_worker_does_not_start_with_an_endpoint_that_cannot_be_asked() -> None:
    with pytest.raises(SettingsError, match="INFERENCE_URL"):
        pipelines(make_settings(INFERENCE_URL="http://host:port/v1", INFERENCE_MODEL="m"))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"INFERENCE_URL": "https://models.example.test/v1"}, "INFERENCE_MODEL"),
        ({"INFERENCE_URL": "ftp://models.example.test", "INFERENCE_MODEL": "m"}, "INFERENCE_URL"),
        ({"INFERENCE_URL": "https://me:pw@a.test/v1", "INFERENCE_MODEL": "m"}, "INFERENCE_URL"),
        ({"INFERENCE_URL": "https://a.test/v1?key=pw", "INFERENCE_MODEL": "m"}, "INFERENCE_URL"),
    ],
)
def test_settings_that_do_not_fit_together_are_named_at_the_start(
    changes: dict[str, str], named: str
) -> None:
    with pytest.raises(SettingsError, match=named) as error:
        Settings.load(**changes)
    assert "pw" not in str(error.value)
