"""How an answer leaves for the server."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, cast

from flask import Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

OK: Final = 200
BODILESS: Final = (204, 304)
LENGTH: Final = "content-length"
LOCATIONS: Final = ("location", "content-location")  # which Werkzeug may still have to encode


class Answer(Response):
    """A response that is there as a whole goes to the server as a list.

    That is sent at once. Anything else the server asks for piece by piece, and hands each piece to
    another thread of its own.
    """

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        status, body = self.status_code, self.response
        # Of one piece, as text and JSON are; and of a status that has a body.
        if type(body) is not list or len(body) != 1 or status < OK or status in BODILESS:
            return super().__call__(environ, start_response)
        headers = self.headers.to_wsgi_list()
        names = {name.lower() for name, _ in headers}
        if (
            LENGTH not in names
            or not names.isdisjoint(LOCATIONS)
            or environ["REQUEST_METHOD"] == "HEAD"
            or type(body[0]) is not bytes
        ):
            return super().__call__(environ, start_response)
        start_response(self.status, headers)
        self.close()
        return cast("list[bytes]", body)
