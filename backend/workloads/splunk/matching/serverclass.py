"""Which apps a deployment server sends to which client.

Source: serverclass.conf.spec. What ``[global]`` says holds for each class that says nothing of its
own, and what a class says for each of its apps; a stanza with a list of its own inherits neither
kind of list. A client gets an app when the filters of its class take the client, and the app's do.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from backend.workloads.splunk.conf.stanza import DEFAULT
from backend.workloads.splunk.matching.automaton import Work
from backend.workloads.splunk.matching.clients import both, lists_anything, negated
from backend.workloads.splunk.matching.entries import Client, Entries, Seen
from backend.workloads.splunk.matching.filters import FILTER_KEYS, Filter, Verdict, within
from backend.workloads.splunk.matching.props import own
from backend.workloads.splunk.places import PlacedStanza
from backend.workloads.splunk.projections import flag
from backend.workloads.splunk.resolution.effective import Resolved, Settings

SERVERCLASS: Final = "serverclass"
GLOBAL_STANZA: Final = "global"
CLASS_PREFIX: Final = "serverClass:"
APP_WORD: Final = ":app:"
ALL_APPS: Final = "*"
SHOWN: Final = (
    "stateOnClient", "restartSplunkd", "restartSplunkWeb", "restartIfNeeded", "issueReload",
    "excludeFromUpdate", "appFile",
)  # fmt: skip
"""What is told of a deployed app, beside its name."""

_INHERITED: Final = (*SHOWN, *sorted(FILTER_KEYS), "continueMatching", "disabled")

ROW: Final = 20
"""Units of work for what is told of one class or app, so that an answer has an end."""


@dataclass(frozen=True, slots=True)
class DeployedApp:
    """``present`` is None where the upload holds no deployment apps to look among."""

    app: str
    verdict: Verdict
    present: bool | None
    settings: Mapping[str, Resolved]


@dataclass(frozen=True, slots=True)
class Membership:
    """What one server class is for one client."""

    server_class: str
    verdict: Verdict
    apps: list[DeployedApp] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Deployment:
    client: str
    memberships: list[Membership]

    def apps(self, answer: bool | None) -> list[str]:
        """Names in ASCII order: True for what the client gets, None for what it may get.

        An app of two classes is what the better answer of the two says.
        """
        found: dict[str, bool | None] = {}
        for app in (app for member in self.memberships for app in member.apps):
            before = found.get(app.app, False)
            found[app.app] = negated(both(negated(before), negated(app.verdict.answer)))
        return sorted(name for name, decided in found.items() if decided is answer)


@dataclass(frozen=True, slots=True)
class _App:
    name: str
    filter: Filter
    settings: Settings


@dataclass(frozen=True, slots=True)
class _ServerClass:
    name: str
    filter: Filter
    settings: Settings
    apps: list[_App]

    @property
    def stops(self) -> bool:
        said = self.settings.get("continueMatching")
        return said is not None and flag(said.value) is False


class DeploymentServer:
    """What one ``serverclass.conf`` sends to whom.

    Args:
        conf: effective.
        order: names of its stanzas in the order of their definition, in which classes are matched.
        repository: names of the deployment apps that are there; None where none are known.
        files: the content of files that lists name, by the path as it is named there.

    Raises:
        Unsupported: code ``too-complex``, from the methods as well.
    """

    def __init__(
        self,
        conf: Mapping[str, Settings],
        order: Iterable[str],
        *,
        repository: Iterable[str] | None,
        files: Mapping[str, str],
        work: Work,
    ) -> None:
        self._conf = conf
        self._files = files
        self._work = work
        self._entries = Entries(work)
        self._repository = None if repository is None else sorted(repository)
        default, top = conf.get(DEFAULT, {}), self._own(GLOBAL_STANZA)
        self._top = _told({**default, **top})
        self._top_lists = top if lists_anything(top) else default
        self.classes = [*self._read(order)]

    @property
    def disabled(self) -> Resolved | None:
        """The setting that switches the deployment server off, where one does."""
        said = self._top.get("disabled")
        return said if said is not None and flag(said.value) else None

    def deployment(self, client: Client, *, explain: bool = False) -> Deployment:
        """What a client gets. ``explain``: name the classes and apps that it does not get, too."""
        found = []
        still: bool | None = self.disabled is None
        self._work.spend(1 + len(self.classes) // 4)
        seen = self._entries.seen(client)
        for one in self.classes:
            if not explain and one.filter.leaves(seen):
                continue
            self._work.spend(1)
            verdict = within(still, one.filter.holds(seen))
            if verdict.answer is not False or explain:
                self._work.spend(ROW)
                apps = [*self._apps(one, verdict, seen, explain=explain)]
                found.append(Membership(one.name, verdict, apps))
            if one.stops:
                still = both(still, negated(verdict.answer))
        return Deployment(client.name, found)

    def _apps(
        self, one: _ServerClass, verdict: Verdict, seen: Seen, *, explain: bool
    ) -> Iterator[DeployedApp]:
        for app in one.apps:
            self._work.spend(ROW)
            decided = verdict
            if app.filter is not one.filter:
                decided = within(verdict.answer, app.filter.holds(seen))
            if decided.answer is not False or explain:
                for name in self._named(app.name):
                    yield DeployedApp(name, decided, self._present(name), _shown(app.settings))

    def _named(self, app: str) -> Sequence[str]:
        if app != ALL_APPS or not self._repository:
            return (app,)
        self._work.spend(ROW * len(self._repository))
        return self._repository

    def _present(self, app: str) -> bool | None:
        return None if self._repository is None or app == ALL_APPS else app in self._repository

    def _own(self, stanza: str) -> Settings:
        return own(self._conf, stanza) if stanza in self._conf else {}

    def _read(self, order: Iterable[str]) -> Iterator[_ServerClass]:
        apps: dict[str, dict[str, None]] = {}
        for stanza in order:
            prefix, colon, rest = stanza.partition(CLASS_PREFIX)
            if prefix or not colon or stanza not in self._conf:
                continue
            name, word, app = rest.partition(APP_WORD)
            of_class = apps.setdefault(name, {})
            if word:
                of_class[app] = None
        for name, names in apps.items():
            yield self._class(name, names)

    def _class(self, name: str, apps: Iterable[str]) -> _ServerClass:
        said = self._own(f"{CLASS_PREFIX}{name}")
        settings = {**self._top, **_told(said)}
        lists = said if lists_anything(said) else self._top_lists
        decides = Filter(settings, lists, self._files, self._entries)
        return _ServerClass(
            name, decides, settings,
            [self._app(name, app, settings, lists, decides) for app in apps],
        )  # fmt: skip

    def _app(
        self, name: str, app: str, inherited: Settings, lists: Settings, decides: Filter
    ) -> _App:
        said = self._own(f"{CLASS_PREFIX}{name}{APP_WORD}{app}")
        settings = {**inherited, **_told(said)}
        listed = lists_anything(said)
        if listed or said.keys() & FILTER_KEYS:
            decides = Filter(settings, said if listed else lists, self._files, self._entries)
        return _App(app, decides, settings)


def defined(stanzas: Iterable[PlacedStanza]) -> list[str]:
    """Names of stanzas in the order of their definition: by file, then by line.

    Which of several files is read first is not documented; their paths decide here.
    """
    ordered = sorted(stanzas, key=lambda stanza: (stanza.path, stanza.line))
    return list(dict.fromkeys(stanza.name for stanza in ordered))


def _told(settings: Settings) -> Settings:
    """What is inherited: a hostile stanza with a million keys is not laid under each other one."""
    return {key: settings[key] for key in _INHERITED if key in settings}


def _shown(settings: Settings) -> dict[str, Resolved]:
    return {key: settings[key] for key in SHOWN if key in settings}
