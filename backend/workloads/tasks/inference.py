"""Asking a language model: the chat completions of an endpoint that speaks OpenAI's HTTP API.

The operator names the endpoint. It alone is asked: proxy variables, netrc and redirects do not
exist for it. What it answers is a stranger's word: limited in size and time, read strictly, and
used only where it is of the form that was asked for.
"""

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from http import HTTPStatus
from http.client import HTTPException
from threading import Event, Timer
from typing import Any, Final, Self, TypeVar, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from backend import strictjson
from backend.outbound.patience import retry_after
from backend.outbound.sites import Site
from backend.problems import Malformed
from backend.queue.reporting import interruptible
from backend.queue.retry import Permanent, Transient, one_line
from backend.settings import Settings, SettingsError

MAX_ANSWER: Final = 1024 * 1024
"""Bytes of one answer."""
_CHUNK: Final = 64 * 1024
_CONNECT_SECONDS: Final = 10.0
_SERVER_ERRORS: Final = 500  # and above
_LATER: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS)
_OPTIONS_REFUSED: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
_FENCE: Final = "```"

Answer = TypeVar("Answer", bound=BaseModel)
Message = dict[str, str]


class Unusable(Exception):
    """The model answered, and again when it was told what was wrong: in one line, with what."""


class _Refused(Exception):
    """The endpoint knows the path, but not this request's options."""


