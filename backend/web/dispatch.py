"""Flask, less what no request of this API needs.

Its own way takes apart the host's name for each request anew, looks for the hooks of each blueprint
around a view, asks whether each function is a coroutine, and tells signals that nobody hears.
"""

from collections.abc import Callable
from io import BytesIO
from typing import IO, Any, Final, NamedTuple, cast

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface, SessionMixin
from flask.typing import ResponseReturnValue
from werkzeug.routing import MapAdapter
from werkzeug.utils import cached_property

from backend.identity.guard import joint
from backend.web.answers import Answer

SHORT: Final = 64 * 1024  # bytes of a body that is read at once
NAMES: Final = 256  # of this host, as callers know it, that are remembered


class Asked(Request):
    """A request whose body, where that is short, is taken out of the server's hands at once."""

    @cached_property
    def stream(self) -> IO[bytes]:
        length, most = self.content_length, self.max_content_length
        if length is None or length > SHORT or (most is not None and length > most):
            return super().stream
        return BytesIO(_whole(self.environ["wsgi.input"], length))


def _whole(body: IO[bytes], length: int) -> bytes:
    """So many bytes, or fewer where the client went away."""
    read = body.read(length)
    while len(read) < length and (more := body.read(length - len(read))):
        read += more
    return read


class _NoSessions(SessionInterface):
    """Callers show a token each time: nothing is kept for them in cookies."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> SessionMixin:  # noqa: ARG002 - Flask's
        return self._none


class _Host(NamedTuple):
    """As the caller wrote it, and as the routes are bound to it."""

    asked: str
    bound: str


class Dispatcher(Flask):
    """Hooks belong to the whole application, and none is a coroutine; see :meth:`refuse_hooks`."""

    request_class = Asked
    response_class = Answer
    session_interface = _NoSessions()

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self._hosts: dict[tuple[Any, ...], _Host] = {}

    def refuse_hooks(self) -> None:
        """Raises RuntimeError where a blueprint has hooks around views: they would not be run."""
        for hooks in (
            self.url_value_preprocessors,
            self.before_request_funcs,
            self.after_request_funcs,
            self.teardown_request_funcs,
        ):
            if named := sorted(name for name in hooks if name is not None):
                raise RuntimeError(f"blueprints with hooks of their own: {', '.join(named)}")

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        if request is None:
            return None
        environ = request.environ
        scheme = environ["wsgi.url_scheme"]
        key = (scheme, environ.get("HTTP_HOST"), environ["SERVER_NAME"], environ["SERVER_PORT"])
        host = self._hosts.get(key)
        if host is None or "HTTP_UPGRADE" in environ:
            adapter = super().create_url_adapter(request)
            assert adapter is not None
            if len(self._hosts) < NAMES and adapter.url_scheme == scheme:
                self._hosts[key] = _Host(request.host, adapter.server_name)
            return adapter
        request.host = host.asked
        return MapAdapter(
            self.url_map, host.bound, request.root_path, "", scheme,
            request.path, request.method, request.query_string.decode(errors="replace"),
        )  # fmt: skip

    def preprocess_request(self) -> ResponseReturnValue | None:
        for hook in self.before_request_funcs.get(None, ()):
            if (answer := hook()) is not None:
                return cast("ResponseReturnValue", answer)
        return None

    def full_dispatch_request(self) -> Response:
        self._got_first_request = True
        answer: Any
        try:
            answer = self.preprocess_request()
            if answer is None:
                answer = self.dispatch_request()
        except Exception as error:  # noqa: BLE001 - whatever it is, Flask knows who handles it
            answer = self.handle_user_exception(error)
        return self.finalize_request(answer)

    def dispatch_request(self) -> ResponseReturnValue:
        """Nothing is answered, not even what is wrong with a body, before the caller was asked."""
        try:
            return super().dispatch_request()
        finally:
            if pending := joint():
                pending.settle()

    def finalize_request(
        self,
        rv: Any,
        from_error_handler: bool = False,
    ) -> Response:
        if from_error_handler:
            return super().finalize_request(rv, from_error_handler)
        if type(rv) is Response:
            rv.__class__ = Answer  # as Flask does, with more ado
            return self.process_response(rv)
        return self.process_response(self.make_response(rv))

    def process_response(self, response: Response) -> Response:
        for hook in reversed(self.after_request_funcs.get(None, ())):
            response = cast("Response", hook(response))
        return response

    def do_teardown_request(self, exc: BaseException | None = None) -> None:
        for hook in reversed(self.teardown_request_funcs.get(None, ())):
            hook(exc)
