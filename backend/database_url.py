"""The URL of a database: of one server, or of several of which one takes writes.

Several are written as libpq writes them (``postgresql://user:password@one:5432,two:5432/name``),
or as SQLAlchemy does (``postgresql://user:password@/name?host=one:5432&host=two:5432``). What comes
out is the one form that both understand: ``?host=one,two&port=5432,5432``.
"""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote

from sqlalchemy.engine import URL, make_url

DRIVER: Final = "postgresql+psycopg2"
"""Named always: a bare ``postgresql://`` means psycopg 3 to SQLAlchemy 2.1."""

_PORT: Final = "5432"
_WRITABLE: Final = {"target_session_attrs": "read-write"}
_SEVERAL: Final = re.compile(
    r"(?P<before>[^:/]+://(?:[^/:@]*(?::[^@]*)?@)?+)(?P<places>[^/?]*,[^/?]*)(?P<after>.*)",
    re.DOTALL,
)
_PLACE: Final = re.compile(r"(?:\[(?P<v6>[^]]+)]|(?P<host>[^:]+))(?::(?P<port>\d+)?)?")


def parsed(url: str) -> URL:
    """``url`` with the driver named, and with its servers, where it has several, in the query.

    Of several the one that takes writes is meant, unless the URL says otherwise.

    Raises:
        ValueError, sqlalchemy.exc.ArgumentError: it is not the URL of a PostgreSQL.
    """
    found = _SEVERAL.fullmatch(url)
    if found:
        places = [unquote(place) for place in found["places"].split(",")]
        whole = _spread(make_url(found["before"] + found["after"]), places)
    else:
        whole = make_url(url)
        host = whole.query.get("host", "")
        if not isinstance(host, str):
            whole = _spread(whole.difference_update_query(["host"]), host)
    if whole.get_backend_name() not in {"postgresql", "postgres"}:
        raise ValueError("not a PostgreSQL's")
    if several(whole):
        whole = whole.set(query={**_WRITABLE, **whole.query})
    return whole.set(drivername=DRIVER)


def several(url: URL) -> bool:
    """Whether ``url``, as :func:`parsed` answers it, has more than one server."""
    return "," in url.query.get("host", "")


def shown(url: str) -> str:
    """Its servers, and nothing that is secret: ``one:5432, two:5432``."""
    whole = parsed(url)
    if not several(whole):
        return f"{whole.host or whole.query.get('host', 'localhost')}:{whole.port or _PORT}"
    hosts = str(whole.query["host"]).split(",")
    ports = str(whole.query.get("port", _PORT)).split(",")
    of_each = ports if len(ports) == len(hosts) else ports * len(hosts)
    return ", ".join(f"{host}:{port}" for host, port in zip(hosts, of_each, strict=True))


def _spread(url: URL, places: Sequence[str]) -> URL:
    if url.host or {"host", "port"} & set(url.query):
        raise ValueError("servers are named in two ways")
    found = [_PLACE.fullmatch(place) for place in places]
    if not all(found):
        raise ValueError("a server is host or host:port")
    hosts = ",".join(place["v6"] or place["host"] for place in found if place)
    ports = ",".join(place["port"] or _PORT for place in found if place)
    return url.update_query_dict({"host": hosts, "port": ports})