class _Said(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Said
    finish_reason: str | None = None


class _Completion(BaseModel):
    """What this client needs of a completion; endpoints add members of their own."""

    choices: list[_Choice] = Field(min_length=1)


@dataclass(frozen=True)
class Inference:
    """A model behind an endpoint. Safe to share between threads: each request has a connection.

    Args:
        url: below which ``/chat/completions`` is, such as ``https://models.example.test/v1``.
        model: the name the endpoint knows it by.
        token: bearer token, sent to the endpoint's own host alone.
        timeout: of one whole exchange.
    """

    url: str
    model: str
    token: str | None = field(default=None, repr=False)
    timeout: timedelta = timedelta(seconds=60)

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """The one that is configured, if one is.

        Raises:
            SettingsError: its URL or its token cannot be used.
        """
        if settings.inference_url is None:
            return None
        try:
            Site.of(settings.inference_url)
        except ValueError as error:
            raise SettingsError(f"INFERENCE_URL cannot be used: {error}") from None
        secret = settings.inference_token
        token = None if secret is None else secret.get_secret_value()
        if token is not None and not (token.isascii() and token.isprintable()):
            raise SettingsError("INFERENCE_TOKEN holds characters that a header may not hold")
        model = settings.inference_model or ""  # settings that name the one name the other
        return cls(settings.inference_url, model, token, settings.inference_timeout)

    def ask(
        self,
        instructions: str,
        question: str,
        answer: type[Answer],
        *,
        fault: Callable[[Answer], str | None] = lambda _: None,
    ) -> Answer:
        """What the model makes of ``question``, as an ``answer``.

        An answer of another form, or with a ``fault``, is asked for once more, and told why.

        Args:
            instructions: ours. The form of the answer is added.
            question: may be a stranger's text.
            fault: one line on what is wrong with an answer of the right form, if anything is.

        Raises:
            Unusable: the second answer was no better.
            Transient: no answer in time, the network failed, 429 or 5xx.
            Permanent: the endpoint refuses the request; the sentence names the setting to look at.
        """
        form = answer.model_json_schema()
        messages = [_message("system", f"{instructions}\n{_asking_for(form)}")]
        messages.append(_message("user", question))
        said = self._said(messages, form)
        found, wrong = _read(said, answer, fault)
        if wrong is not None:
            messages.append(_message("assistant", said))
            messages.append(_message("user", f"That cannot be used: {wrong}. Answer again."))
            found, wrong = _read(self._said(messages, form), answer, fault)
        if found is None or wrong is not None:
            raise Unusable(str(wrong))
        return found

    def _said(self, messages: list[Message], form: dict[str, Any]) -> str:
        """The words of the model; empty where they were cut short, or there are none."""
        plain = {"model": self.model, "messages": messages}
        shape = {"name": "answer", "schema": form}
        options = {
            "temperature": 0,
            "response_format": {"type": "json_schema", "json_schema": shape},
        }
        try:
            raw = self._exchange({**plain, **options})
        except _Refused:  # not every endpoint knows every option
            raw = self._exchange(plain)
        try:
            completion = _Completion.model_validate(strictjson.loads(raw))
        except (Malformed, ValidationError):
            return ""
        choice = completion.choices[0]
        return "" if choice.finish_reason == "length" else choice.message.content

    def _exchange(self, asked: dict[str, Any]) -> bytes:
        body = json.dumps(asked).encode()
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "Content-Type": "application/json",
            "User-Agent": "lockkeeper",
        }
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        began = time.monotonic()
        try:
            with self._connected() as connection:
                connection.request(
                    "POST", self._target, body=body, headers=headers, preload_content=False
                )
                with closing(connection.getresponse()) as response:
                    self._judge(response, bare="response_format" not in asked)
                    return self._body(response)
        except (OSError, HTTPException, HTTPError) as error:
            seconds = self.timeout.total_seconds()
            if time.monotonic() - began >= seconds:
                raise Transient(f"{self._name} did not answer within {seconds:g} s") from None
            # Its type alone: the text may repeat what was sent.
            raise Transient(f"{self._name} could not be asked: {type(error).__name__}") from None

    @contextmanager
    def _connected(self) -> Iterator[HTTPConnection]:
        """A connection that is cut when its time is over, or the task is taken back."""
        seconds = self.timeout.total_seconds()
        with closing(self._connection()) as connection:
            connection.timeout = min(seconds, _CONNECT_SECONDS)
            connection.connect()
            connection.timeout = seconds
            sock = cast("socket.socket", connection.sock)
            over = Event()

            def cut() -> None:
                over.set()
                with suppress(OSError):
                    # Beneath TLS, whose own shutdown would pull it from under who reads.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

            timer = Timer(seconds, cut)
            timer.daemon = True
            timer.start()
            try:
                with interruptible(cut):
                    yield connection
                if over.is_set():  # what was read may be no more than the beginning
                    raise TimeoutError
            finally:
                timer.cancel()

    def _connection(self) -> HTTPConnection:
        site = self._site
        if site.scheme == "http":
            return HTTPConnection(site.host, site.port)
        return HTTPSConnection(site.host, site.port, ssl_context=ssl.create_default_context())

    def _judge(self, response: BaseHTTPResponse, *, bare: bool) -> None:
        """Raise where the status is not that of an answer."""
        status = response.status
        if status == HTTPStatus.OK:
            return
        said = f"{self._name} answered {status}"
        if status >= _SERVER_ERRORS or status in _LATER:
            raise Transient(said, retry_after=retry_after(response.headers))
        if status in _OPTIONS_REFUSED and not bare:
            raise _Refused
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise Permanent(f"{said}: look at INFERENCE_TOKEN")
        raise Permanent(f"{said}: look at INFERENCE_URL and INFERENCE_MODEL")

    def _body(self, response: BaseHTTPResponse) -> bytes:
        """The body; empty where it is larger than any answer that was asked for."""
        raw = bytearray()
        while chunk := response.read1(_CHUNK, decode_content=False):
            raw += chunk
            if len(raw) > MAX_ANSWER:
                return b""
        return bytes(raw)

    @cached_property
    def _site(self) -> Site:
        return Site.of(self.url)

    @property
    def _name(self) -> str:
        return f"the inference endpoint {self._site}"

    @property
    def _target(self) -> str:
        return f"{urlsplit(self.url).path.rstrip('/')}/chat/completions"


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _asking_for(form: dict[str, Any]) -> str:
    return f"Answer with one JSON object of this JSON schema and nothing else: {json.dumps(form)}"


def _read(
    said: str, answer: type[Answer], fault: Callable[[Answer], str | None]
) -> tuple[Answer | None, str | None]:
    """What was said, read; and what is wrong with it, if anything is."""
    if not said.strip():
        return None, "there is no complete answer"
    try:
        found = answer.model_validate(strictjson.loads(_unfenced(said).encode()), strict=True)
    except Malformed as error:
        return None, one_line(error.detail)
    except UnicodeEncodeError:
        return None, "it holds a lone surrogate"
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the answer"
        return None, one_line(f"{place}: {first['msg']}")
    return found, fault(found)


def _unfenced(said: str) -> str:
    """Without the code fence that models put around JSON where nothing keeps them from it."""
    text = said.strip()
    if text.startswith(_FENCE) and text.endswith(_FENCE) and "\n" in text:
        return text.partition("\n")[2].removesuffix(_FENCE)
    return text
