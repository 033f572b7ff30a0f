"""Resolution: from the stanzas of an installation to what holds, in memory and from the database.

    python -m tests.benchmark.splunk_resolve [--apps N] [--more N]

The installation is made up: 334 files, 3 MB, with the long ``[default]`` stanzas of a real one.
``--more`` adds stanzas to the run of which one "why" is asked. One process, warm. Medians in
milliseconds: of the clock, and of processor time, for machines that others use too.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Final

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from backend.db import Sessions, make_engine, make_sessions
from backend.identity.model import User
from backend.identity.roles import Principal, Role
from backend.workloads.splunk import resolution_service as service
from backend.workloads.splunk.resolution import schemas as shapes
from backend.workloads.splunk.resolution.context import GLOBAL, Context, ContextKind
from backend.workloads.splunk.resolution.effective import Configuration
from backend.workloads.splunk.resolution.loading import load, wanted
from tests.benchmark.evidence import Taken, taken
from tests.benchmark.server import Server
from tests.splunk_tree import placed, store

APPS: Final = 41
MORE: Final = 200_000
CONF_TYPES: Final = ("props", "transforms", "savedsearches", "inputs")
STANZAS: Final = 24  # of one file
SEARCH: Final = "index=web sourcetype=access_* status>=500 | stats count by host, uri_path " * 3
IN_APP: Final = Context(ContextKind.APP_USER, "app_07", "bob")

_MORE: Final = text(
    "INSERT INTO stanzas (run_id, stanza_no, file_no, order_in_file, line, conf_type, name,"
    " raw_kv, lines, layer, scope, app) SELECT run_id, 1000000 + n, file_no, 1000 + n, line,"
    " conf_type, 'more ' || n, raw_kv, lines, layer, scope, app"
    " FROM stanzas, generate_series(1, :more) AS n WHERE run_id = :id AND stanza_no = 1"
)


def tree(apps: int) -> dict[str, str]:
    """``system`` and ``apps``, four conf types, default and local, and who exports what."""
    files = dict(_system())
    for number in range(apps):
        app = f"apps/app_{number:02}"
        for conf_type in CONF_TYPES:
            files[f"{app}/default/{conf_type}.conf"] = _file(number, conf_type, "default")
            files[f"{app}/local/{conf_type}.conf"] = _file(number, conf_type, "local")
        files[f"{app}/metadata/default.meta"] = "[]\nexport = system\n"
    return files


def _system() -> Iterator[tuple[str, str]]:
    for conf_type in CONF_TYPES:
        settings = "".join(f"SETTING_{n} = {n}\n" for n in range(45))
        yield f"system/default/{conf_type}.conf", f"[default]\n{settings}"


def _file(app: int, conf_type: str, scope: str) -> str:
    """A third of its stanzas are other apps', too."""
    return "".join(
        f"[{conf_type}:{n if n % 3 == 0 else f'{app}:{n}'}]\n"
        f"SETTING_{n} = {app}\nsearch = {SEARCH}\nin_{scope} = {n}\ndisabled = 0\n\n"
        for n in range(STANZAS)
    )


def in_memory(files: dict[str, str]) -> dict[str, Taken]:
    """Of stanzas that are read already."""
    stanzas = list(placed(files))

    known = Configuration(stanzas)
    return {
        "whole tree, global": taken(lambda: _whole(Configuration(stanzas))),
        "whole tree, app and user": taken(lambda: _whole(Configuration(stanzas), IN_APP)),
        "one why": taken(lambda: known.why("props", "props:3", "search", GLOBAL)),
    }


def _whole(configuration: Configuration, context: Context = GLOBAL) -> None:
    for conf_type in CONF_TYPES:
        configuration.effective(conf_type, context)


def stored(files: dict[str, str], more: int) -> Iterator[tuple[str, Taken]]:
    """Questions to the database, each a transaction of its own."""
    with Server() as server, server.migrated() as database:
        engine = make_engine(database.url)
        sessions = make_sessions(engine)
        with sessions.begin() as session:
            user = {"username": "ada", "password_hash": "x", "role": "user"}
            ada = session.scalar(insert(User).values(user).returning(User.id)) or 0
            runs = [store(session, files, by=ada) for _ in range(2)]
            session.execute(_MORE, {"id": runs[0], "more": more})
        for name, work in _questions(runs, Principal(ada, "ada", Role.USER)):
            yield name, taken(_asked(sessions, work))
        engine.dispose()


def _asked(sessions: Sessions, work: Callable[[Session], object]) -> Callable[[], object]:
    def ask() -> object:
        with sessions.begin() as session:
            return work(session)

    return ask


def _questions(runs: list[int], by: Principal) -> Iterator[tuple[str, Callable[[Session], object]]]:
    large, plain = runs
    why = shapes.WhyIn(conf="props", stanza="props:3", key="search")
    props = shapes.EffectiveIn(conf="props", page=1, per_page=100)
    everything = wanted(GLOBAL, *CONF_TYPES)
    runs_path = shapes.RunsPath(a=plain, b=plain)
    yield "stored: one why", lambda s: service.why(s, plain, why, by)
    yield "stored: one why, more stanzas", lambda s: service.why(s, large, why, by)
    yield "stored: first page of props", lambda s: service.effective(s, plain, props, by)
    yield "stored: whole tree, global", lambda s: _whole(load(s, plain, everything))
    yield "stored: diff of all", lambda s: service.diff(s, runs_path, shapes.DiffIn(), by)
    yield (
        "stored: leftovers of all",
        lambda s: service.left_over(s, plain, shapes.LeftoversIn(per_page=100, page=100), by),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apps", type=int, default=APPS)
    parser.add_argument("--more", type=int, default=MORE)
    chosen = parser.parse_args()
    files = tree(chosen.apps)
    size = sum(map(len, files.values()))
    stanzas = sum(1 for _ in placed(files))
    print(f"{len(files)} files, {size / 1e6:.1f} MB, {stanzas} stanzas")  # noqa: T201 - the result
    for name, it in [*in_memory(files).items(), *stored(files, chosen.more)]:
        print(f"{name:38} {it.clock:8.1f} {it.processor:8.1f}")  # noqa: T201 - the result


if __name__ == "__main__":
    main()
